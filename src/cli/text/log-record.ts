import type { Colors } from "picocolors/types.js";
import { escapeLines, escapeText } from "./escape.ts";

/** What createProcessLog has pino write. */
interface LogRecord {
  readonly time: string;
  readonly level: string;
  readonly msg?: string;
  readonly err?: unknown;
  [field: string]: unknown;
}

/** One record of pino, a line of JSON, as text for people: time, level, message, fields; an error's stack below, where there is one. Ends with a line break. */
export function renderLogRecord(line: string, colors: Colors): string {
  const { time, level, msg, err, ...fields } = JSON.parse(line) as LogRecord;
  const error = typeof err === "object" && err !== null ? (err as Readonly<Record<string, unknown>>) : undefined;
  if (error) fields.error = error.message;
  const rest = Object.entries(fields).map(([key, value]) => colors.dim(escapeText(` ${key}=${fieldText(value)}`)));
  const head = `${colors.dim(timeOfDay(time))} ${colorLevel(level, colors)} ${escapeText(msg ?? "")}${rest.join("")}\n`;
  const stack = level === "error" && typeof error?.stack === "string" ? escapeLines(error.stack).slice(1) : [];
  return head + stack.map((frame) => `${colors.dim(`  ${frame}`)}\n`).join("");
}

function fieldText(value: unknown): string {
  return typeof value === "string" && /^\S+$/.test(value) ? value : (JSON.stringify(value) ?? "");
}

/** 12:34:56.789 out of the ISO time, in UTC as in the JSON. */
function timeOfDay(time: string): string {
  return time.slice(11, 23);
}

function colorLevel(level: string, colors: Colors): string {
  const name = level.toUpperCase().padEnd(5);
  if (level === "error") return colors.red(name);
  return level === "warn" ? colors.yellow(name) : colors.green(name);
}
