/** A phase of a run: how what the runner returned or threw is taken. */
import type { TaskError } from "#gen/core/v1/core_pb.js";
import { Code } from "#gen/google/rpc/code_pb.js";
import { isAbortThrow, type PhaseOutcome, type Verdict } from "../task/abort.ts";
import { JsonText } from "../json-text.ts";
import type { EndSaid, TaskEvent } from "../task/apply.ts";
import { byteLength, type TaskLimits } from "../task/limits.ts";
import { createTaskError, taskErrorOf } from "./describe-error.ts";

/** The two phases of a run in which its runner has it. */
export type PhaseName = "pending" | "running";

/** How long each phase may take, in ms; Infinity is for ever. */
export type PhaseTimeouts = Readonly<Record<PhaseName, number>>;

/**
 * What a phase is rejected with that cannot go on where it is. `lost`: the runner is not there any more, or gave the task up. `left`: it
 * may be, and the controller closes. The message says why, as a transition's reason.
 */
export class SeatLost extends Error {
  readonly #kind: "lost" | "left";

  constructor(kind: "lost" | "left", why: string) {
    super(why);
    this.name = "SeatLost";
    this.#kind = kind;
  }

  get kind(): "lost" | "left" {
    return this.#kind;
  }

  /** Whether that is what was thrown. Never throws, as `instanceof` does on what a runner may have thrown. */
  static is(thrown: unknown): thrown is SeatLost {
    return typeof thrown === "object" && thrown !== null && #kind in thrown;
  }
}

/** How a phase settled. */
export interface Settled {
  readonly phase: PhaseName;
  /** How long it might have taken, in ms. */
  readonly timeoutMs: number;
  readonly outcome: PhaseOutcome;
  /** What was returned or thrown. */
  readonly value: unknown;
}

/** Runs a phase until it settles, whatever the runner throws. The signal of its run is looked at only then. */
export async function settlePhase(
  run: { readonly signal: AbortSignal },
  call: () => unknown,
): Promise<Pick<Settled, "outcome" | "value">> {
  try {
    return { outcome: "returned", value: await call() };
  } catch (thrown) {
    if (SeatLost.is(thrown)) return { outcome: thrown.kind, value: thrown };
    return { outcome: isAbortThrow(thrown, run.signal) ? "aborted" : "threw", value: thrown };
  }
}

/** The end that a verdict makes of what a phase returned or threw. Never throws, whatever that was. */
export function endEvent(verdict: Verdict, settled: Settled, limits: TaskLimits, said: EndSaid = {}): TaskEvent {
  switch (verdict) {
    case "complete":
      return endEventOf(settled.value, said, limits.resultMaxBytes);
    case "cancel":
      return { type: "cancel", seq: said.seq, fence: said.fence, answersCancel: said.answersCancel };
    case "fail-timeout":
      return failedEvent(timeoutError(settled), said);
    default:
      return failedEvent(taskErrorOf(settled.value, limits.messageMaxBytes), said);
  }
}

function failedEvent(error: TaskError, { seq, fence, answersCancel }: EndSaid): TaskEvent {
  return { type: "error", error, seq, fence, answersCancel };
}

function timeoutError({ phase, timeoutMs }: Settled): TaskError {
  const message = `the ${phase} phase took longer than ${timeoutMs} ms, and was told to stop`;
  return createTaskError(Code.DEADLINE_EXCEEDED, "TIMEOUT", message);
}

/** The end of a run that returned `value`: a value that is not JSON, or too large, makes it Failed. */
function endEventOf(value: unknown, said: EndSaid, resultMaxBytes: number): TaskEvent {
  const { seq, fence, answersCancel } = said;
  if (value === undefined) return { type: "end", seq, fence, answersCancel };
  const fail = (message: string): TaskEvent =>
    failedEvent(createTaskError(Code.INVALID_ARGUMENT, "RUNNER_ERROR", message), said);
  try {
    const result = value instanceof JsonText ? value.text : (JSON.stringify(value) as string | undefined);
    if (result === undefined) return fail(`the result is a ${typeof value}, which JSON has not`);
    const bytes = byteLength(result);
    return bytes <= resultMaxBytes
      ? { type: "end", result, seq, fence, answersCancel }
      : fail(`the result has ${bytes} bytes as JSON; at most ${resultMaxBytes} are kept`);
  } catch (error) {
    return fail(`the result cannot be encoded as JSON: ${taskErrorOf(error, 1_024).message}`);
  }
}
