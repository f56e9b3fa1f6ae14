/** Why a phase was told to stop. */
export type AbortKind = "CANCEL" | "SHUTDOWN" | "RESTART" | "LOST_FENCE" | "TIMEOUT";

const messages: Readonly<Record<AbortKind, string>> = {
  CANCEL: "the task was canceled",
  SHUTDOWN: "the controller is closing; the task resumes when it is opened again",
  RESTART: "the task was launched anew",
  LOST_FENCE: "the run was lost; nothing it writes counts any more",
  TIMEOUT: "the phase took longer than it may",
};

/** The reason of the signal that a runner gets, so that it can tell why it should stop. */
export class AbortReason extends Error {
  readonly kind: AbortKind;

  constructor(kind: AbortKind) {
    super(messages[kind]);
    this.name = "AbortError";
    this.kind = kind;
  }
}

/** How a phase settled: it returned, it threw because it was aborted, or it threw something else. */
export type PhaseOutcome = "returned" | "aborted" | "threw";

/** What becomes of the task. `leave`: nothing is written and it is resumed; `discard`: nothing is written by this run. */
export type Verdict = "start" | "complete" | "cancel" | "fail" | "fail-timeout" | "leave" | "discard";

/** For each reason, the verdict over onTaskRunning by its outcome. */
export const abortTable: Readonly<Record<AbortKind | "none", Readonly<Record<PhaseOutcome, Verdict>>>> = {
  CANCEL: { returned: "complete", aborted: "cancel", threw: "fail" },
  SHUTDOWN: { returned: "complete", aborted: "leave", threw: "leave" },
  RESTART: { returned: "discard", aborted: "discard", threw: "discard" },
  LOST_FENCE: { returned: "discard", aborted: "discard", threw: "discard" },
  TIMEOUT: { returned: "complete", aborted: "fail-timeout", threw: "fail" },
  none: { returned: "complete", aborted: "fail", threw: "fail" },
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
