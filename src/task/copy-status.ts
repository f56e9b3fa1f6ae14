import type { Progress, TaskCancel, TaskError, TaskStatus } from "#gen/core/v1/core_pb.js";

/**
 * The status as others may have it: all its own, the log entries excepted, which the caller reads anew or copies. What a program
 * does to it, its lists and its parts must not reach the status that the controller works with.
 */
export function copyStatus(status: TaskStatus): TaskStatus {
  return {
    ...status,
    progress: copyOf(status.progress),
    transitions: status.transitions.map((each) => ({ ...each, timestamp: copyOf(each.timestamp) })),
    error: copyError(status.error),
    cancel: copyCancel(status.cancel),
    labels: { ...status.labels },
    createTime: copyOf(status.createTime),
    updateTime: copyOf(status.updateTime),
    startTime: copyOf(status.startTime),
    endTime: copyOf(status.endTime),
  };
}

/** The same for a progress. */
export function copyProgress(progress: Progress | undefined): Progress | undefined {
  return copyOf(progress);
}

/** The same for an error. */
export function copyError(error: TaskError | undefined): TaskError | undefined {
  return error && { ...error, details: { ...error.details } };
}

function copyCancel(cancel: TaskCancel | undefined): TaskCancel | undefined {
  return (
    cancel && {
      ...cancel,
      requestedAt: copyOf(cancel.requestedAt),
      deliveredAt: copyOf(cancel.deliveredAt),
      acknowledgedAt: copyOf(cancel.acknowledgedAt),
    }
  );
}

/** A message of fields that are no messages. */
function copyOf<T extends object>(message: T | undefined): T | undefined {
  return message && { ...message };
}
