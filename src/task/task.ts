import { create } from "@bufbuild/protobuf";
import { timestampFromMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import { type StateTransition, StateTransitionSchema, type TaskState, type TaskStatus } from "#gen/core/v1/core_pb.js";
import type { TaskRecord } from "#gen/stint/store/v1/record_pb.js";

/**
 * A task as the controller holds it. Never changed: each event makes a new one.
 * `status.logs` is empty (log entries are records of their own), and so are `status.metadata` and
 * `status.result` where they are records of their own (`record.metadataBytes`, `record.resultBytes`).
 */
export interface Task {
  readonly status: TaskStatus;
  readonly record: TaskRecord;
}

/** The time in ms of a timestamp; 0 when it is unset. */
export function timestampMs(timestamp: Timestamp | undefined): number {
  if (timestamp === undefined) return 0;
  return Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1e6);
}

/** The task with one transition more, and the oldest dropped above `transitionsMax`. */
export function withTransition(
  task: Task,
  state: TaskState,
  options: { nowMs: number; reason: string; transitionsMax: number },
): Task {
  const transition: StateTransition = create(StateTransitionSchema, {
    state,
    timestamp: timestampFromMs(options.nowMs),
    reason: options.reason,
  });
  const { transitions } = task.status;
  const kept = transitions.slice(Math.max(0, transitions.length - (options.transitionsMax - 1)));
  const dropped = BigInt(transitions.length - kept.length);
  return {
    status: {
      ...task.status,
      state,
      transitions: [...kept, transition],
      transitionsDropped: task.status.transitionsDropped + dropped,
      updateTime: timestampFromMs(options.nowMs),
    },
    record: { ...task.record, isTransition: true },
  };
}

/** The number of the oldest log entry that is kept; one above the newest when there is none. */
export function firstLogSeq(task: Task): bigint {
  return task.record.logLastSeq - (task.status.logCount - task.status.logsDropped) + 1n;
}
