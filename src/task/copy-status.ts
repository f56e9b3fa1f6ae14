import type { Progress, StateTransition, TaskCancel, TaskError, TaskStatus } from "#gen/core/v1/core_pb.js";
import { nextStatus } from "./next-version.ts";

/**
 * The status as others may have it: all its own, the log entries excepted, which the caller reads anew or copies. What a program
 * does to it, its lists and its parts must not reach the status that the controller works with.
 */
export function copyStatus(status: TaskStatus): TaskStatus {
  const copy = nextStatus(status);
  copy.progress = copyOf(status.progress);
  copy.transitions = status.transitions.map(copyTransition);
  copy.error = copyError(status.error);
  copy.cancel = copyCancel(status.cancel);
  copy.labels = { ...status.labels };
  copy.createTime = copyOf(status.createTime);
  copy.updateTime = copyOf(status.updateTime);
  copy.startTime = copyOf(status.startTime);
  copy.endTime = copyOf(status.endTime);
  return copy;
}

/** The same for a progress. */
export function copyProgress(progress: Progress | undefined): Progress | undefined {
  return copyOf(progress);
}

/** The same for an error. */
export function copyError(error: TaskError | undefined): TaskError | undefined {
  const copy = copyOf(error);
  if (copy !== undefined) copy.details = { ...copy.details };
  return copy;
}

function copyTransition(transition: StateTransition): StateTransition {
  const copy = { ...transition };
  copy.timestamp = copyOf(transition.timestamp);
  return copy;
}

function copyCancel(cancel: TaskCancel | undefined): TaskCancel | undefined {
  const copy = copyOf(cancel);
  if (copy === undefined) return undefined;
  copy.requestedAt = copyOf(copy.requestedAt);
  copy.deliveredAt = copyOf(copy.deliveredAt);
  copy.acknowledgedAt = copyOf(copy.acknowledgedAt);
  return copy;
}

/** A message of fields that are no messages, or are copied behind it. */
function copyOf<T extends object>(message: T | undefined): T | undefined {
  return message && { ...message };
}
