/** What is said to remote runners, and of them. */
import { create } from "@bufbuild/protobuf";
import type { Progress } from "#gen/core/v1/core_pb.js";
import {
  AbortReason,
  type PhaseEnd,
  RunPhase,
  type TaskAbort,
  TaskAbortSchema,
  type TaskWrite,
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
