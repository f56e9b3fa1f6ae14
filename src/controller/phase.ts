/** A phase of a run: how what the runner returned or threw is taken. */
import { Code } from "#gen/google/rpc/code_pb.js";
import { isAbortThrow, type PhaseOutcome, type Verdict } from "../task/abort.ts";
import { JsonText } from "../json-text.ts";
import type { TaskEvent } from "../task/apply.ts";
import { byteLength, type TaskLimits } from "../task/limits.ts";
import { createTaskError, taskErrorOf } from "./describe-error.ts";

/** How a phase settled. */
export interface Settled {
  readonly phase: "pending" | "running";
  readonly outcome: PhaseOutcome;
  /** What was returned or thrown. */
  readonly value: unknown;
}

/** Runs a phase until it settles, whatever the runner throws. */
export async function settlePhase(
  phase: "pending" | "running",
  signal: AbortSignal,
  call: () => unknown,
): Promise<Settled> {
  try {
    return { phase, outcome: "returned", value: await call() };
  } catch (thrown) {
    return { phase, outcome: isAbortThrow(thrown, signal) ? "aborted" : "threw", value: thrown };
  }
}

/** The end that a verdict makes of what a phase returned or threw. Never throws, whatever that was. */
export function endEvent(verdict: Verdict, value: unknown, limits: TaskLimits): TaskEvent {
  switch (verdict) {
    case "complete":
      return endEventOf(value, limits.resultMaxBytes);
    case "cancel":
      return { type: "cancel" };
    case "fail-timeout":
      return {
        type: "error",
        error: createTaskError(Code.DEADLINE_EXCEEDED, "TIMEOUT", "the phase took longer than it may"),
      };
    default:
      return { type: "error", error: taskErrorOf(value, limits.messageMaxBytes) };
  }
}

/** The end of a run that returned `value`: a value that is not JSON, or too large, makes it Failed. */
function endEventOf(value: unknown, resultMaxBytes: number): TaskEvent {
  if (value === undefined) return { type: "end" };
  const fail = (message: string): TaskEvent => ({
    type: "error",
    error: createTaskError(Code.INVALID_ARGUMENT, "RUNNER_ERROR", message),
  });
  try {
    const result = value instanceof JsonText ? value.text : (JSON.stringify(value) as string | undefined);
    if (result === undefined) return fail(`the result is a ${typeof value}, which JSON has not`);
    const bytes = byteLength(result);
    return bytes <= resultMaxBytes
      ? { type: "end", result }
      : fail(`the result has ${bytes} bytes as JSON; at most ${resultMaxBytes} are kept`);
  } catch (error) {
    return fail(`the result cannot be encoded as JSON: ${taskErrorOf(error, 1_024).message}`);
  }
}
