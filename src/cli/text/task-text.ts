import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { type LogEntry, type StateTransition, TaskState, type TaskStatus } from "#gen/core/v1/core_pb.js";
import { escapeLines, escapeOnOneLine, escapeText } from "./escape.ts";
import { formatAmount, formatDuration, formatLevel, formatPercent, formatTime, fractionOf } from "./format.ts";

/** Whether a run in this state is over. */
export function hasEnded(state: TaskState): boolean {
  return state === TaskState.Completed || state === TaskState.Failed || state === TaskState.Canceled;
}

/** A state by its name; a number this program does not know, as the number. */
export function stateName(state: TaskState): string {
  return TaskState[state] ?? `State ${state}`;
}

/** How far the task is: "3/10 rows (30%) copying"; empty where it has not said. */
export function progressText(status: TaskStatus): string {
  const { progress } = status;
  if (!progress) return "";
  const fraction = fractionOf(progress);
  const amount = progress.current > 0n || progress.total > 0n ? formatAmount(progress) : "";
  const percent = fraction === undefined ? "" : `(${formatPercent(fraction)})`;
  // What it was doing last is no news once it has ended, but for a failure it may be the best hint.
  const message = status.state === TaskState.Completed ? "" : escapeText(progress.message);
  return [amount, percent, message].filter(Boolean).join(" ");
}

/** Why it failed, on one line: "step 3 failed (RUNNER_ERROR, exit_code 1)"; empty where it did not. */
export function errorText(status: TaskStatus): string {
  return escapeOnOneLine(describeError(status));
}

/** The same, with the lines that the message has. */
export function errorLines(status: TaskStatus): string[] {
  return escapeLines(describeError(status));
}

function describeError({ error }: TaskStatus): string {
  if (!error) return "";
  const details = Object.entries(error.details).map(([key, value]) => `${key} ${value}`);
  const inBrackets = [error.reason, ...details].filter(Boolean).join(", ");
  return `${error.message.trim() || "no message"}${inBrackets ? ` (${inBrackets})` : ""}`;
}

/** What there is to say about the state a task is in, beyond its name: how it ended, or what it waits for. */
export function outcomeText(status: TaskStatus): string {
  const { state, result, cancel, waitingFor } = status;
  if (state === TaskState.Completed) return result === undefined ? "" : `result ${escapeText(result)}`;
  if (state === TaskState.Failed) return errorText(status);
  if (state === TaskState.Canceled) return escapeText(cancel?.reason ?? "");
  return state === TaskState.Pending && waitingFor ? `waits for ${escapeText(waitingFor)}` : "";
}

/** How long the run took, or has taken by `nowMs` of the wall; undefined where it has not started. */
export function runtimeMs(status: TaskStatus, nowMs: number): number | undefined {
  const startMs = msOf(status.startTime);
  if (startMs === undefined) return undefined;
  return Math.max(0, (msOf(status.endTime) ?? nowMs) - startMs);
}

/** How long the run took, as "in 2.1s"; empty where it has not both started and ended. */
export function tookText(status: TaskStatus): string {
  return status.startTime && status.endTime ? `in ${formatDuration(runtimeMs(status, 0) ?? 0)}` : "";
}

/** "2026-11-03T12:34:56.789Z INFO counted 3" */
export function logText(entry: LogEntry): string {
  return `${formatTime(entry.timestamp)} ${formatLevel(entry.level)} ${escapeText(entry.msg)}`;
}

/** "Pending: resumed: the controller was opened" */
export function transitionText(transition: StateTransition): string {
  return `${stateName(transition.state)}${transition.reason ? `: ${escapeText(transition.reason)}` : ""}`;
}

/**
 * The transitions after the one seen last. All of them where that one is not
 * there any more, since then they are a new run's.
 */
export function transitionsAfter(status: TaskStatus, seen: StateTransition | undefined): StateTransition[] {
  const at = status.transitions.findLastIndex(
    ({ state, timestamp }) =>
      state === seen?.state &&
      timestamp?.seconds === seen.timestamp?.seconds &&
      timestamp?.nanos === seen.timestamp?.nanos,
  );
  return status.transitions.slice(at + 1);
}

function msOf(timestamp: Timestamp | undefined): number | undefined {
  return timestamp && timestampMs(timestamp);
}
