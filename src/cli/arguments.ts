import { InvalidArgumentError, Option } from "commander";
import { TaskState } from "#gen/core/v1/core_pb.js";

/** The server's address where none is given: this machine, on the default port. */
export const defaultServer = "127.0.0.1:7846";

/**
 * HOST:PORT of a server; a host alone gets the default port, a port alone this
 * machine. "http://" before it is ignored, for it is what people paste.
 */
export function parseServer(text: string): string {
  const match = /^(https?:\/\/)?(\[[\da-f:.]+\]|[^\s:/[\]]*)(?::(\d{1,9}))?\/?$/i.exec(
    /^\d+$/.test(text) ? `:${text}` : text,
  );
  const [, scheme = "", host = "", port = ""] = match ?? [];
  const portNumber = Number(port || "7846");
  if (match && (portNumber < 1 || portNumber > 65535)) {
    throw new InvalidArgumentError(`Its port must be from 1 to 65535, and is ${portNumber}.`);
  }
  if (host === "" && port === "") {
    throw new InvalidArgumentError("It must be HOST:PORT, such as 127.0.0.1:7846, or https://HOST:PORT.");
  }
  const isTls = scheme.toLowerCase() === "https://";
  return `${isTls ? "https://" : ""}${host || "127.0.0.1"}:${portNumber}`;
}

/** A path, which an unset variable in a script is not. */
export function parsePath(text: string): string {
  if (text === "") throw new InvalidArgumentError("It must not be empty.");
  return text;
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A length of time such as 500ms, 10s or 1m30s, in ms. */
export function parseDurationMs(text: string): number {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    throw new InvalidArgumentError("It must be a length of time such as 500ms, 10s or 1m30s.");
  }
  let ms = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    ms += Number(amount) * (unitMs[unit ?? ""] ?? 0);
  return Math.round(ms);
}

/** The time that an option without one also stands for itself; what follows the option is always taken for the time. */
export function parseWaitMs(text: string): number {
  try {
    return parseDurationMs(text);
  } catch {
    throw new InvalidArgumentError(
      "It must be a length of time such as 10s. Without one, the option goes to the end of the line.",
    );
  }
}

/** Collects KEY=VALUE; the value may be empty and may have "=" in it. A key given twice is a mistake. */
export function collectLabel(text: string, labels: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("It must be KEY=VALUE.");
  const key = text.slice(0, at);
  if (Object.hasOwn(labels, key)) throw new InvalidArgumentError(`The label "${key}" is there twice.`);
  return Object.fromEntries([...Object.entries(labels), [key, text.slice(at + 1)]]);
}

const stateNames = ["Pending", "Running", "Completed", "Failed", "Canceled", "Unknown"] as const;

/** --state, which help and completion know the values of. */
export function stateOption(): Option {
  const names = stateNames.map((name) => name.toLowerCase());
  return new Option("-s, --state <state>", "only tasks in this state; may be repeated")
    .choices(names)
    .argParser(collectState);
}

/** Collects states by name, in any case; several may be given at once, with commas. */
export function collectState(text: string, states: readonly TaskState[] = []): TaskState[] {
  const collected = new Set(states);
  for (const word of text.split(",")) {
    const name = stateNames.find((known) => known.toLowerCase() === word.trim().toLowerCase());
    if (!name) throw new InvalidArgumentError(`It must be one of ${stateNames.join(", ")}.`);
    collected.add(TaskState[name]);
  }
  return [...collected];
}

/** A revision: a whole number of up to 64 bits. */
export function parseRevision(text: string): bigint {
  if (!isUint64(text)) throw new InvalidArgumentError("It must be a revision: a whole number.");
  return BigInt(text);
}

function isUint64(text: string): boolean {
  return /^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n;
}

const levels: ReadonlyMap<string, number> = new Map([
  ["debug", -4],
  ["info", 0],
  ["warn", 4],
  ["error", 8],
]);

/** --min-level, which help and completion know the names of. */
export function levelOption(): Option {
  return new Option("--min-level <level>", "only entries of at least this level, or a whole number")
    .choices([...levels.keys()])
    .argParser(parseLevel);
}

/** A level of log entries: by its name, in any case, or as the number that slog has for it. */
export function parseLevel(text: string): number {
  const level = levels.get(text.toLowerCase()) ?? (/^[+-]?\d{1,9}$/.test(text) ? Number(text) : undefined);
  if (level === undefined) {
    throw new InvalidArgumentError(`It must be one of ${[...levels.keys()].join(", ")}, or a whole number.`);
  }
  return level;
}

/** The number of a log entry: a whole number of up to 64 bits. */
export function parseSeq(text: string): bigint {
  if (!isUint64(text)) throw new InvalidArgumentError("It must be the number (seq) of a log entry: a whole number.");
  return BigInt(text);
}

/** A parser of whole numbers from `min` to `max`. */
export function createCountParser(min: number, max: number): (text: string) => number {
  return (text) => {
    const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(count >= min && count <= max))
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    return count;
  };
}

/** Metadata as it was written, if it is a JSON object; kept byte for byte. */
export function checkMetadata(text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InvalidArgumentError(
      `It is not JSON: ${cause instanceof Error ? cause.message : cause}. A shell wants it in single quotes: '{"limit": 10}'.`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidArgumentError(`It must be a JSON object, such as '{"limit": 10}'.`);
  }
  return text;
}
