import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import pico from "picocolors";
import { TaskState, type TaskStatus } from "#gen/core/v1/core_pb.js";
import { hasUnicode, type Io, wantsColor } from "./io.ts";
import { openLiveArea } from "./live-area.ts";
import { escapeText } from "./text/escape.ts";
import { colorState, renderProgressLine } from "./text/progress-line.ts";
import { createRateEstimator } from "./text/rate.ts";
import { hasEnded, outcomeText, runtimeMs, stateName } from "./text/task-text.ts";
import { describeMessage, emptyMemory, type WatchLine, type WatchMemory } from "./text/watch-line.ts";
import { truncateText } from "./text/width.ts";
import type { WatchView } from "./watch-view.ts";

type Colors = ReturnType<typeof pico.createColors>;

export interface LiveViewOptions {
  /** The task, escaped. */
  readonly name: string;
  /** Whether log entries are printed above; otherwise the last one is shown below the bar. */
  readonly logs: boolean;
}

/** A progress bar that is drawn over and over at the bottom of the terminal, with what happened printed above it. */
export function openLiveView(io: Io, options: LiveViewOptions): WatchView {
  const colors = pico.createColors(wantsColor(io, io.stdout));
  const unicode = hasUnicode(io.env);
  let memory: WatchMemory = emptyMemory;
  let rate = createRateEstimator();
  let lastLog = "";
  let connected = true;

  const render = (columns: number): string[] => {
    const { status } = memory;
    if (!status) return [];
    const runtime = runtimeMs(status, io.clock.wall());
    const view = { name: options.name, state: status.state, progress: status.progress, runtimeMs: runtime };
    const style = { columns, colors, unicode };
    const lines = [renderProgressLine({ ...view, rate: rate.perSecond(io.clock.mono()) }, style)];
    const note = connected ? noteOf(status, options.logs ? "" : lastLog) : "no connection, trying again";
    if (note) lines.push(colors.dim(truncateText(`  ${note}`, columns)));
    return lines;
  };
  const area = openLiveArea(io, render);

  return {
    message(message) {
      const runId = memory.status?.runId;
      const described = describeMessage(message, memory);
      memory = described.memory;
      const { status } = memory;
      if (status && runId !== undefined && status.runId !== runId) rate = createRateEstimator();
      if (status?.progress) rate.add(status.progress.current, io.clock.mono());
      for (const line of described.lines) if (line.kind === "log") lastLog = line.text;
      const above = described.lines.filter((line) => isPrinted(line, options.logs));
      if (above.length > 0) area.print(above.map((line) => renderEvent(line, colors)));
      else area.changed();
    },
    connection(now, text) {
      connected = now;
      area.aside(() => io.stderr.write(`${text}\n`));
    },
    close() {
      area.close();
      const outcome = memory.status && hasEnded(memory.status.state) ? outcomeText(memory.status) : "";
      if (outcome) io.stdout.write(`  ${truncateText(outcome, 1000)}\n`);
      memory = emptyMemory;
    },
  };
}

/** What the task does just now. */
function noteOf(status: TaskStatus, lastLog: string): string {
  if (hasEnded(status.state)) return "";
  if (status.cancel) return `cancel requested${status.cancel.reason ? `: ${escapeText(status.cancel.reason)}` : ""}`;
  if (status.state === TaskState.Pending && status.waitingFor) return `waits for ${escapeText(status.waitingFor)}`;
  return lastLog || escapeText(status.progress?.message ?? "");
}

function isPrinted(line: WatchLine, logs: boolean): boolean {
  return line.kind === "log" ? logs : line.kind !== "progress";
}

function renderEvent(line: WatchLine, colors: Colors): string {
  const time = colors.dim(localTime(line.time));
  if (line.state === undefined) return `${time} ${line.text}`;
  return `${time} ${colorState(line.state, colors)}${line.text.slice(stateName(line.state).length)}`;
}

/** The time of day where the terminal is. */
function localTime(timestamp: Timestamp | undefined): string {
  if (!timestamp) return "--:--:--";
  const date = new Date(timestampMs(timestamp));
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}
