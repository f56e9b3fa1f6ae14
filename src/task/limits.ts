/** What a task may hold. Sizes are bytes of UTF-8. */
export interface TaskLimits {
  /** The metadata it is launched with. */
  readonly metadataMaxBytes: number;
  /** How deep the metadata's JSON may be nested. */
  readonly metadataMaxDepth: number;
  /** The result that its runner returns. */
  readonly resultMaxBytes: number;
  /** Progress.message. */
  readonly progressMessageMaxBytes: number;
  /** The text of one log entry; a longer one is cut. */
  readonly logEntryMaxBytes: number;
  /** How many log entries are kept; the oldest are dropped. */
  readonly logMaxEntries: number;
  /** How many bytes of log entries are kept; the oldest are dropped. */
  readonly logMaxBytes: number;
  /** How many transitions are kept; the oldest are dropped. */
  readonly transitionsMax: number;
  readonly labelsMax: number;
  readonly labelKeyMaxBytes: number;
  readonly labelValueMaxBytes: number;
  /** Task ids and request ids. */
  readonly idMaxBytes: number;
  /** The reason of a cancel, and the message of an error; the latter is cut. */
  readonly messageMaxBytes: number;
}

/** The limits that are in force where nothing else is said; docs/operating.md has them for people. */
export const defaultTaskLimits: TaskLimits = {
  metadataMaxBytes: 256 * 1024,
  metadataMaxDepth: 32,
  resultMaxBytes: 256 * 1024,
  progressMessageMaxBytes: 4 * 1024,
  logEntryMaxBytes: 16 * 1024,
  logMaxEntries: 10_000,
  logMaxBytes: 10 * 1024 * 1024,
  transitionsMax: 256,
  labelsMax: 64,
  labelKeyMaxBytes: 63,
  labelValueMaxBytes: 256,
  idMaxBytes: 128,
  messageMaxBytes: 4 * 1024,
};

/** Cuts `text` to at most `maxBytes` of UTF-8, never inside a character, and says so at its end where there is room for that. */
export function cutText(text: string, maxBytes: number): string {
  const wellFormed = text.toWellFormed();
  if (wellFormed.length * 3 <= maxBytes || byteLength(wellFormed) <= maxBytes) return wellFormed;
  const mark = maxBytes < byteLength(cutMark) ? "" : cutMark;
  let cut = Math.max(0, maxBytes - byteLength(mark));
  const bytes = new TextEncoder().encode(wellFormed);
  // A byte 10xxxxxx continues a character: step back to where one begins.
  while (cut > 0 && ((bytes[cut] ?? 0) & 0xc0) === 0x80) cut -= 1;
  // A byte order mark at the beginning is a character like any other here.
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, cut)) + mark;
}

const cutMark = "… (cut)";

/** The bytes of `text` in UTF-8, where half of a surrogate pair becomes U+FFFD. */
export function byteLength(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit <= 0xdbff && isLowSurrogate(text.charCodeAt(i + 1))) {
      // A pair of surrogates is two units and four bytes.
      bytes += 2;
      i += 1;
    } else bytes += 2;
  }
  return bytes;
}

/**
 * The bytes of `text` in an answer, in binary or as a JSON string, whichever is more: there a control character may
 * take six.
 */
export function answerByteLength(text: string): number {
  let escaped = 0;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit === quote || unit === backslash) escaped += 1;
    else if (unit < 0x20) escaped += 5;
  }
  return byteLength(text) + escaped;
}

const quote = 0x22;
const backslash = 0x5c;

/** False for the NaN that charCodeAt gives behind the end. */
function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
