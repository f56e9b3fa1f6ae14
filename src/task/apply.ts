/**
 * The task state machine as a function: what an event makes of a task. It waits
 * for nothing, reads no clock and keeps nothing.
 *
 * 1. `state` changes only together with a new last transition that equals it, and only as `transitionTable` says.
 * 2. A run that has ended changes no more, but for the count and the log of writes that were refused; what is rejected changes nothing.
 * 3. A launch makes a new run (relaunch.ts); every other event stays within the run.
 */
import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { type Progress, type TaskError, TaskCancelSchema } from "#gen/core/v1/core_pb.js";
import { changedRecord, changedStatus } from "./changed.ts";
import { defaultTaskLimits, type TaskLimits } from "./limits.ts";
import { isActive, isEnded, nextState, type Trigger } from "./state.ts";
import { type Task, timestampAt, type TransitionChanges, withTransition } from "./task.ts";

/** Of what a remote runner says: where it is in the order of all that it says in the attempt. */
export interface Said {
  readonly seq?: bigint | undefined;
}

/** Of the end of an attempt. */
export interface EndSaid extends Said {
  /** The fence under which a remote runner had it. */
  readonly fence?: bigint | undefined;
  /** It answers the cancel: the runner ended its phase after it was told, or there was none to tell. */
  readonly answersCancel?: boolean | undefined;
}

/** Log entries that were added, and the oldest that were dropped for them. */
export interface LogCounts {
  readonly added: number;
  readonly addedBytes: number;
  readonly dropped: number;
  readonly droppedBytes: number;
}

export type TaskEvent =
  /** The run was offered to a runner that has a name. */
  | { readonly type: "offer"; readonly runner: string }
  /** onTaskPending returned. */
  | (Said & { readonly type: "start" })
  /** onTaskRunning returned; `result` is JSON. */
  | (EndSaid & { readonly type: "end"; readonly result?: string | undefined })
  /** The runner threw, or the controller gives the task up. */
  | (EndSaid & { readonly type: "error"; readonly error: TaskError; readonly reason?: string })
  /** Somebody asks for the task's end. */
  | { readonly type: "request-cancel"; readonly requestedBy: string; readonly reason: string }
  /** The runner's signal was fired because of that. */
  | { readonly type: "deliver-cancel" }
  /** The task ends because of that. */
  | (EndSaid & { readonly type: "cancel" })
  /** The attempt is over without an end. `died`: the process died in it. */
  | (EndSaid & { readonly type: "resume"; readonly reason: string; readonly died: boolean })
  | (Said & { readonly type: "progress"; readonly progress: Progress })
  | (Said & LogCounts & { readonly type: "logs" })
  /** So many writes under a fence that is void were refused, which `log` tells of, if it is given. */
  | { readonly type: "reject-writes"; readonly count: number; readonly log?: LogCounts | undefined };

export type ApplyOutcome =
  | { readonly kind: "applied"; readonly task: Task }
  /** The event does not apply to the task as it is. */
  | { readonly kind: "rejected"; readonly reason: string };

const triggers: Partial<Record<TaskEvent["type"], Trigger>> = {
  start: "Start",
  end: "End",
  error: "Error",
  cancel: "Cancel",
  resume: "Resume",
};

/** What `event`, at `nowMs` (ms since 1970), makes of `task`. */
export function apply(
  task: Task,
  event: TaskEvent,
  nowMs: number,
  limits: TaskLimits = defaultTaskLimits,
): ApplyOutcome {
  const { state } = task.status;
  const now = timestampAt(nowMs);
  if (event.type === "reject-writes" && isEnded(state)) return applied(applyChange(task, event, now));
  if (!isActive(state)) return { kind: "rejected", reason: `${event.type} does not apply to a run that is not alive` };

  const trigger = triggers[event.type];
  if (trigger === undefined) return applied(applyChange(task, event, now));
  const next = nextState(state, trigger);
  if (next === undefined) return { kind: "rejected", reason: `${event.type} does not apply in this state` };
  const reason =
    "reason" in event ? (event.reason ?? "") : event.type === "cancel" ? (task.status.cancel?.reason ?? "") : "";
  const { transitionsMax } = limits;
  return applied(withTransition(task, next, { now, reason, transitionsMax, ...besideTransition(task, event, now) }));
}

function applied(task: Task): ApplyOutcome {
  return { kind: "applied", task };
}

function changed(
  task: Task,
  now: Timestamp,
  status: Partial<Task["status"]>,
  record: Partial<Task["record"]> = {},
): Task {
  return {
    status: changedStatus(task.status, { ...status, updateTime: now }),
    record: changedRecord(task.record, { ...record, isTransition: false }),
  };
}

function applyChange(task: Task, event: TaskEvent, now: Timestamp): Task {
  const { record, status } = task;
  const { cancel } = status;
  switch (event.type) {
    case "offer":
      return changed(task, now, { runner: event.runner });
    case "request-cancel":
      if (cancel !== undefined) return task;
      return changed(task, now, {
        cancel: create(TaskCancelSchema, { requestedBy: event.requestedBy, reason: event.reason, requestedAt: now }),
      });
    case "deliver-cancel":
      if (cancel === undefined || cancel.deliveredAt !== undefined) return task;
      return changed(task, now, { cancel: { ...cancel, deliveredAt: now } });
    case "progress":
      return changed(
        task,
        now,
        { progress: event.progress, crashCount: 0 },
        { attemptProgressed: true, ...said(record, event) },
      );
    case "logs":
      return withLogs(changed(task, now, {}, said(record, event)), event);
    case "reject-writes": {
      const rejectedWrites = status.rejectedWrites + BigInt(event.count);
      const rejectedEntries = record.rejectedEntries + (event.log?.added ?? 0);
      const counted = changed(task, now, { rejectedWrites }, { rejectedEntries });
      return event.log === undefined ? counted : withLogs(counted, event.log);
    }
    default:
      return task;
  }
}

function withLogs({ status, record }: Task, counts: LogCounts): Task {
  return {
    status: changedStatus(status, {
      logCount: status.logCount + BigInt(counts.added),
      logsDropped: status.logsDropped + BigInt(counts.dropped),
    }),
    record: changedRecord(record, {
      logLastSeq: record.logLastSeq + BigInt(counts.added),
      logBytes: record.logBytes + BigInt(counts.addedBytes - counts.droppedBytes),
    }),
  };
}

/** How far what the runner said is on disk with the event. */
function said(record: Task["record"], { seq }: Said): Pick<Task["record"], "writtenSeq"> {
  return { writtenSeq: seq ?? record.writtenSeq };
}

/** The same at the end of an attempt, to be known of its fence later. */
function lastSaid(record: Task["record"], event: EndSaid): Pick<Task["record"], "writtenSeq" | "endFence" | "endSeq"> {
  const { writtenSeq } = said(record, event);
  const { endFence, endSeq } = event.fence === undefined ? record : { endFence: event.fence, endSeq: writtenSeq };
  return { writtenSeq, endFence, endSeq };
}

/** What changes beside the state in a transition. */
function besideTransition(
  { status, record }: Task,
  event: TaskEvent,
  now: Timestamp,
): Pick<TransitionChanges, "status" | "record"> {
  switch (event.type) {
    case "start":
      return { status: { startTime: status.startTime ?? now }, record: said(record, event) };
    case "end":
    case "error":
    case "cancel": {
      const asked = status.cancel;
      const cancel = asked === undefined || !event.answersCancel ? asked : { ...asked, acknowledgedAt: now };
      return { status: { ...endOf(event), endTime: now, cancel }, record: lastSaid(record, event) };
    }
    case "resume": {
      const crashCount =
        event.died && !record.attemptProgressed ? status.crashCount + 1 : event.died ? 0 : status.crashCount;
      return {
        status: { attempt: status.attempt + 1, crashCount, runner: "" },
        record: { ...lastSaid(record, event), attemptProgressed: false, writtenSeq: 0n },
      };
    }
    default:
      return {};
  }
}

function endOf(event: TaskEvent & { type: "end" | "error" | "cancel" }): Partial<Task["status"]> {
  if (event.type === "end") return { result: event.result };
  return event.type === "error" ? { error: event.error } : {};
}

/** After how many deaths in a row without progress a task may only start alone. */
const suspectCrashCount = 2;
/** After how many it is given up, if it was alone. */
export const parkCrashCount = 3;

/** Whether the task may only start while no other such task runs. */
export function isSuspect(task: Task): boolean {
  return isActive(task.status.state) && task.status.crashCount >= suspectCrashCount;
}

/** Whether a task that ran alone when the process died again is to be given up as CRASH_LOOP. */
export function isCrashLoop(task: Task, ranAlone: boolean): boolean {
  return ranAlone && task.status.crashCount >= parkCrashCount;
}
