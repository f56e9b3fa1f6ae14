import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { Progress, TaskState, TaskStatus } from "#gen/core/v1/core_pb.js";
import type { WatchTaskResponse } from "#gen/stint/v1/controller_pb.js";
import { escapeText } from "./escape.ts";
import { formatLevel } from "./format.ts";
import { hasEnded, outcomeText, progressText, tookText, transitionsAfter, transitionText } from "./task-text.ts";
import { truncateText } from "./width.ts";

/** One thing that happened to a watched task. */
export interface WatchLine {
  readonly kind: "transition" | "progress" | "cancel" | "log";
  readonly time: Timestamp | undefined;
  /** Escaped, without the time and the task's name. */
  readonly text: string;
  /** What belongs to it where there is room: progress, outcome. */
  readonly detail: string;
  /** Of a transition. */
  readonly state?: TaskState;
  /** Whether the text ends in a reason. */
  readonly reason?: boolean;
}

/** All of it in one line. What follows a reason, which is a sentence of somebody's, is set off from it. */
export function lineText({ text, detail, reason }: WatchLine): string {
  return detail === "" ? text : `${text}${reason ? ";" : ""} ${detail}`;
}

/** What of a watch was shown. */
export interface WatchMemory {
  readonly status: TaskStatus | undefined;
  /** The last log entry's number. */
  readonly seq: bigint;
}

/** The memory of a watch that has shown nothing. */
export const emptyMemory: WatchMemory = { status: undefined, seq: 0n };

/**
 * What is new in a message, in the order of time. Nothing twice, also where the
 * watch began again with the status as it is. Of the first status, the state it is in is new.
 */
export function describeMessage(
  message: WatchTaskResponse,
  memory: WatchMemory,
): { readonly lines: WatchLine[]; readonly memory: WatchMemory } {
  const lines: WatchLine[] = [];
  let { seq } = memory;
  for (const entry of message.logs) {
    if (entry.seq <= seq) continue;
    seq = entry.seq;
    const text = `${formatLevel(entry.level)} ${escapeText(entry.msg)}`;
    lines.push({ kind: "log", time: entry.timestamp, text, detail: "" });
  }
  const { status } = message;
  if (!status) return { lines, memory: { ...memory, seq } };
  lines.push(...transitionLines(status, memory.status));
  // A stable sort: what happened in the same instant stays in the order above.
  lines.sort((a, b) => compareTimes(a.time, b.time));
  lines.push(...changeLines(status, memory.status, lines));
  return { lines, memory: { status, seq } };
}

function transitionLines(status: TaskStatus, before: TaskStatus | undefined): WatchLine[] {
  const fresh = before ? transitionsAfter(status, before.transitions.at(-1)) : status.transitions.slice(-1);
  return fresh.map((transition, index) => {
    const last = index === fresh.length - 1;
    // Why it was canceled may be the transition's reason already.
    const outcome = outcomeText(status);
    const detail = last
      ? [
          progressText(status),
          hasEnded(status.state) ? tookText(status) : "",
          escapeText(transition.reason).includes(outcome) ? "" : outcome,
        ]
      : [];
    return {
      kind: "transition",
      time: transition.timestamp,
      text: transitionText(transition),
      detail: truncateText(detail.filter(Boolean).join(", "), 1000),
      state: transition.state,
      reason: transition.reason !== "",
    };
  });
}

function changeLines(status: TaskStatus, before: TaskStatus | undefined, lines: readonly WatchLine[]): WatchLine[] {
  const changes: WatchLine[] = [];
  if (status.cancel && !hasEnded(status.state) && !before?.cancel) {
    const reason = status.cancel.reason ? `: ${escapeText(status.cancel.reason)}` : "";
    changes.push({ kind: "cancel", time: status.cancel.requestedAt, text: `cancel requested${reason}`, detail: "" });
  }
  const told = lines.some((line) => line.kind === "transition");
  if (!told && status.progress && !sameProgress(status.progress, before?.progress)) {
    changes.push({ kind: "progress", time: status.updateTime, text: progressText(status), detail: "" });
  }
  return changes;
}

function sameProgress(a: Progress, b: Progress | undefined): boolean {
  return a.current === b?.current && a.total === b.total && a.message === b.message && a.unit === b.unit;
}

function compareTimes(a: Timestamp | undefined, b: Timestamp | undefined): number {
  const seconds = (a?.seconds ?? 0n) - (b?.seconds ?? 0n);
  return seconds === 0n ? (a?.nanos ?? 0) - (b?.nanos ?? 0) : Number(seconds);
}
