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
import { type Progress, type TaskCancel, type TaskError, TaskCancelSchema } from "#gen/core/v1/core_pb.js";
import { defaultTaskLimits, type TaskLimits } from "./limits.ts";
import { isActive, isEnded, nextState, type Trigger } from "./state.ts";
import { addTransition, nextTask, type Task, timestampAt } from "./task.ts";

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
  const now = timestampAt(nowMs);
  if (event.type === "reject-writes" && isEnded(task.status.state)) return applied(applyChange(task, event, now));
  if (!isActive(task.status.state))
    return { kind: "rejected", reason: `${event.type} does not apply to a run that is not alive` };

  const trigger = triggers[event.type];
  if (trigger === undefined) return applied(applyChange(task, event, now));
  const state = nextState(task.status.state, trigger);
  if (state === undefined) return { kind: "rejected", reason: `${event.type} does not apply in this state` };
  const next = nextTask(task);
  changeBesideState(next, event, now);
  addTransition(next, state, { now, reason: reasonOf(task, event), transitionsMax: limits.transitionsMax });
  return applied(next);
}

function applied(task: Task): ApplyOutcome {
  return { kind: "applied", task };
}

/** Why the state changes. */
function reasonOf({ status }: Task, event: TaskEvent): string {
  if (event.type === "cancel") return status.cancel?.reason ?? "";
  return event.type === "error" || event.type === "resume" ? (event.reason ?? "") : "";
}

function applyChange(task: Task, event: TaskEvent, now: Timestamp): Task {
  const { cancel } = task.status;
  if (event.type === "request-cancel" && cancel !== undefined) return task;
  if (event.type === "deliver-cancel" && (cancel === undefined || cancel.deliveredAt !== undefined)) return task;
  const next = nextTask(task);
  const { status, record } = next;
  status.updateTime = now;
  record.isTransition = false;
  switch (event.type) {
    case "offer":
      status.runner = event.runner;
      break;
    case "request-cancel": {
      const { requestedBy, reason } = event;
      status.cancel = create(TaskCancelSchema, { requestedBy, reason, requestedAt: now });
      break;
    }
    case "deliver-cancel":
      status.cancel = cancel && told(cancel, "deliveredAt", now);
      break;
    case "progress":
      status.progress = event.progress;
      status.crashCount = 0;
      record.attemptProgressed = true;
      noteSaid(next, event);
      break;
    case "logs":
      noteSaid(next, event);
      addLogs(next, event);
      break;
    case "reject-writes":
      status.rejectedWrites += BigInt(event.count);
      record.rejectedEntries += event.log?.added ?? 0;
      if (event.log !== undefined) addLogs(next, event.log);
      break;
    default:
      break;
  }
  return next;
}

/** The cancel with the time of its next stage. */
function told(cancel: TaskCancel, stage: "deliveredAt" | "acknowledgedAt", now: Timestamp): TaskCancel {
  const next = { ...cancel };
  next[stage] = now;
  return next;
}

function addLogs({ status, record }: Task, counts: LogCounts): void {
  status.logCount += BigInt(counts.added);
  status.logsDropped += BigInt(counts.dropped);
  record.logLastSeq += BigInt(counts.added);
  record.logBytes += BigInt(counts.addedBytes - counts.droppedBytes);
}

/** How far what the runner said is on disk with the event. */
function noteSaid({ record }: Task, { seq }: Said): void {
  record.writtenSeq = seq ?? record.writtenSeq;
}

/** The same at the end of an attempt, to be known of its fence later. */
function noteLastSaid({ record }: Task, event: EndSaid): void {
  record.writtenSeq = event.seq ?? record.writtenSeq;
  if (event.fence === undefined) return;
  record.endFence = event.fence;
  record.endSeq = record.writtenSeq;
}

/** What changes beside the state in a transition. */
function changeBesideState(next: Task, event: TaskEvent, now: Timestamp): void {
  const { status, record } = next;
  switch (event.type) {
    case "start":
      status.startTime ??= now;
      noteSaid(next, event);
      break;
    case "end":
    case "error":
    case "cancel":
      if (event.type === "end") status.result = event.result;
      if (event.type === "error") status.error = event.error;
      status.endTime = now;
      if (status.cancel !== undefined && event.answersCancel)
        status.cancel = told(status.cancel, "acknowledgedAt", now);
      noteLastSaid(next, event);
      break;
    case "resume":
      status.crashCount = !event.died ? status.crashCount : record.attemptProgressed ? 0 : status.crashCount + 1;
      status.attempt += 1;
      status.runner = "";
      noteLastSaid(next, event);
      record.attemptProgressed = false;
      record.writtenSeq = 0n;
      break;
    default:
      break;
  }
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
