/** What is said to remote runners, and of them. */
import { create } from "@bufbuild/protobuf";
import type { Progress, TaskStatus } from "#gen/core/v1/core_pb.js";
import {
  AbortReason,
  type PhaseEnd,
  RunPhase,
  type TaskAbort,
  TaskAbortSchema,
  type TaskOffer,
  type TaskWrite,
  type TaskWritten,
} from "#gen/stint/v1/runner_pb.js";
import type { AbortKind } from "../task/abort.ts";
import { ControllerError, invalidArgument } from "./error.ts";
import type { HostedTask } from "./host.ts";

/** How the wire names why a run is to stop. */
export const abortReasons: Readonly<Record<AbortKind, AbortReason>> = {
  CANCEL: AbortReason.CANCEL,
  RESTART: AbortReason.RESTART,
  TIMEOUT: AbortReason.TIMEOUT,
  LOST_FENCE: AbortReason.LOST_FENCE,
  // No runner is told that: its run goes on while the server is away.
  SHUTDOWN: AbortReason.UNSPECIFIED,
};

/** The offer of a phase. This and the next are as `create` makes them, at a fraction of its cost: each task has two of both. */
export function offerOf(of: Omit<TaskOffer, "$typeName" | "$unknown" | "status">, status: TaskStatus): TaskOffer {
  const { taskId, runId, phase, attempt, fence } = of;
  return { $typeName: "stint.v1.TaskOffer", taskId, runId, phase, status, attempt, fence };
}

export function writtenOf(taskId: string, fence: bigint, seq: bigint): TaskWritten {
  return { $typeName: "stint.v1.TaskWritten", taskId, fence, seq };
}

export function abortMessage(task: HostedTask, fence: bigint, kind: AbortKind): TaskAbort {
  const cancel = kind === "CANCEL" ? task.cancel : undefined;
  return create(TaskAbortSchema, { taskId: task.taskId, fence, reason: abortReasons[kind], cancel });
}

/** For a write with nothing in it. */
export function emptyWrite(): ControllerError {
  return refusal("write", "must have progress, entries, or both");
}

/** For what is said between the end of a phase and the offer of the next. */
export function afterEnd(): ControllerError {
  return refusal("seq", "comes after the end of the phase; wait for the offer of the next");
}

/** For what is written to a task whose run has ended. */
export function afterRun(): ControllerError {
  return refusal("write", "must be of a run that has not ended: the runner is told of its end");
}

export function wrongPhase(of: string, phase: RunPhase): ControllerError {
  return refusal(`${of}.phase`, `must be the phase that the task is in, RUN_PHASE_${RunPhase[phase]}`);
}

function refusal(field: string, description: string): ControllerError {
  return invalidArgument([{ field, description }]);
}

/** Why a write was refused whose fence is void, or was never this runner's. */
export function staleFence(taskId: string, fence: bigint): ControllerError {
  return new ControllerError(
    "FAILED_PRECONDITION",
    `task "${taskId}" is not this runner's under fence ${fence}, or no longer; drop it`,
    { reason: "STALE_FENCE" },
  );
}

/** Why a runner that is connected can be offered nothing. */
export type Refraining = "drains" | "takes none" | "is silent";

/** As one says it of several. */
const refrainingOfMany: Readonly<Record<Refraining, string>> = {
  drains: "drain",
  "takes none": "take none",
  "is silent": "are silent",
};

/** What a task waits for while those runners are connected. */
export function describeWaiting(
  connected: ReadonlyArray<{ readonly capacity: number; readonly refrains: Refraining | undefined }>,
): string {
  const { length } = connected;
  if (length === 0) return "a runner: none is connected to this controller";
  const willing = connected.filter(({ refrains }) => refrains === undefined);
  if (willing.length > 0) {
    const places = willing.reduce((sum, { capacity }) => sum + capacity, 0);
    const [runners, are, take] =
      willing.length === 1 ? ["runner", "is", "takes"] : [`${willing.length} runners`, "are", "take"];
    const which = willing.length === length ? `${are} connected` : `${take} tasks`;
    return `${places === 1 ? "the place" : `one of the ${places} places`} of the ${runners} that ${which}`;
  }
  const reasons = (["drains", "is silent", "takes none"] as const).flatMap((why) => {
    const count = connected.filter(({ refrains }) => refrains === why).length;
    return count === 0 ? [] : [{ count, does: count === 1 ? why : refrainingOfMany[why] }];
  });
  const all = length === 1 ? "one that is connected" : `${length} that are connected`;
  const [first, ...others] = reasons;
  if (others.length === 0) return `a runner that takes tasks: the ${all} ${first?.does}`;
  return `a runner that takes tasks: of the ${all} ${reasons.map(({ count, does }) => `${count} ${does}`).join(", ")}`;
}

/** What a runner said, for people. */
export function describeSaid(said: TaskWrite | PhaseEnd): string {
  if (said.$typeName === "stint.v1.PhaseEnd") return describeEnd(said);
  const progress = said.progress === undefined ? [] : [describeProgress(said.progress)];
  return [...progress, ...said.entries.map(({ msg }) => `log ${JSON.stringify(msg)}`)].join(", ");
}

function describeProgress({ current, total, message, unit }: Progress): string {
  const of = total === 0n ? "" : ` of ${total}`;
  const rest = [unit, message && JSON.stringify(message)].filter((text) => text !== "").join(" ");
  return `progress ${current}${of}${rest === "" ? "" : ` ${rest}`}`;
}

function describeEnd({ outcome }: PhaseEnd): string {
  switch (outcome.case) {
    case "done":
      return outcome.value.result === undefined ? "done" : `done with ${outcome.value.result}`;
    case "failed":
      return `failed with ${JSON.stringify(outcome.value.error?.message ?? "")}`;
    default:
      return outcome.case ?? "nothing";
  }
}
