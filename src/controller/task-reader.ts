/** Reads tasks from the store: the status with what is kept apart from it folded in. */
import type { LogEntry, TaskStatus } from "#gen/core/v1/core_pb.js";
import { decodeLogChunk, decodePayload, decodeTask } from "../store/codec.ts";
import { logKey, logKeySeq, logPrefix, payloadKey, taskKey } from "../store/keys.ts";
import { type Entry, StoreError } from "../store/store.ts";
import { copyStatus } from "../task/copy-status.ts";
import { byteLength } from "../task/limits.ts";
import { firstLogSeq, type Task } from "../task/task.ts";
import type { Core } from "./core.ts";
import { ControllerError } from "./error.ts";

/** A task and where it is in the store's history. */
export interface LoadedTask {
  readonly task: Task;
  readonly revision: bigint;
  /** The revision of the key's change before this version, a deletion included. */
  readonly previous: bigint;
}

/** What to fold into a status. */
export interface Folding {
  readonly metadata: boolean;
  readonly result: boolean;
  /** At most so many of the newest entries, and 256 KiB. */
  readonly logs: number;
}

export const foldAll: Folding = { metadata: true, result: true, logs: 100 };

const logAnswerMaxBytes = 256 * 1024;
const logPageChunks = 64;

/** Which controller's tasks are read, from where, and where damage is noted. */
export type ReaderCore = Pick<Core, "name" | "store" | "quarantine">;

/** The task, as of `revision` if that is given; undefined if there is none. Throws DATA_LOSS, and what the store throws. */
export async function loadTask(core: ReaderCore, taskId: string, revision?: bigint): Promise<LoadedTask | undefined> {
  try {
    const entry = await core.store.get(taskKey(core.name, taskId), { revision });
    return entry === undefined ? undefined : decodeEntry(core.name, taskId, entry);
  } catch (error) {
    throw asDataLoss(error, core, taskId, revision);
  }
}

/** Decodes a task's entry. Throws DATA_LOSS. */
export function decodeEntry(controller: string, taskId: string, entry: Entry): LoadedTask {
  if (entry.corrupt) throw dataLoss(controller, taskId);
  try {
    return { task: decodeTask(entry.value), revision: entry.revision, previous: entry.previous };
  } catch (error) {
    throw dataLoss(controller, taskId, error);
  }
}

/** DATA_LOSS for a task whose record is damaged. */
function dataLoss(controller: string, taskId: string, cause?: unknown): ControllerError {
  return new ControllerError(
    "DATA_LOSS",
    `the stored record of task "${taskId}" is damaged; the task is kept as it is until it is deleted`,
    { cause, reason: "CORRUPT", resource: { type: "task", name: `${controller}/${taskId}` } },
  );
}

/** What is thrown for an error, where it may be one of damage. In an older version that is no matter of the task as it is. */
function asDataLoss(error: unknown, core: ReaderCore, taskId: string, asOf: bigint | undefined): unknown {
  const isCorrupt = error instanceof StoreError && error.code === "CORRUPT";
  const thrown = isCorrupt ? dataLoss(core.name, taskId, error) : error;
  const isNow = asOf === undefined;
  if (isNow && thrown instanceof ControllerError && thrown.code === "DATA_LOSS") core.quarantine.note(taskId, thrown);
  return thrown;
}

/**
 * The status with its payloads and newest log entries. `asOf` is given when the
 * version was read as of a revision; otherwise this is undefined where a newer launch has just replaced or
 * taken away a payload, and the caller reads the task anew.
 */
export async function foldStatus(
  core: ReaderCore,
  taskId: string,
  version: { readonly task: Task; readonly revision: bigint },
  folding: Folding,
  asOf?: bigint,
): Promise<TaskStatus | undefined> {
  const { task } = version;
  const { status, record } = task;
  let { metadata, result } = status;
  if (folding.metadata && record.metadataBytes > 0) {
    const text = await payloadOf(core, taskId, "metadata", version.revision, asOf);
    if (text === undefined) return undefined;
    metadata = text;
  }
  if (folding.result && record.resultBytes > 0) {
    result = await payloadOf(core, taskId, "result", version.revision, asOf);
    if (result === undefined) return undefined;
  }
  // A program that puts a status into the store itself puts its log entries there, too.
  const inline = status.logs.slice(Math.max(0, status.logs.length - folding.logs));
  const logs =
    folding.logs > 0 && inline.length === 0 ? await loadNewestLogs(core, taskId, task, folding.logs) : inline;
  const folded = copyStatus(status);
  folded.metadata = folding.metadata ? metadata : "";
  folded.result = folding.result ? result : undefined;
  folded.logs = logs;
  return folded;
}

/** Whether the task keeps nothing apart from its status, and has no log entries. */
export function isInline({ status, record }: Task): boolean {
  const hasLogs = status.logs.length > 0 || status.logCount > status.logsDropped;
  return record.metadataBytes === 0 && record.resultBytes === 0 && !hasLogs;
}

/** The status of a task that keeps nothing apart from it, without log entries. */
export function foldInline({ status }: Task): TaskStatus {
  const folded = copyStatus(status);
  folded.logs = [];
  return folded;
}

/** The text of a payload that is a record of its own. */
export function loadPayload(
  core: ReaderCore,
  taskId: string,
  payload: "metadata" | "result",
): Promise<string | undefined> {
  return payloadOf(core, taskId, payload, undefined, undefined);
}

/** The same, if it is that of the version with this revision: a payload that is newer belongs to a newer version. */
async function payloadOf(
  core: ReaderCore,
  taskId: string,
  payload: "metadata" | "result",
  revision: bigint | undefined,
  asOf: bigint | undefined,
): Promise<string | undefined> {
  try {
    const entry = await core.store.get(payloadKey(core.name, taskId, payload), { revision: asOf });
    if (entry !== undefined && (revision === undefined || entry.revision <= revision))
      return decodePayload(entry.value);
    if (revision === undefined || asOf !== undefined) return undefined;
    // Where the version is still the newest, nobody has taken its payload away: it is lost, and reading anew finds the same.
    const newest = await core.store.get(taskKey(core.name, taskId));
    if (newest?.revision === revision) throw dataLoss(core.name, taskId, new Error(`its ${payload} is missing`));
    return undefined;
  } catch (error) {
    throw asDataLoss(error, core, taskId, asOf);
  }
}

/** The newest entries of the task's log, oldest first; at most `limit`, and 256 KiB. */
async function loadNewestLogs(core: ReaderCore, taskId: string, task: Task, limit: number): Promise<LogEntry[]> {
  const first = firstLogSeq(task);
  const last = task.record.logLastSeq;
  if (first > last) return [];
  const generation = task.record.generation;
  const newest: LogEntry[] = [];
  let bytes = 0;
  // Keys name a chunk by its last entry, so the chunk with `last` is the first that is not below it.
  let before: string | undefined;
  for (;;) {
    const page = await core.store.scan({
      prefix: logPrefix(core.name, taskId, generation),
      after: before,
      limit: Math.min(logPageChunks, limit),
      reverse: true,
    });
    for (const chunk of page) {
      before = chunk.key;
      if (logKeySeq(chunk.key) < first) return newest.reverse();
      for (const entry of chunkEntries(core.name, taskId, chunk).reverse()) {
        if (entry.seq > last) continue;
        bytes += byteLength(entry.msg) + 32;
        if (entry.seq < first || newest.length >= limit || bytes > logAnswerMaxBytes) return newest.reverse();
        newest.push(entry);
      }
    }
    if (page.length < Math.min(logPageChunks, limit)) return newest.reverse();
  }
}

/** A page of the chunks with entries after `afterSeq`, oldest first. */
export function scanLogChunks(
  core: ReaderCore,
  taskId: string,
  generation: string,
  afterSeq: bigint,
  limit: number,
): Promise<Entry[]> {
  const prefix = logPrefix(core.name, taskId, generation);
  return core.store.scan({ prefix, after: logKey(core.name, taskId, generation, afterSeq), limit });
}

/** The entries of a chunk. Throws DATA_LOSS. */
export function chunkEntries(controller: string, taskId: string, chunk: Entry): LogEntry[] {
  if (chunk.corrupt) throw dataLoss(controller, taskId);
  return decodeLogChunk(chunk.value);
}
