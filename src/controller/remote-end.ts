/** How a phase ended, as a remote runner says it, for the rules that hold for any runner (phase.ts). */
import { Code } from "#gen/google/rpc/code_pb.js";
import { type PhaseEnd, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { JsonText } from "../json-text.ts";
import { createTaskError } from "./describe-error.ts";
import { SeatLost } from "./phase.ts";

/** What the phase returns; throws what it throws. `signal` of its run is the phase's. */
export function outcomeOf({ phase, outcome }: PhaseEnd, run: { readonly signal: AbortSignal } | undefined): unknown {
  switch (outcome.case) {
    case "done":
      return phase === RunPhase.RUNNING ? resultOf(outcome.value.result) : undefined;
    case "failed":
      throw new RemoteFailure(outcome.value.error);
    case "aborted":
      // The very reason, so that it is taken for what the abort leads to.
      if (run?.signal.aborted === true) throw run.signal.reason;
      throw new RemoteFailure(
        createTaskError(
          Code.CANCELLED,
          "RUNNER_ERROR",
          "the runner says that it was told to stop, and nobody had asked",
        ),
      );
    default:
      throw new SeatLost("lost", "resumed: the runner gave the task up");
  }
}

function resultOf(text: string | undefined): JsonText | undefined {
  if (text === undefined) return undefined;
  try {
    return new JsonText(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RemoteFailure(createTaskError(Code.INVALID_ARGUMENT, "RUNNER_ERROR", `the result is not JSON: ${why}`));
  }
}

/** An error that is the task's, see TaskRunner. */
class RemoteFailure extends Error {
  readonly taskError: unknown;

  constructor(taskError: unknown) {
    super("a remote runner failed");
    this.taskError = taskError;
  }
}
