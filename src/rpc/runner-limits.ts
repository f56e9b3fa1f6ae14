/** What remote runners may take; docs/protocol.md has it, and for what is beyond. Some of it the rules of the proto say, too. */
export const runnerLimits = {
  /** Tasks that one runner may have. */
  runnerCapacityMax: 1_000,
  /** What may be said on one stream and not be on disk yet: messages, and their bytes. */
  runnerUnwrittenMax: 1_000,
  runnerUnwrittenMaxBytes: 1024 * 1024,
  /** Answers that one runner may leave unread. */
  runnerUnreadMax: 4_096,
  /** Messages that each offer brings room for beside the rate: its acceptance, the end, and two writes. */
  messagesForEachOffer: 4,
  /** How many of these may be left for later. */
  allowanceMax: 4_000,
} as const;
