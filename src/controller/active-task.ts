import { create } from "@bufbuild/protobuf";
import { type Progress, ProgressSchema } from "#gen/core/v1/core_pb.js";
import { byteLength, cutText, type TaskLimits } from "../task/limits.ts";
import { type ControllerError, type FieldViolation, invalidArgument, limitError } from "./error.ts";
import type { ActiveTask, JsonObject, LogLevel, ProgressInit, StandardSchema } from "./task-runner.ts";

/** What an ActiveTask writes to and reads from. */
export interface ActiveTaskPort {
  loadMetadata(): Promise<string>;
  /** The promise may be the same for all that wait for one write. */
  setProgress(progress: Progress): Promise<void>;
  getProgress(): Promise<Progress | undefined>;
  addLogEntry(level: number, msg: string): Promise<void>;
}

/** How many log entries of a task may wait to be written. */
export const waitingEntriesMax = 10_000;

const levels: Readonly<Record<string, number>> = { debug: -4, info: 0, warn: 4, error: 8 };
const uint64Max = 2n ** 64n - 1n;
const int32Max = 2 ** 31 - 1;

/** The task as its runner sees it. Bad arguments reject with INVALID_ARGUMENT and change nothing. */
export function createActiveTask(taskId: string, port: ActiveTaskPort, limits: TaskLimits): ActiveTask {
  async function load<T>(schema?: StandardSchema<T>): Promise<T | JsonObject | undefined> {
    const text = await port.loadMetadata();
    const metadata: unknown = text.trim() === "" ? undefined : JSON.parse(text);
    if (schema === undefined) return metadata as JsonObject | undefined;
    const result = await schema["~standard"].validate(metadata);
    if (result.issues === undefined) return result.value;
    throw invalidArgument(result.issues.map((issue) => ({ field: "metadata", description: issue.message })));
  }

  let newest: Promise<void> | undefined;
  function setProgress(init: ProgressInit): Promise<void> {
    try {
      const said = port.setProgress(progressOf(init, limits));
      // A runner may say as much as it likes and wait for none: the promise of many must not get a listener with each call.
      if (said !== newest) void handled(said);
      newest = said;
      return said;
    } catch (error) {
      return handled(Promise.reject(error as Error));
    }
  }

  async function addLogEntry(level: LogLevel, msg: string): Promise<void> {
    await port.addLogEntry(levelOf(level), cutText(String(msg), limits.logEntryMaxBytes));
  }

  return {
    taskId,
    loadTaskMetadata: <T>(schema?: StandardSchema<T>) => handled(load(schema)),
    loadJsonMetadata: () => handled(port.loadMetadata()),
    setProgress,
    getProgress: () => handled(port.getProgress()),
    addLogEntry: (level, msg) => handled(addLogEntry(level, msg)),
  };
}

/** A rejection that the runner does not look at, such as that of a write after the end, must not end the process. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Why a log entry is not taken where `waitingEntriesMax` wait. */
export function tooManyWait(): ControllerError {
  const message = `more than ${waitingEntriesMax} log entries wait to be written: await addLogEntry`;
  return limitError("waiting_log_entries", waitingEntriesMax, message);
}

/** The progress that `init` means. Throws INVALID_ARGUMENT. */
export function progressOf(init: ProgressInit, limits: TaskLimits): Progress {
  const violations: FieldViolation[] = [];
  const current = unsignedOf("progress.current", init?.current, violations);
  const total = unsignedOf("progress.total", init?.total ?? 0n, violations);
  const message = textOf("progress.message", init?.message ?? "", limits, violations);
  const unit = textOf("progress.unit", init?.unit ?? "", limits, violations);
  if (violations.length > 0) throw invalidArgument(violations);
  return create(ProgressSchema, { current, total, message, unit });
}

function unsignedOf(field: string, value: unknown, violations: FieldViolation[]): bigint {
  const isWhole = typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value));
  const number = isWhole ? BigInt(value) : -1n;
  if (number >= 0n && number <= uint64Max) return number;
  violations.push({
    field,
    description: `must be a whole number from 0 to ${uint64Max}; a number above 2^53 must be a bigint`,
  });
  return 0n;
}

function textOf(field: string, value: unknown, limits: TaskLimits, violations: FieldViolation[]): string {
  const max = limits.progressMessageMaxBytes;
  if (typeof value === "string" && value.isWellFormed() && byteLength(value) <= max) return value;
  violations.push({ field, description: `must be well-formed text of at most ${max} bytes` });
  return "";
}

function levelOf(level: LogLevel): number {
  const number = typeof level === "string" ? levels[level] : level;
  if (number !== undefined && Number.isInteger(number) && Math.abs(number) <= int32Max) return number;
  throw invalidArgument([
    {
      field: "level",
      description: `must be debug, info, warn, error or a whole number of 32 bits, not ${String(level)}`,
    },
  ]);
}
