import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { StateTransition, TaskState, TaskStatus } from "#gen/core/v1/core_pb.js";
import type { TaskRecord } from "#gen/stint/store/v1/record_pb.js";
import { nextRecord, nextStatus } from "./next-version.ts";

/**
 * A task as the controller holds it. Never changed: each event makes a new one.
 * `status.logs` is empty (log entries are records of their own), and so are `status.metadata` and
 * `status.result` where they are records of their own (`record.metadataBytes`, `record.resultBytes`).
 */
export interface Task {
  readonly status: TaskStatus;
  readonly record: TaskRecord;
}

/** The next version of the task, to be given what is other in it. */
export function nextTask({ status, record }: Task): Task {
  return { status: nextStatus(status), record: nextRecord(record) };
}

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

/** When and why a state changes, and how many transitions are kept. */
export interface TransitionTerms {
  readonly now: Timestamp;
  readonly reason: string;
  readonly transitionsMax: number;
}

/** Gives a version that is being made one transition more, and drops the oldest above `transitionsMax`. */
export function addTransition(next: Task, state: TaskState, terms: TransitionTerms): void {
  const { now, reason, transitionsMax } = terms;
  const { status, record } = next;
  const transition: StateTransition = { $typeName: "core.v1.StateTransition", state, timestamp: now, reason };
  const dropped = Math.max(0, status.transitions.length - (transitionsMax - 1));
  const kept = dropped === 0 ? status.transitions : status.transitions.slice(dropped);
  status.state = state;
  status.transitions = [...kept, transition];
  if (dropped > 0) status.transitionsDropped += BigInt(dropped);
  status.updateTime = now;
  record.isTransition = true;
}

/** The number of the oldest log entry that is kept; one above the newest when there is none. */
export function firstLogSeq(task: Task): bigint {
  return task.record.logLastSeq - (task.status.logCount - task.status.logsDropped) + 1n;
}
