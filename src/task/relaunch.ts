import { create } from "@bufbuild/protobuf";
import { type TaskState, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { defaultTaskLimits, type TaskLimits } from "./limits.ts";
import {
  isActive,
  StateCanceled,
  StateCompleted,
  StateFailed,
  stateName,
  StatePending,
  StateRunning,
  StateUnknown,
} from "./state.ts";
import { nextRecord, nextStatus } from "./next-version.ts";
import { addTransition, type Task, timestampAt } from "./task.ts";

/** What a new run keeps of the one before. */
export interface RelaunchRule {
  readonly progress: "keep" | "clear";
  readonly metadata: "replace" | "replace if given";
  readonly logs: "keep" | "keep, append an entry" | "clear";
  readonly transitions: "keep" | "clear";
}

const clean: RelaunchRule = { progress: "clear", metadata: "replace", logs: "clear", transitions: "clear" };

/** What a new run keeps, by the state that the task is in at the run's first commit. */
export const relaunchTable: Readonly<Record<TaskState, RelaunchRule>> = {
  [StateRunning]: { progress: "keep", metadata: "replace if given", logs: "keep", transitions: "keep" },
  [StateFailed]: { progress: "clear", metadata: "replace", logs: "keep, append an entry", transitions: "keep" },
  [StateCanceled]: { progress: "keep", metadata: "replace", logs: "clear", transitions: "clear" },
  [StatePending]: clean,
  [StateCompleted]: clean,
  [StateUnknown]: clean,
};

const emptyStatus = create(TaskStatusSchema);
const emptyRecord = create(TaskRecordSchema);

/** A launch that has been decided on. */
export interface Launch {
  readonly runId: string;
  /** JSON text, or undefined when none was given. */
  readonly metadata: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly owner: string;
  /** The place in the queue. */
  readonly queueNumber: bigint;
  /** The name of the runner that it is offered to at once, if there is one and it has a name. */
  readonly runner?: string | undefined;
}

export interface Launched {
  readonly task: Task;
  /** A log entry to append to the new run. */
  readonly logEntry: string | undefined;
  /** The log entries of the run before are to be removed. */
  readonly clearsLogs: boolean;
}

/** The new run that `launch` makes of `task`, or of nothing. */
export function relaunch(
  task: Task | undefined,
  launch: Launch,
  nowMs: number,
  limits: TaskLimits = defaultTaskLimits,
): Launched {
  const now = timestampAt(nowMs);
  const before = task?.status;
  const rule = before === undefined ? clean : (relaunchTable[before.state] ?? clean);
  const keepsLogs = rule.logs !== "clear";
  const keepsMetadata = rule.metadata === "replace if given" && launch.metadata === undefined;
  const keepsTransitions = rule.transitions === "keep";
  const next: Task = { status: nextStatus(emptyStatus), record: nextRecord(emptyRecord) };
  const { status, record } = next;
  status.progress = rule.progress === "keep" ? before?.progress : undefined;
  status.metadata = keepsMetadata ? (before?.metadata ?? "") : (launch.metadata ?? "");
  status.logs = [];
  status.transitions = keepsTransitions ? (before?.transitions ?? []) : [];
  status.transitionsDropped = keepsTransitions ? (before?.transitionsDropped ?? 0n) : 0n;
  status.attempt = 1;
  status.labels = { ...launch.labels };
  status.owner = launch.owner;
  status.createTime = before?.createTime ?? now;
  status.runId = launch.runId;
  status.runner = launch.runner ?? "";
  status.logCount = keepsLogs ? (before?.logCount ?? 0n) : 0n;
  status.logsDropped = keepsLogs ? (before?.logsDropped ?? 0n) : 0n;
  record.generation = task?.record.generation || launch.runId;
  record.queueNumber = launch.queueNumber;
  record.logLastSeq = task?.record.logLastSeq ?? 0n;
  record.logBytes = keepsLogs ? (task?.record.logBytes ?? 0n) : 0n;
  record.metadataBytes = keepsMetadata ? (task?.record.metadataBytes ?? 0) : 0;
  const from = before === undefined ? "" : stateName(before.state);
  const reason =
    before === undefined ? "" : isActive(before.state) ? `restarted while ${from}` : `launched again after ${from}`;
  addTransition(next, StatePending, { now, reason, transitionsMax: limits.transitionsMax });
  return {
    task: next,
    logEntry:
      rule.logs === "keep, append an entry" && before !== undefined
        ? `restarting; the run before was ${from}`
        : undefined,
    clearsLogs: !keepsLogs && (before?.logCount ?? 0n) > 0n,
  };
}

/** What a launch asks for where the id is there already. */
export interface LaunchPolicy {
  readonly ifActive: "restart" | "fail" | "use-existing";
  readonly ifEnded: "relaunch" | "relaunch-unless-completed" | "use-existing" | "fail";
}

export type LaunchDecision = "launch" | "restart" | "use-existing" | "refuse";

/** What a launch does to a task in `state` (undefined: there is none). */
export function decideLaunch(state: TaskState | undefined, policy: LaunchPolicy): LaunchDecision {
  if (state === undefined || state === StateUnknown) return "launch";
  if (isActive(state)) {
    return policy.ifActive === "fail" ? "refuse" : policy.ifActive === "restart" ? "restart" : "use-existing";
  }
  switch (policy.ifEnded) {
    case "fail":
      return "refuse";
    case "use-existing":
      return "use-existing";
    case "relaunch-unless-completed":
      return state === StateCompleted ? "use-existing" : "launch";
    default:
      return "launch";
  }
}
