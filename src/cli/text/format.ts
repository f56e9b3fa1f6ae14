import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Progress } from "#gen/core/v1/core_pb.js";
import { escapeText } from "./escape.ts";

const byteUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;

/** A number of bytes with three digits at least and a unit: 512 B, 1.50 KiB, 12.3 MiB, 234 GiB. */
export function formatBytes(bytes: number | bigint): string {
  let value = Number(bytes);
  let unit = 0;
  // Compared as it will be shown, so that 1023.9 KiB is 1.00 MiB and never 1024 KiB.
  while (unit < byteUnits.length - 1 && Number(value.toPrecision(3)) >= 1000) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : shortDecimal(value)} ${byteUnits[unit]}`;
}

/** A length of time in its two largest units: 850ms, 2.1s, 45s, 3m 20s, 2h 05m, 3d 4h. Negative counts as none. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
  const hours = Math.floor(minutes / 60);
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

/** How long ago, in the one largest unit: now, 5s, 3m, 2h, 4d. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "now";
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** Done and to do with their unit: 3/10 rows, 1.5 MiB/3.0 GiB, 12 (where the total is not known). */
export function formatAmount(progress: Pick<Progress, "current" | "total" | "unit">): string {
  const { current, total, unit } = progress;
  const of = (amount: bigint): string => (isBytes(unit) ? formatBytes(amount) : String(amount));
  const amount = total > 0n ? `${of(current)}/${of(total)}` : of(current);
  return unit === "" || isBytes(unit) ? amount : `${amount} ${escapeText(unit)}`;
}

/** A speed in units a second: 1.2 MiB/s, 34/s, 0.25/s. */
export function formatRate(perSecond: number, unit: string): string {
  if (isBytes(unit)) return `${formatBytes(perSecond)}/s`;
  return `${perSecond >= 1000 ? Math.round(perSecond) : shortDecimal(perSecond)}/s`;
}

/** The part that is done, from 0 to 1; undefined where the total is not known. */
export function fractionOf(progress: Pick<Progress, "current" | "total">): number | undefined {
  const { current, total } = progress;
  if (total === 0n) return undefined;
  return current >= total ? 1 : Number((current * 1_000_000n) / total) / 1_000_000;
}

/** A fraction as a percentage, rounded down: 100% is only what is done. */
export function formatPercent(fraction: number): string {
  return `${Math.floor(fraction * 100 + 1e-9)}%`;
}

/** A time in UTC, to the millisecond; "-" where there is none. */
export function formatTime(timestamp: Timestamp | undefined): string {
  if (!timestamp) return "-";
  const ms = timestampMs(timestamp);
  // What lies outside JavaScript's range of dates cannot be formatted, and must not throw.
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : "-";
}

/** A level of a log entry by its name, as slog writes it: INFO, WARN+1. */
export function formatLevel(level: number): string {
  const [name, base] = level < 0 ? ["DEBUG", -4] : level < 4 ? ["INFO", 0] : level < 8 ? ["WARN", 4] : ["ERROR", 8];
  const offset = level - base;
  return offset === 0 ? name : `${name}${offset > 0 ? "+" : ""}${offset}`;
}

function isBytes(unit: string): boolean {
  return unit === "bytes" || unit === "byte" || unit === "B";
}

function shortDecimal(value: number): string {
  if (value === 0) return "0";
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
