import { defaultTaskLimits, type TaskLimits } from "../task/limits.ts";

/** The limits that the server said hold for its runners, by their names there, such as "result_max_bytes". */
export type RemoteLimits = Readonly<Record<string, bigint>>;

/** What is kept to of them: worked out once, as each task needs it. */
export interface HostLimits {
  readonly task: TaskLimits;
  /** See entriesMaxBytesOf. */
  readonly entriesMaxBytes: number;
}

export function hostLimitsOf(remote: RemoteLimits): HostLimits {
  return { task: taskLimitsOf(remote), entriesMaxBytes: entriesMaxBytesOf(remote) };
}

/** One message of the runner, where the server does not say. */
const requestMaxBytes = 1024 * 1024;
/** What a message has beside the text that is limited; of a small one a half. */
const envelopeMaxBytes = 64 * 1024;
/** What a write takes is 128 KiB of log entries; beside them there may be a progress. */
const entriesMaxBytes = 112 * 1024;

/** The limits of tasks as the server has them; Stint's defaults where it does not say. */
function taskLimitsOf(remote: RemoteLimits): TaskLimits {
  const limitOf = (name: string, byDefault: number): number => Number(remote[name] ?? byDefault);
  const { resultMaxBytes, progressMessageMaxBytes, logEntryMaxBytes, messageMaxBytes } = defaultTaskLimits;
  return {
    ...defaultTaskLimits,
    // A result for which there is no room in a message would end the stream, and with it the lease.
    resultMaxBytes: Math.min(limitOf("result_max_bytes", resultMaxBytes), textMaxBytesOf(remote)),
    progressMessageMaxBytes: limitOf("progress_message_max_bytes", progressMessageMaxBytes),
    logEntryMaxBytes: Math.min(limitOf("log_entry_max_bytes", logEntryMaxBytes), entriesMaxBytesOf(remote)),
    messageMaxBytes: limitOf("message_max_bytes", messageMaxBytes),
  };
}

/** The text of the log entries in one write. */
function entriesMaxBytesOf(remote: RemoteLimits): number {
  return Math.min(entriesMaxBytes, textMaxBytesOf(remote));
}

/** The text in one message. */
function textMaxBytesOf(remote: RemoteLimits): number {
  const messageMaxBytes = Number(remote["request_max_bytes"] ?? requestMaxBytes);
  return messageMaxBytes - Math.min(envelopeMaxBytes, Math.floor(messageMaxBytes / 2));
}
