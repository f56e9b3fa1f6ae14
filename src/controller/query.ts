/**
 * Lists of tasks, page by page, from the index that fits: never a scan of all
 * tasks for a few. A page looks at a bounded number of entries, so with filters that no index has it may be short, or empty.
 */
import type { TaskState, TaskStatus } from "#gen/core/v1/core_pb.js";
import {
  countPrefix,
  labelPrefix,
  newestPrefix,
  parseCountKey,
  parseIndexKey,
  parseTaskKey,
  statePrefix,
  taskKey,
} from "../store/keys.ts";
import { compareKeys, type Entry } from "../store/store.ts";
import { answerByteLength } from "../task/limits.ts";
import { once } from "./commit.ts";
import type { QueryOptions, TaskFilter, TaskPage, TaskSnapshot } from "./controller.ts";
import type { Core } from "./core.ts";
import { ControllerError, type FieldViolation, invalidArgument } from "./error.ts";
import { decodePageToken, encodePageToken, hashQuery, notAToken } from "./page-token.ts";
import { checkOpen, type Parts, waitingFor } from "./parts.ts";
import { decodeEntry, type Folding, foldStatus, type LoadedTask, loadTask, type ReaderCore } from "./task-reader.ts";

const defaultPageSize = 100;
const maxPageSize = 1_000;
const pageMaxBytes = 2 * 1024 * 1024;
/** How many entries a page may look at, for each that it may have. */
const looksPerTask = 10;

/** Where a list goes on: the store's revision at its first page, and the last that was looked at, a key's end behind its prefix. */
const place = [/^\d{1,20}$/, /^/];

/** A source of task ids in the order of the list; `cursor` is where the list goes on behind it. */
interface Candidate {
  readonly taskId: string;
  readonly cursor: string;
  /** The task's own entry, where the source is the statuses. */
  readonly entry?: Entry;
}

/** See Controller.queryTasks. */
export async function queryTasks(parts: Parts, options: QueryOptions): Promise<TaskPage> {
  checkOpen(parts);
  const { core } = parts;
  const pageSize = Math.min(options.pageSize || defaultPageSize, maxPageSize);
  checkQuery(options, pageSize);
  const query = hashOf(options);
  const token = decodePageToken(options.pageToken ?? "", query, place);
  const now = core.store.revision();
  const revision = token?.[0] === undefined ? now : BigInt(token[0]);
  if (revision > now) throw notAToken();
  const tasks: Array<TaskSnapshot & { taskId: string }> = [];
  let after = token?.[1] ?? "";
  let bytes = 0;
  let looks = pageSize * looksPerTask;
  let isLast = false;
  let isFull = false;
  while (!isLast && !isFull && looks > 0) {
    const limit = Math.min(looks, Math.max(16, pageSize - tasks.length + 1));
    const candidates = await once(core, () => readCandidates(core, options, after, limit));
    isLast = candidates.length < limit;
    looks -= candidates.length;
    const loaded = await Promise.all(
      candidates.map((candidate) => unlessDamaged(parts, candidate, () => loadCandidate(parts, candidate))),
    );
    for (const [i, candidate] of candidates.entries()) {
      isFull = tasks.length >= pageSize;
      if (isFull) break;
      const found = await unlessDamaged(parts, candidate, () => foldCandidate(parts, candidate, loaded[i], options));
      const size = found === undefined ? 0 : sizeOf(found.status);
      isFull = tasks.length > 0 && bytes + size > pageMaxBytes;
      if (isFull) break;
      after = candidate.cursor;
      if (found === undefined) continue;
      bytes += size;
      tasks.push({ taskId: candidate.taskId, ...found });
    }
  }
  return {
    tasks,
    nextPageToken: isLast && !isFull ? "" : encodePageToken(query, [String(revision), after]),
    totalSize: await totalSize(parts, options),
    revision,
  };
}

/** Throws INVALID_ARGUMENT. */
export function checkQuery({ idPrefix = "", labels = {} }: TaskFilter, pageSize: number): void {
  const violations: FieldViolation[] = [];
  if (pageSize < 0) violations.push({ field: "page_size", description: "must not be negative" });
  const isText = (text: string): boolean => text.isWellFormed();
  if (!isText(idPrefix)) violations.push({ field: "id_prefix", description: "must be well-formed text" });
  if (!Object.entries(labels).flat().every(isText)) {
    violations.push({ field: "labels", description: "must be well-formed text" });
  }
  if (violations.length > 0) throw invalidArgument(violations);
}

/** See Controller.countTasks. */
export async function countTasks(parts: Parts): Promise<Map<TaskState, bigint>> {
  return once(parts.core, () => readCounts(parts.core));
}

/** The same, with what the store throws. */
export async function readCounts(core: Core): Promise<Map<TaskState, bigint>> {
  const counters = await core.store.scan({ prefix: countPrefix(core.name), limit: 16 });
  const counts = new Map<TaskState, bigint>();
  for (const counter of counters) {
    const state = parseCountKey(counter.key);
    const count = counter.corrupt
      ? await countIndex(core, state)
      : new DataView(counter.value.buffer, counter.value.byteOffset).getBigInt64(0);
    if (count > 0n) counts.set(state, count);
  }
  return counts;
}

/** Where a counter is damaged the tasks are counted: slow, and right. */
async function countIndex(core: Core, state: TaskState): Promise<bigint> {
  const prefix = statePrefix(core.name, state);
  let count = 0n;
  let after: string | undefined;
  for (;;) {
    const page = await core.store.scan({ prefix, after, limit: maxPageSize });
    count += BigInt(page.length);
    if (page.length < maxPageSize) return count;
    after = page.at(-1)?.key;
  }
}

function foldingOf({ include }: QueryOptions): Folding {
  return {
    metadata: include?.metadata === true,
    result: include?.result === true,
    logs: include?.logs === true ? 100 : 0,
  };
}

/** About the bytes of a status in an answer, in binary or in JSON, and never less where a text in it may be long. */
function sizeOf({ logs, transitions, labels, ...status }: TaskSnapshot["status"]): number {
  const { metadata, result, error, cancel, progress } = status;
  const texts = [metadata, result, error?.message, cancel?.reason, progress?.message, progress?.unit];
  let bytes = 640;
  for (const text of texts) bytes += answerByteLength(text ?? "");
  for (const { reason } of transitions) bytes += answerByteLength(reason) + 96;
  for (const { msg } of logs) bytes += answerByteLength(msg) + 96;
  for (const [name, value] of Object.entries(labels)) bytes += answerByteLength(name) + answerByteLength(value) + 8;
  return bytes;
}

async function totalSize(parts: Parts, options: QueryOptions): Promise<bigint | undefined> {
  if (options.idPrefix || Object.keys(options.labels ?? {}).length > 0) return undefined;
  const counts = await countTasks(parts);
  const states = options.states?.length ? new Set(options.states) : new Set(counts.keys());
  let total = 0n;
  for (const state of states) total += counts.get(state) ?? 0n;
  return total;
}

/** Tasks that may match, from the index that fits; those after `after`, in the order of the list. Throws what the store throws. */
export async function readCandidates(
  core: ReaderCore,
  options: TaskFilter & Pick<QueryOptions, "order">,
  after: string,
  limit: number,
): Promise<Candidate[]> {
  const { name, store } = core;
  const idPrefix = options.idPrefix ?? "";
  if (options.order === "newest") {
    const prefix = newestPrefix(name);
    const entries = await store.scan({ prefix, after: after && prefix + after, limit });
    return entries.map(({ key }) => ({ taskId: parseIndexKey(key).taskId, cursor: key.slice(prefix.length) }));
  }
  const [label] = Object.entries(options.labels ?? {});
  if (label !== undefined) return scanIds(core, labelPrefix(name, ...label), idPrefix, after, limit);
  if (options.states !== undefined && options.states.length > 0) {
    const lists = [...new Set(options.states)].map((state) =>
      scanIds(core, statePrefix(name, state), idPrefix, after, limit),
    );
    const merged = (await Promise.all(lists)).flat().sort((a, b) => compareKeys(a.taskId, b.taskId));
    // A task that changes its state between two of these reads may be in both.
    return merged.filter((each, i) => each.taskId !== merged[i - 1]?.taskId).slice(0, limit);
  }
  const prefix = taskKey(name, "");
  const entries = await store.scan({ prefix: prefix + idPrefix, after: after && prefix + after, limit });
  return entries.flatMap((entry) => {
    const taskId = parseTaskKey(entry.key)?.taskId;
    return taskId === undefined ? [] : [{ taskId, cursor: taskId, entry }];
  });
}

async function scanIds(
  core: ReaderCore,
  prefix: string,
  idPrefix: string,
  after: string,
  limit: number,
): Promise<Candidate[]> {
  const entries = await core.store.scan({ prefix: prefix + idPrefix, after: after && prefix + after, limit });
  return entries.map(({ key }) => ({ taskId: key.slice(prefix.length), cursor: key.slice(prefix.length) }));
}

async function loadCandidate(parts: Parts, { taskId, entry }: Candidate): Promise<LoadedTask | undefined> {
  const { core } = parts;
  return entry === undefined ? once(core, () => loadTask(core, taskId)) : decodeEntry(core.name, taskId, entry);
}

/** The candidate as the list shows it; undefined where it does not match. */
async function foldCandidate(
  parts: Parts,
  { taskId }: Candidate,
  loaded: LoadedTask | undefined,
  options: QueryOptions,
): Promise<TaskSnapshot | undefined> {
  const { core } = parts;
  let found = loaded;
  while (found !== undefined && matchesQuery(found.task.status, taskId, options)) {
    const version = found;
    const status = await once(core, () => foldStatus(core, taskId, version, foldingOf(options)));
    const { task, revision } = version;
    if (status !== undefined) return { status: { ...status, waitingFor: waitingFor(parts, taskId, task) }, revision };
    // A newer launch has replaced the payload: a task that is there all the time is in the list.
    found = await once(core, () => loadTask(core, taskId));
  }
  return undefined;
}

async function unlessDamaged<T>(
  parts: Parts,
  { taskId }: Candidate,
  read: () => Promise<T | undefined>,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof ControllerError) || error.code !== "DATA_LOSS") throw error;
    parts.core.quarantine.note(taskId, error);
    return undefined;
  }
}

/** Whether a task is one that is asked for. */
export function matchesQuery(status: TaskStatus, taskId: string, options: TaskFilter): boolean {
  if (options.states?.length && !options.states.includes(status.state)) return false;
  if (options.idPrefix && !taskId.startsWith(options.idPrefix)) return false;
  return Object.entries(options.labels ?? {}).every(([name, value]) => status.labels[name] === value);
}

function hashOf(options: QueryOptions): string {
  const query = [
    [...new Set(options.states ?? [])].sort((a, b) => a - b),
    Object.entries(options.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)),
    options.idPrefix ?? "",
    options.order ?? "id",
  ];
  return hashQuery(query);
}
