/** Why a phase was told to stop. */
export type AbortKind = "CANCEL" | "SHUTDOWN" | "RESTART" | "LOST_FENCE" | "TIMEOUT";

const messages: Readonly<Record<AbortKind, string>> = {
  CANCEL: "the task was canceled",
  SHUTDOWN: "the controller is closing; the task resumes when it is opened again",
  RESTART: "the task was launched anew",
  LOST_FENCE: "the run was lost; nothing it writes counts any more",
  TIMEOUT: "the phase took longer than it may",
};

/** The reason of the signal that a runner gets, so that it can tell why it should stop. A cancel that comes after another reason becomes the `kind` of this one. */
export class AbortReason extends Error {
  readonly kind: AbortKind;

  constructor(kind: AbortKind) {
    super(messages[kind]);
    this.name = "AbortError";
    this.kind = kind;
  }
}

/** Whether a run that was told to stop for `before`, or was not told, is judged by `kind` from now on: a cancel outranks the rest, as it was acknowledged, and the loss of the fence outranks all. */
export function outranks(kind: AbortKind, before: AbortKind | undefined): boolean {
  if (before === undefined || kind === "LOST_FENCE") return kind !== before;
  return kind === "CANCEL" && before !== "CANCEL" && before !== "LOST_FENCE";
}

/**
 * What fires the signal of a phase, which is made for who asks for it: most phases come to their end without. It fires once, with an
 * AbortReason: where it has for another kind that a later one outranks, its reason says that one from then on, so that code that looks
 * at it late, as when it cleans up, learns what counts.
 */
export class PhaseAbort {
  #abort: AbortController | undefined;
  #reason: AbortReason | undefined;

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#reason !== undefined) this.#abort.abort(this.#reason);
    }
    return this.#abort.signal;
  }

  /** `reason`: in other words, where it is the first. */
  abort(kind: AbortKind, reason: AbortReason = new AbortReason(kind)): void {
    if (this.#reason === undefined) {
      this.#reason = reason;
      this.#abort?.abort(reason);
    } else if (outranks(kind, this.#reason.kind)) Object.assign(this.#reason, { kind, message: messages[kind] });
  }
}

/**
 * How a phase settled: it returned, it threw because it was aborted, or it threw something else. Or it did not, and is over
 * all the same: `lost`, as its remote runner is not there any more or gave the task up; `left`, as the controller closes
 * and its remote runner goes on.
 */
export type PhaseOutcome = "returned" | "aborted" | "threw" | "lost" | "left";

/**
 * What becomes of the task. `resume`: it is offered again, one attempt more. `leave`: nothing is written and it is resumed at the next
 * opening, or taken up there; `discard`: nothing is written by this run.
 */
export type Verdict = "start" | "complete" | "cancel" | "fail" | "fail-timeout" | "resume" | "leave" | "discard";

/** For each reason, the verdict over onTaskRunning by its outcome. */
export const abortTable: Readonly<Record<AbortKind | "none", Readonly<Record<PhaseOutcome, Verdict>>>> = {
  CANCEL: { returned: "complete", aborted: "cancel", threw: "fail", lost: "cancel", left: "leave" },
  SHUTDOWN: { returned: "complete", aborted: "leave", threw: "leave", lost: "leave", left: "leave" },
  RESTART: { returned: "discard", aborted: "discard", threw: "discard", lost: "discard", left: "leave" },
  LOST_FENCE: { returned: "discard", aborted: "discard", threw: "discard", lost: "discard", left: "leave" },
  TIMEOUT: { returned: "complete", aborted: "fail-timeout", threw: "fail", lost: "fail-timeout", left: "leave" },
  none: { returned: "complete", aborted: "fail", threw: "fail", lost: "resume", left: "leave" },
};

/**
 * What becomes of the task. onTaskPending is judged like onTaskRunning, but for its
 * return: with it the work is not done, so it leads on to Running, or, where the
 * task is to stop, to where an aborted phase leads.
 */
export function judge(phase: "pending" | "running", kind: AbortKind | undefined, outcome: PhaseOutcome): Verdict {
  const row = abortTable[kind ?? "none"];
  if (phase === "running" || outcome !== "returned") return row[outcome];
  return kind === undefined || kind === "TIMEOUT" ? "start" : row.aborted;
}

const maxCauses = 32;

/** Whether what was thrown says that the phase stopped because `signal` was aborted: its reason, an error caused by it, or an AbortError. Never throws. */
export function isAbortThrow(thrown: unknown, signal: AbortSignal): boolean {
  if (!signal.aborted) return false;
  try {
    if (thrown === signal.reason) return true;
    if (isNamedAbortError(thrown)) return true;
    let cause: unknown = thrown;
    for (let depth = 0; depth < maxCauses; depth += 1) {
      if (typeof cause !== "object" || cause === null) return false;
      cause = (cause as { cause?: unknown }).cause;
      if (cause === signal.reason) return true;
    }
    return false;
  } catch {
    // A getter or proxy of the thrown value threw: whatever it is, it is no abort.
    return false;
  }
}

function isNamedAbortError(thrown: unknown): boolean {
  return typeof thrown === "object" && thrown !== null && (thrown as { name?: unknown }).name === "AbortError";
}
