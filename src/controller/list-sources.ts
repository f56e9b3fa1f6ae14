/**
 * Where a list finds its tasks, in its order: the index that fits. By id there is one for every filter. By creation there is
 * one for all tasks only, so what a filter leaves of many is looked for among them, unless it is so little
 * that it is cheaper to take it from the filter's own index and sort it.
 */
import {
  labelPrefix,
  newestKey,
  newestPrefix,
  parseIndexKey,
  parseTaskKey,
  statePrefix,
  taskKey,
} from "../store/keys.ts";
import { compareKeys, type Entry } from "../store/store.ts";
import { timestampMs } from "../task/task.ts";
import { once } from "./commit.ts";
import type { QueryOptions, TaskFilter } from "./controller.ts";
import { unlessDamaged } from "./error.ts";
import type { Parts } from "./parts.ts";
import { decodeEntry, type LoadedTask, loadTask, type ReaderCore } from "./task-reader.ts";

/** A task that may be in the list; `cursor` is where the list goes on behind it. */
export interface Candidate {
  /** Empty for a key that is none of a task's. */
  readonly taskId: string;
  readonly cursor: string;
  /** The task's own entry, where the source is the statuses. */
  readonly entry?: Entry;
}

/** The next candidates behind a cursor ("": from the beginning); fewer than `limit` are the last. */
export type Source = (after: string, limit: number) => Promise<Candidate[]>;

/** The most tasks of some states that are sorted for a page. */
const fewOfStates = 1_000;
/** The same of a label, where how many there are is found out by reading them. */
const fewOfLabel = 200;
const labelsTried = 8;

/** The source of a list whose pages have `pageSize` tasks. Throws what the store throws. */
export async function openSource(parts: Parts, options: QueryOptions, pageSize: number): Promise<Source> {
  if (options.order !== "newest") return (after, limit) => readById(parts.core, options, after, limit);
  const few = await fewIds(parts, options, pageSize);
  if (few === undefined) return (after, limit) => readNewest(parts, after, limit);
  const sorted = await sortByCreation(parts, few);
  return async (after, limit) => sorted.filter(({ cursor }) => cursor > after).slice(0, limit);
}

/** Reads a candidate's task; undefined where there is none any more. */
export async function loadCandidate(parts: Parts, { taskId, entry }: Candidate): Promise<LoadedTask | undefined> {
  const { core } = parts;
  return entry === undefined ? once(core, () => loadTask(core, taskId)) : decodeEntry(core.name, taskId, entry);
}

/** What `read` reads of the candidate's task; undefined where that is damaged, which is noted. */
export function unlessNoted<T>(
  { core }: Parts,
  taskId: string,
  read: () => Promise<T | undefined>,
): Promise<T | undefined> {
  return unlessDamaged(read, (error) => core.quarantine.note(taskId, error));
}

async function readNewest({ core }: Parts, after: string, limit: number): Promise<Candidate[]> {
  const prefix = newestPrefix(core.name);
  const entries = await core.store.scan({ prefix, after: after && prefix + after, limit });
  return entries.map(({ key }) => ({ taskId: parseIndexKey(key).taskId, cursor: key.slice(prefix.length) }));
}

/** By id: those that may match, from the index that fits. Throws what the store throws. */
export async function readById(
  core: ReaderCore,
  options: TaskFilter,
  after: string,
  limit: number,
): Promise<Candidate[]> {
  const { name, store } = core;
  const { idPrefix = "", states = [] } = options;
  const place = { idPrefix, after, limit };
  const [label] = Object.entries(options.labels ?? {});
  if (label !== undefined) return scanIds(core, labelPrefix(name, ...label), place);
  if (states.length > 0) {
    const lists = [...new Set(states)].map((state) => scanIds(core, statePrefix(name, state), place));
    const merged = (await Promise.all(lists)).flat().sort((a, b) => compareKeys(a.taskId, b.taskId));
    // A task that changes its state between two of these reads may be in both.
    return merged.filter((each, i) => each.taskId !== merged[i - 1]?.taskId).slice(0, limit);
  }
  const prefix = taskKey(name, "");
  const entries = await store.scan({ prefix: prefix + idPrefix, after: after && prefix + after, limit });
  // A key that is none of a task's, as a program may put one into the store, counts among what was looked at.
  const root = taskKey(name, "");
  return entries.map((entry) => {
    const cursor = entry.key.slice(root.length);
    return { taskId: parseTaskKey(entry.key)?.taskId ?? "", cursor, entry };
  });
}

async function scanIds(
  core: ReaderCore,
  prefix: string,
  { idPrefix, after, limit }: { idPrefix: string; after: string; limit: number },
): Promise<Candidate[]> {
  const entries = await core.store.scan({ prefix: prefix + idPrefix, after: after && prefix + after, limit });
  return entries.map(({ key }) => ({ taskId: key.slice(prefix.length), cursor: key.slice(prefix.length) }));
}

/** The ids of the tasks of one of the filters, if they are so few that sorting them costs less than walking all tasks. */
async function fewIds(parts: Parts, options: QueryOptions, pageSize: number): Promise<string[] | undefined> {
  const { name } = parts.core;
  const { states = [], labels = {}, idPrefix = "" } = options;
  for (const [label, value] of Object.entries(labels).slice(0, labelsTried)) {
    const place = { idPrefix, after: "", limit: fewOfLabel + 1 };
    const found = await once(parts.core, () => scanIds(parts.core, labelPrefix(name, label, value), place));
    if (found.length <= fewOfLabel) return found.map(({ taskId }) => taskId);
  }
  if (states.length === 0) return undefined;
  const counts = await once(parts.core, () => parts.core.counts.read());
  const total = [...counts.values()].reduce((sum, count) => sum + Number(count), 0);
  const count = [...new Set(states)].reduce((sum, state) => sum + Number(counts.get(state) ?? 0n), 0);
  // Walking finds a page of them among about so many tasks: pageSize * total / count.
  if (count > fewOfStates || count * count > pageSize * total) return undefined;
  const place = { ...options, labels: {} };
  const found = await once(parts.core, () => readById(parts.core, place, "", fewOfStates + 1));
  return found.length > fewOfStates ? undefined : found.map(({ taskId }) => taskId);
}

async function sortByCreation(parts: Parts, ids: readonly string[]): Promise<Candidate[]> {
  const { name } = parts.core;
  const prefix = newestPrefix(name);
  const found = await Promise.all(
    ids.map(async (taskId): Promise<Candidate[]> => {
      const loaded = await unlessNoted(parts, taskId, () => loadCandidate(parts, { taskId, cursor: "" }));
      if (loaded === undefined) return [];
      const key = newestKey(name, timestampMs(loaded.task.status.createTime), taskId);
      return [{ taskId, cursor: key.slice(prefix.length) }];
    }),
  );
  return found.flat().sort((a, b) => compareKeys(a.cursor, b.cursor));
}
