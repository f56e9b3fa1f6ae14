import type { TaskCancel, TaskStatus } from "#gen/core/v1/core_pb.js";
import { escapeLines, escapeText } from "./escape.ts";
import { formatDuration, formatTime } from "./format.ts";
import { errorLines, hasEnded, logText, progressText, runtimeMs, stateName, transitionText } from "./task-text.ts";

/** What a status is of. */
export interface StatusContext {
  /** CONTROLLER/ID, escaped. */
  readonly name: string;
  readonly revision: bigint;
  readonly nowMs: number;
}

/** All that is known of a task, as lines; fields that say nothing are left out. */
export function renderStatus(status: TaskStatus, context: StatusContext): string[] {
  const fields = fieldsOf(status, context).filter(([, value]) => value !== "");
  const width = Math.max(...fields.map(([name]) => name.length));
  return [
    context.name,
    ...fields.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    ...section("Transitions", status.transitions.length, status.transitionsDropped + BigInt(status.transitions.length)),
    ...status.transitions.map((transition) => `    ${formatTime(transition.timestamp)} ${transitionText(transition)}`),
    ...section("Log", status.logs.length, status.logCount),
    ...status.logs.map((entry) => `    ${logText(entry)}`),
  ];
}

function fieldsOf(status: TaskStatus, { revision, nowMs }: StatusContext): Array<readonly [string, string]> {
  const labels = Object.entries(status.labels).map(([key, value]) => escapeText(`${key}=${value}`));
  return [
    ["State", stateText(status, nowMs)],
    ["Waits for", escapeText(status.waitingFor)],
    ["Progress", progressText(status)],
    ["Error", errorLines(status).join(indentedBreak)],
    ["Result", jsonText(status.result ?? "")],
    ["Cancel", status.cancel ? cancelText(status.cancel) : ""],
    ["Metadata", jsonText(status.metadata)],
    ["Labels", labels.join(", ")],
    ["Owner", escapeText(status.owner)],
    ["Runner", escapeText(status.runner)],
    ["Run", escapeText(status.runId)],
    ["Revision", String(revision)],
    ["Crashes", status.crashCount > 0 ? `${status.crashCount} in a row without progress` : ""],
    ["Refused", refusedText(status.rejectedWrites)],
    ["Created", formatTime(status.createTime)],
    ["Changed", formatTime(status.updateTime)],
    ["Started", status.startTime ? formatTime(status.startTime) : ""],
    ["Ended", status.endTime ? formatTime(status.endTime) : ""],
  ];
}

function refusedText(writes: bigint): string {
  if (writes === 0n) return "";
  return writes === 1n
    ? "1 write of a runner that had lost the task"
    : `${writes} writes of runners that had lost the task`;
}

function stateText(status: TaskStatus, nowMs: number): string {
  const took = runtimeMs(status, nowMs);
  const parts = [
    took === undefined ? "" : `${hasEnded(status.state) ? "after" : "for"} ${formatDuration(took)}`,
    status.attempt > 1 ? `attempt ${status.attempt}` : "",
  ].filter(Boolean);
  return stateName(status.state) + (parts.length > 0 ? ` (${parts.join(", ")})` : "");
}

function cancelText(cancel: TaskCancel): string {
  const by = cancel.requestedBy ? ` by ${escapeText(cancel.requestedBy)}` : "";
  const reason = cancel.reason ? `: ${escapeText(cancel.reason)}` : "";
  const stage = cancel.acknowledgedAt ? "acknowledged" : cancel.deliveredAt ? "delivered" : "requested";
  const at = cancel.acknowledgedAt ?? cancel.deliveredAt ?? cancel.requestedAt;
  return `${stage} ${formatTime(at)}${by}${reason}`;
}

const indentedBreak = "\n    ";

/** JSON as it was written; further lines are indented below the first. */
function jsonText(json: string): string {
  return escapeLines(json.trim()).join(indentedBreak);
}

function section(title: string, shown: number, all: bigint): string[] {
  if (shown === 0) return [];
  return [`  ${title}${BigInt(shown) < all ? ` (the newest ${shown} of ${all})` : ""}`];
}
