/**
 * How many tasks of a controller are in each state, by the counters that are kept with every change of a task.
 *
 * It owns what it has counted itself, in the place of counters that are damaged. Nothing of that is written: what is damaged stays so on disk.
 *
 * 1. The counts are all of one revision.
 * 2. Where a counter is damaged the tasks are counted once, as they were at the revision of the reading, in pages, whatever goes on meanwhile. From then on
 *    the count goes on by what the store says was added to the counter, and is as cheap as any. Of a store that does not say that they are counted anew
 *    when the counter has changed.
 */
import type { TaskState } from "#gen/core/v1/core_pb.js";
import { decodeTask } from "../store/codec.ts";
import { countKey, countPrefix, parseCountKey, parseTaskKey, stateKey, taskKey } from "../store/keys.ts";
import { type Entry, getMarked, type Store, StoreError } from "../store/store.ts";
import { allStates } from "../task/state.ts";

const pageSize = 250;
const countersMax = 16;

/** A count of the tasks of a state, and the damaged counter as it was at the revision that they were counted at. */
interface Counted {
  readonly count: Promise<bigint>;
  counter: Entry;
}

/** What of a store is read. */
export interface CountedStore {
  readonly name: string;
  readonly store: Pick<Store, "revision" | "get" | "scan">;
}

export class TaskCounts {
  readonly #name: string;
  readonly #store: CountedStore["store"];
  readonly #counted = new Map<TaskState, Counted>();

  constructor({ name, store }: CountedStore) {
    this.#name = name;
    this.#store = store;
  }

  /**
   * By state; those that have tasks. Each counter is asked for by its key: those of a controller at work are in the store's cache, and a scan would go over
   * all the versions of them that LevelDB has not yet done away with, one for each second of work. Throws what the store throws.
   */
  async read(): Promise<Map<TaskState, bigint>> {
    // What had to be read from disk is in memory the second time, which takes no wait then.
    for (let tries = 0; tries < 2 && this.#counted.size === 0; tries += 1) {
      const counts = await this.#readByKeys();
      if (counts === "damaged") break;
      if (counts !== undefined) return counts;
    }
    return this.#readSnapshot();
  }

  /** Undefined where the store has gone on meanwhile, so that they may be of several revisions. */
  async #readByKeys(): Promise<Map<TaskState, bigint> | "damaged" | undefined> {
    const revision = this.#store.revision();
    const counts = new Map<TaskState, bigint>();
    try {
      const entries = await Promise.all(allStates.map((state) => this.#store.get(countKey(this.#name, state))));
      for (const [i, state] of allStates.entries()) {
        const count = countIn(entries[i]);
        if (count > 0n) counts.set(state, count);
      }
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "CORRUPT") throw error;
      return "damaged";
    }
    return this.#store.revision() === revision ? counts : undefined;
  }

  /** However busy the store is, and where counters are damaged. */
  async #readSnapshot(): Promise<Map<TaskState, bigint>> {
    const before = this.#store.revision();
    const entries = await this.#store.scan({ prefix: countPrefix(this.#name), limit: countersMax });
    // No counter has changed between this revision and the moment of the page.
    const revision = entries.reduce((newest, entry) => (entry.revision > newest ? entry.revision : newest), before);
    this.#countMissing(entries, revision);
    const found = await Promise.all(entries.map((entry) => this.#countOf(entry)));
    const counts = new Map<TaskState, bigint>();
    for (const [i, { key }] of entries.entries()) {
      const count = found[i] ?? 0n;
      if (count > 0n) counts.set(parseCountKey(key), count);
    }
    return counts;
  }

  /** The count that a counter stands for, at the revision of the entry. */
  async #countOf(entry: Entry): Promise<bigint> {
    if (!entry.corrupt) return countIn(entry);
    const counted = this.#counted.get(parseCountKey(entry.key)) as Counted;
    const since = counted.counter;
    const added = entry.revision === since.revision ? 0n : countIn(entry) - countIn(since);
    return (await counted.count) + added;
  }

  /** Begins to count the tasks, as of the revision, for those counters of which no count can go on. */
  #countMissing(entries: readonly Entry[], revision: bigint): void {
    const missing = entries.filter((entry) => entry.corrupt && !this.#goesOn(entry));
    if (missing.length === 0) return;
    const all = this.#countAll(revision);
    for (const counter of missing) {
      const state = parseCountKey(counter.key);
      const counted: Counted = { count: all.then((counts) => counts.get(state) ?? 0n), counter };
      this.#counted.set(state, counted);
      counted.count.catch(() => {
        if (this.#counted.get(state) === counted) this.#counted.delete(state);
      });
    }
  }

  #goesOn(entry: Entry): boolean {
    const counted = this.#counted.get(parseCountKey(entry.key));
    if (counted === undefined) return false;
    if (entry.value.length > 0) return true;
    if (entry.revision !== counted.counter.revision) return false;
    // It may have been damaged once more: what will be added from now on is counted from here.
    counted.counter = entry;
    return true;
  }

  async #countAll(revision: bigint): Promise<Map<TaskState, bigint>> {
    const prefix = taskKey(this.#name, "");
    const counts = new Map<TaskState, bigint>();
    let after: string | undefined;
    for (;;) {
      const page = await this.#store.scan({ prefix, after, limit: pageSize, revision });
      for (const entry of page) {
        const state = stateIn(entry) ?? (await this.#indexedState(entry.key));
        if (state !== undefined) counts.set(state, (counts.get(state) ?? 0n) + 1n);
      }
      if (page.length < pageSize) return counts;
      after = page.at(-1)?.key;
    }
  }

  /** A damaged task counts in the state that it had. */
  async #indexedState(key: string): Promise<TaskState | undefined> {
    const taskId = parseTaskKey(key)?.taskId ?? "";
    for (const state of allStates) {
      if ((await getMarked(this.#store, stateKey(this.#name, state, taskId))) !== undefined) return state;
    }
    return undefined;
  }
}

function stateIn({ value, corrupt }: Entry): TaskState | undefined {
  try {
    return corrupt ? undefined : decodeTask(value).status.state;
  } catch {
    // Bytes that are no task: it is damaged, too.
    return undefined;
  }
}

/** Of a damaged counter: what was added to it since. */
function countIn(entry: Entry | undefined): bigint {
  if (entry === undefined || entry.value.length === 0) return 0n;
  return new DataView(entry.value.buffer, entry.value.byteOffset).getBigInt64(0);
}
