import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { type StateTransition, type TaskState, type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { type TaskRecord, TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { changedRecord, changedStatus } from "./changed.ts";
import { wholeMessages } from "../messages/whole-messages.ts";

/**
 * A task as the controller holds it. Never changed: each event makes a new one.
 * `status.logs` is empty (log entries are records of their own), and so are `status.metadata` and
 * `status.result` where they are records of their own (`record.metadataBytes`, `record.resultBytes`).
 */
export interface Task {
  readonly status: TaskStatus;
  readonly record: TaskRecord;
}

/** A status with these fields, as each event copies it. */
export const wholeStatus = wholeMessages(TaskStatusSchema);

/** The same for what is kept beside a status. */
export const wholeRecord = wholeMessages(TaskRecordSchema);

/** The timestamp of a time in ms since 1970, as timestampFromMs makes it at ten times the cost: each event of each task has one. */
export function timestampAt(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000);
  return {
    $typeName: "google.protobuf.Timestamp",
    seconds: BigInt(seconds),
    nanos: Math.floor((ms - seconds * 1000) * 1_000_000),
  };
}

/** The time in ms of a timestamp; 0 when it is unset. */
export function timestampMs(timestamp: Timestamp | undefined): number {
  if (timestamp === undefined) return 0;
  return Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1e6);
}

/** A transition, and what changes with it. */
export interface TransitionChanges {
  readonly now: Timestamp;
  readonly reason: string;
  readonly transitionsMax: number;
  readonly status?: Partial<TaskStatus>;
  readonly record?: Partial<TaskRecord>;
}

/** The task with one transition more, and the oldest dropped above `transitionsMax`. */
export function withTransition(task: Task, state: TaskState, changes: TransitionChanges): Task {
  const { now, reason, transitionsMax } = changes;
  const transition: StateTransition = { $typeName: "core.v1.StateTransition", state, timestamp: now, reason };
  const { transitions, transitionsDropped } = task.status;
  const dropped = Math.max(0, transitions.length - (transitionsMax - 1));
  return {
    status: changedStatus(task.status, {
      ...changes.status,
      state,
      transitions: [...(dropped === 0 ? transitions : transitions.slice(dropped)), transition],
      transitionsDropped: dropped === 0 ? transitionsDropped : transitionsDropped + BigInt(dropped),
      updateTime: now,
    }),
    record: changedRecord(task.record, { ...changes.record, isTransition: true }),
  };
}

/** The number of the oldest log entry that is kept; one above the newest when there is none. */
export function firstLogSeq(task: Task): bigint {
  return task.record.logLastSeq - (task.status.logCount - task.status.logsDropped) + 1n;
}
