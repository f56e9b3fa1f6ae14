/**
 * Lists of tasks, page by page, from the index that fits: never a scan of all
 * tasks for a few. A page looks at a bounded number of entries, so with filters that no index has it may be short, or empty.
 */
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { answerByteLength } from "../task/limits.ts";
import { once } from "./commit.ts";
import type { QueryOptions, TaskFilter, TaskPage, TaskSnapshot } from "./controller.ts";
import { refuseBadFields } from "./error.ts";
import { type Candidate, loadCandidate, openSource, unlessNoted } from "./list-sources.ts";
import { decodePageToken, encodePageToken, notAToken, taskPageTokens } from "./page-token.ts";
import { checkOpen, type Parts, waitingFor } from "./parts.ts";
import { type Folding, foldStatus, type LoadedTask, loadTask } from "./task-reader.ts";

const defaultPageSize = 100;
const maxPageSize = 1_000;
const pageMaxBytes = 2 * 1024 * 1024;
/** How many entries a page may look at, for each that it may have, and in all; but always as many as it may have. */
const looksPerTask = 10;
const looksMax = 2_000;

/** See Controller.queryTasks. */
export async function queryTasks(parts: Parts, options: QueryOptions): Promise<TaskPage> {
  checkOpen(parts);
  const { core } = parts;
  const pageSize = Math.min(options.pageSize || defaultPageSize, maxPageSize);
  checkQuery(options, pageSize);
  const tokens = taskPageTokens(core.name, options);
  const token = decodePageToken(options.pageToken ?? "", tokens);
  const now = core.store.revision();
  const revision = token?.[0] === undefined ? now : BigInt(token[0]);
  if (revision > now) throw notAToken();
  const tasks: Array<TaskSnapshot & { taskId: string }> = [];
  let after = token?.[1] ?? "";
  let bytes = 0;
  let looks = Math.max(pageSize + 1, Math.min(pageSize * looksPerTask, looksMax));
  let isLast = false;
  let isFull = false;
  const source = await openSource(parts, options, pageSize);
  while (!isLast && !isFull && looks > 0) {
    const limit = Math.min(looks, Math.max(16, pageSize - tasks.length + 1));
    const candidates = await once(core, () => source(after, limit));
    isLast = candidates.length < limit;
    looks -= candidates.length;
    const load = async (each: Candidate): Promise<LoadedTask | undefined> => {
      if (each.taskId === "" || !each.taskId.startsWith(options.idPrefix ?? "")) return undefined;
      return unlessNoted(parts, each.taskId, () => loadCandidate(parts, each));
    };
    const loaded = await Promise.all(candidates.map(load));
    for (const [i, candidate] of candidates.entries()) {
      isFull = tasks.length >= pageSize;
      if (isFull) break;
      const { taskId, cursor } = candidate;
      const found = await unlessNoted(parts, taskId, () => foldCandidate(parts, taskId, loaded[i], options));
      const size = found === undefined ? 0 : sizeOf(found.status);
      isFull = tasks.length > 0 && bytes + size > pageMaxBytes;
      if (isFull) break;
      after = cursor;
      if (found === undefined) continue;
      bytes += size;
      tasks.push({ taskId, ...found });
    }
  }
  return {
    tasks,
    nextPageToken: isLast && !isFull ? "" : encodePageToken(tokens, [String(revision), after]),
    totalSize: await totalSize(parts, options),
    revision,
  };
}

/** Throws INVALID_ARGUMENT. */
export function checkQuery({ idPrefix = "", labels = {} }: TaskFilter, pageSize: number): void {
  const checkTexts = (...texts: string[]): string | undefined =>
    texts.every((text) => text.isWellFormed()) ? undefined : "must be well-formed text";
  refuseBadFields({
    page_size: pageSize < 0 ? "must not be negative" : undefined,
    id_prefix: checkTexts(idPrefix),
    labels: checkTexts(...Object.entries(labels).flat()),
  });
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
  const { metadata, result, error, cancel, progress, owner, runner } = status;
  const ofPeople = [owner, runner, cancel?.requestedBy, cancel?.reason];
  const texts = [metadata, result, error?.message, progress?.message, progress?.unit, ...ofPeople];
  let bytes = 640;
  for (const text of texts) bytes += answerByteLength(text ?? "");
  for (const { reason } of transitions) bytes += answerByteLength(reason) + 96;
  for (const { msg } of logs) bytes += answerByteLength(msg) + 96;
  for (const [name, value] of [labels, error?.details ?? {}].flatMap(Object.entries<string>)) {
    bytes += answerByteLength(name) + answerByteLength(value) + 8;
  }
  return bytes;
}

async function totalSize(parts: Parts, options: QueryOptions): Promise<bigint | undefined> {
  if (options.idPrefix || Object.keys(options.labels ?? {}).length > 0) return undefined;
  const counts = await once(parts.core, () => parts.core.counts.read());
  const states = options.states?.length ? new Set(options.states) : new Set(counts.keys());
  let total = 0n;
  for (const state of states) total += counts.get(state) ?? 0n;
  return total;
}

/** The candidate as the list shows it; undefined where it does not match. */
async function foldCandidate(
  parts: Parts,
  taskId: string,
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

/** Whether a task is one that is asked for. */
export function matchesQuery(status: TaskStatus, taskId: string, options: TaskFilter): boolean {
  if (options.states?.length && !options.states.includes(status.state)) return false;
  if (options.idPrefix && !taskId.startsWith(options.idPrefix)) return false;
  return Object.entries(options.labels ?? {}).every(([name, value]) => status.labels[name] === value);
}
