/** The counts of a controller some of whose counters are damaged on disk. */
import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { type TaskState, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { TaskCounts } from "../../src/controller/task-counts.ts";
import { type StoredTask, taskChanges } from "../../src/store/codec.ts";
import { countPrefix, taskKey } from "../../src/store/keys.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { ScanOptions, Store } from "../../src/store/store.ts";
import { StateCompleted, StateFailed, StateRunning } from "../../src/task/state.ts";
import { entriesOf, makeScratch, type Scratch, withDatabase } from "../store/level-fixture.ts";
import { damageEntries } from "../support/damaged-store.ts";

const name = "counted";
const taskCount = 600;

const inState = (state: TaskState): StoredTask => ({
  status: create(TaskStatusSchema, { state }),
  record: create(TaskRecordSchema),
});

/** Moves tasks from state to state, as a controller does, and knows how many are in which. */
class Mover {
  readonly #states = new Map<string, TaskState>();

  /** To undefined: deletes it. */
  async move(store: Store, taskId: string, to: TaskState | undefined): Promise<void> {
    const from = this.#states.get(taskId);
    if (to === undefined) this.#states.delete(taskId);
    else this.#states.set(taskId, to);
    const [before, after] = [from, to].map((state) => (state === undefined ? undefined : inState(state)));
    await store.commit(taskChanges(name, taskId, before, after, { waitedBefore: false, waitsAfter: false }).changes);
  }

  counts(): [TaskState, bigint][] {
    const counts = new Map<TaskState, bigint>();
    for (const state of this.#states.values()) counts.set(state, (counts.get(state) ?? 0n) + 1n);
    return sorted(counts);
  }
}

const sorted = (counts: ReadonlyMap<TaskState, bigint>) => [...counts].sort();

async function fill(store: Store): Promise<Mover> {
  const mover = new Mover();
  const states = [StateCompleted, StateRunning, StateRunning];
  const ids = Array.from({ length: taskCount }, (_, i) => i);
  await Promise.all(ids.map((i) => mover.move(store, `t${i}`, states[i % states.length])));
  return mover;
}

/** A store of LevelDB that is filled and closed, with a bit of each counter flipped. */
async function makeDamaged(at: (value: Buffer) => number): Promise<Scratch & { mover: Mover }> {
  const scratch = await makeScratch();
  const store = await openLevelStore(scratch.path);
  const mover = await fill(store);
  await store.close();
  await withDatabase(scratch.path, async (db) => {
    const counters = await entriesOf(db, `V${countPrefix(name)}`);
    expect(counters).toHaveLength(2);
    for (const [key, value] of counters) {
      value[at(value)]! ^= 4;
      await db.batch([{ type: "put", key, value }], { sync: true });
    }
  });
  return Object.assign(scratch, { mover });
}

/** Counts over the store, how many pages of tasks were read for it, and something that is done before each. */
function openCounts(store: Store, before: (page: number) => Promise<void> = async () => {}) {
  const state = { pages: 0 };
  const watched = {
    revision: () => store.revision(),
    get: (key: string) => store.get(key),
    async scan(options: ScanOptions) {
      if (options.prefix === taskKey(name, "")) {
        state.pages += 1;
        await before(state.pages);
      }
      return store.scan(options);
    },
  };
  const counts = new TaskCounts({ name, store: watched });
  return { state, read: async () => sorted(await counts.read()) };
}

describe.each([
  ["head", () => 0],
  ["value", (value: Buffer) => value.length - 5],
] as const)("where the %s of the counters is damaged", (_, at) => {
  test("tasks that come, go and change while they are counted are counted right, once, and so from then on", async () => {
    await using damaged = await makeDamaged(at);
    const { mover } = damaged;
    const store = await openLevelStore(damaged.path);
    // In front of where the pages are, and behind it.
    const disturb = async (page: number): Promise<void> => {
      await mover.move(store, `t${page}`, StateFailed);
      await mover.move(store, `t9${page}`, undefined);
      await mover.move(store, `a${page}`, StateRunning);
      await mover.move(store, `z${page}`, StateCompleted);
    };
    const { state, read } = openCounts(store, disturb);
    const [first, then] = [mover.counts(), await read()];
    expect(then).toEqual(first);
    expect(state.pages).toBe(Math.ceil((taskCount + 1) / 250));
    const readPages = state.pages;
    expect(await read()).toEqual(mover.counts());
    for (let i = 0; i < 20; i += 1) {
      await mover.move(store, `t${100 + i}`, StateFailed);
      await mover.move(store, `new${i}`, StateRunning);
      expect(await read()).toEqual(mover.counts());
    }
    expect(state.pages).toBe(readPages);
    await store.close();

    // It is not repaired on disk, and what was added to it there is known.
    const again = await openLevelStore(damaged.path);
    expect((await again.scan({ prefix: countPrefix(name), limit: 10 })).filter(({ corrupt }) => corrupt)).toHaveLength(
      2,
    );
    const reopened = openCounts(again);
    expect(await reopened.read()).toEqual(mover.counts());
    await mover.move(again, "t300", undefined);
    expect(await reopened.read()).toEqual(mover.counts());
    await again.close();
  });

  test("all who ask at one time have the tasks counted once", async () => {
    await using damaged = await makeDamaged(at);
    const store = await openLevelStore(damaged.path);
    const { state, read } = openCounts(store);
    const answers = await Promise.all([read(), read(), read()]);
    expect(answers).toEqual(Array(3).fill(damaged.mover.counts()));
    expect(state.pages).toBe(3);
    await store.close();
  });
});

test("a count that failed is made again", async () => {
  await using damaged = await makeDamaged(() => 0);
  const store = await openLevelStore(damaged.path);
  const { read } = openCounts(store, async (page) => {
    if (page === 2) throw new Error("the disk");
  });
  await expect(read()).rejects.toThrow("the disk");
  expect(await read()).toEqual(damaged.mover.counts());
  await store.close();
});

test("of a store that does not say what was added the tasks are counted anew when the counter has changed, and only then", async () => {
  const store = await openMemoryStore();
  const mover = await fill(store);
  const { state, read } = openCounts(damageEntries(store, (key) => key.startsWith(countPrefix(name))));
  expect(await read()).toEqual(mover.counts());
  expect(await read()).toEqual(mover.counts());
  const pages = state.pages;
  await mover.move(store, "t1", StateFailed);
  expect(await read()).toEqual(mover.counts());
  expect(state.pages).toBe(2 * pages);
});

test("a damaged task counts in the state that it had", async () => {
  const store = await openMemoryStore();
  const mover = await fill(store);
  await store.commit([{ type: "put", key: taskKey(name, "t1"), value: new Uint8Array([0xff]) }]);
  const isDamaged = (key: string): boolean => key.startsWith(countPrefix(name)) || key === taskKey(name, "t3");
  expect(await openCounts(damageEntries(store, isDamaged)).read()).toEqual(mover.counts());
});
