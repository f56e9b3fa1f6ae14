import type { Colors } from "picocolors/types.js";
import type { Progress } from "#gen/core/v1/core_pb.js";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { formatAmount, formatDuration, formatPercent, formatRate, fractionOf } from "./format.ts";
import { timeLeftMs } from "./rate.ts";
import { stateName } from "./task-text.ts";
import { displayWidth, padText, truncateText } from "./width.ts";

/** What the progress line shows. */
export interface ProgressView {
  /** The task, escaped. */
  readonly name: string;
  readonly state: TaskState;
  readonly progress: Pick<Progress, "current" | "total" | "unit"> | undefined;
  /** Units a second. */
  readonly rate: number | undefined;
  /** How long the run has taken; undefined before its start. */
  readonly runtimeMs: number | undefined;
}

/** What the terminal can do. */
export interface LineStyle {
  readonly columns: number;
  readonly colors: Colors;
  readonly unicode: boolean;
}

/** Shorter is better than to leave out the rate or the time left. */
const barMin = 4;
const barMax = 40;

/** One line with all that fits: the task, its state, a bar, the percentage, the amount, the rate, the time left. Never wider than the columns. */
export function renderProgressLine(view: ProgressView, style: LineStyle): string {
  const { columns, colors } = style;
  const fraction = view.progress && fractionOf(view.progress);
  const state = stateName(view.state);
  const head = displayWidth(view.name) + 1 + state.length;
  for (const tail of tailsOf(view)) {
    const tailText = tail.map((part) => `  ${part}`).join("");
    const bar = fraction === undefined ? 0 : Math.min(barMax, columns - head - 2 - displayWidth(tailText));
    const fits = fraction === undefined ? head + displayWidth(tailText) <= columns : bar >= barMin;
    if (!fits) continue;
    const barText = fraction === undefined ? "" : `  ${colors.cyan(renderBar(fraction, bar, style.unicode))}`;
    return `${colors.bold(view.name)} ${colorState(view.state, colors)}${barText}${tailText.trimEnd()}`;
  }
  const percent = fraction === undefined ? "" : ` ${formatPercent(fraction)}`;
  const short = truncateText(`${view.name} ${state}`, Math.max(0, columns - percent.length)) + percent;
  return truncateText(short.trimStart(), columns);
}

/** A bar of so many columns, in eighths of a column where the terminal has the signs for it. */
export function renderBar(fraction: number, columns: number, unicode: boolean): string {
  const steps = unicode ? 8 : 1;
  const filled = Math.floor(Math.min(1, Math.max(0, fraction)) * columns * steps + 1e-9);
  const whole = Math.floor(filled / steps);
  if (!unicode) return "#".repeat(whole) + "-".repeat(columns - whole);
  const part = " ▏▎▍▌▋▊▉"[filled % steps] ?? "";
  return whole === columns
    ? "█".repeat(columns)
    : `${"█".repeat(whole)}${filled % steps ? part : "░"}${"░".repeat(columns - whole - 1)}`;
}

/** The state's name in its color. */
export function colorState(state: TaskState, colors: Colors): string {
  return colors[stateColors[state] ?? "cyan"](stateName(state));
}

const stateColors: Readonly<Partial<Record<TaskState, "green" | "red" | "yellow">>> = {
  [TaskState.Completed]: "green",
  [TaskState.Failed]: "red",
  [TaskState.Canceled]: "yellow",
};

/** What stands behind the bar, from all there is to say down to the least. Padded, lest the bar change its length with each digit. */
function tailsOf(view: ProgressView): string[][] {
  const { progress } = view;
  const runtime = view.runtimeMs === undefined ? "" : formatDuration(view.runtimeMs);
  const ended = view.state !== TaskState.Running && view.state !== TaskState.Pending;
  if (!progress || (progress.current === 0n && progress.total === 0n)) return [runtime ? [runtime] : [], []];
  const amount = padText(formatAmount(progress), displayWidth(formatAmount({ ...progress, current: progress.total })));
  if (ended) {
    const took = runtime && `in ${runtime}`;
    return progress.total === 0n
      ? [[amount, took], [amount]]
      : [[percentOf(progress), amount, took], [percentOf(progress), took], [percentOf(progress)]];
  }
  const rate = view.rate === undefined ? "" : formatRate(view.rate, progress.unit);
  if (progress.total === 0n) return [[amount, rate, runtime], [amount, runtime], [amount]];
  const leftMs = timeLeftMs(progress, view.rate);
  const left = (leftMs === undefined ? "" : `${formatDuration(leftMs)} left`).padEnd(12);
  const percent = percentOf(progress);
  return [[percent, amount, rate.padEnd(10), left], [percent, amount, left], [percent, left], [percent]];
}

function percentOf(progress: Pick<Progress, "current" | "total">): string {
  return formatPercent(fractionOf(progress) ?? 0).padStart(4);
}
