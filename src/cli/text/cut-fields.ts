import { cutText } from "../../task/limits.ts";
import { shortenStack } from "./short-stack.ts";

const textMaxBytes = 1024;
const stackMaxBytes = 8 * 1024;
const entriesMax = 32;
const depthMax = 4;

/** The fields of a log record with nothing in them that is long, large or deep: a client, or a runner, may have had a hand in them. */
export function cutFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields)
      .slice(0, entriesMax)
      .map(([key, value]) => [cutText(key, 128), cutValue(key, value, 1)]),
  );
}

function cutValue(key: string, value: unknown, depth: number): unknown {
  if (typeof value === "string") {
    return key === "stack" ? cutText(shortenStack(value), stackMaxBytes) : cutText(value, textMaxBytes);
  }
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= depthMax) return "…";
  if (Array.isArray(value)) return value.slice(0, entriesMax).map((each) => cutValue("", each, depth + 1));
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  const entries = Object.entries(value).slice(0, entriesMax);
  return Object.fromEntries(entries.map(([inner, each]) => [cutText(inner, 128), cutValue(inner, each, depth + 1)]));
}
