import { expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { KeyFilter } from "../../src/store/level-filter.ts";
import { valueKey } from "../../src/store/level-keys.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { bytes, crashCopy, eventually, FaultyDisk, letGoUpTo, makeScratch, untilFilled } from "./level-fixture.ts";

test("a filter excludes nothing before it is filled", () => {
  expect(new KeyFilter().excludes("a")).toBe(false);
});

test("a filter that is full takes one key in fifty that it never saw for one it has, at most", async () => {
  const filter = new KeyFilter();
  filter.fillIfStale({
    failure: undefined,
    materialized: 0,
    options: { log: silentLog },
    iterate: async () => [] as never,
  });
  await filter.filled();
  for (let i = 0; i < 100_000; i += 1) filter.add(`/tasks/many/task-${i}`, true);
  let excluded = 0;
  for (let i = 0; i < 10_000; i += 1) if (filter.excludes(`/deliveries/many/task-${i}/run`)) excluded += 1;
  expect(excluded).toBeGreaterThan(9_800);
  for (let i = 0; i < 100_000; i += 1) if (filter.excludes(`/tasks/many/task-${i}`)) throw new Error(`lost: ${i}`);
});

test("a filter holds what is there and not all that ever was, and misses nothing that comes while it is made anew", async () => {
  const live = new Set<string>();
  const filter = new KeyFilter();
  let pages: [Buffer, Buffer][][] = [];
  const session = {
    failure: undefined,
    materialized: 0,
    options: { log: silentLog },
    iterate: async () => (pages.shift() ?? []) as never,
  };
  filter.fillIfStale(session);
  await filter.filled();
  const { bytes } = filter;
  let walks = 0;
  for (let i = 0; i < 300_000; i += 1) {
    const key = `/tasks/many/task-${i}`;
    filter.add(key, true);
    live.add(key);
    if (i >= 1_000) {
      live.delete(`/tasks/many/task-${i - 1_000}`);
      filter.forget();
    }
    if (i % 2_048 !== 0) continue;
    pages = [[...live].map((each) => [valueKey(each, 1), Buffer.alloc(0)])];
    filter.fillIfStale(session);
    if (pages.length > 0) continue;
    walks += 1;
    // The walk is past it.
    filter.add("late", true);
    await filter.filled();
    for (const each of ["late", ...live]) if (filter.excludes(each)) throw new Error(`lost: ${each}`);
    expect(filter.excludes("/tasks/many/task-0")).toBe(true);
  }
  expect(walks).toBeGreaterThan(2);
  expect(filter.bytes).toBe(bytes);
});

test("a filter is not made anew while keys only come, or the same ones come and go", async () => {
  let walks = 0;
  const filter = new KeyFilter();
  const iterate = async (): Promise<never> => {
    walks += 1;
    return [] as never;
  };
  const session = { failure: undefined, materialized: 0, options: { log: silentLog }, iterate };
  for (let i = 0; i < 400_000; i += 1) {
    filter.add(`key ${i % 200_000}`, true);
    if (i >= 200_000) filter.forget();
    if (i % 2_048 === 0) filter.fillIfStale(session);
    if (i === 0) await filter.filled();
  }
  expect(walks).toBe(1);
});

test("a key that went costs no seek once many have come and gone", async () => {
  await using scratch = await makeScratch();
  const disk = new FaultyDisk();
  const store = await openLevelStore(scratch.path, {
    cacheMaxEntries: 2_000,
    roundKeys: 500,
    createDatabase: disk.create,
  });
  await untilFilled(store, disk);
  const nothing = new Uint8Array(0);
  const keys = Array.from({ length: 70_000 }, (_, i) => `/index/state/${i}`);
  const round = async (commit: Promise<unknown>): Promise<void> => {
    const since = disk.written.length;
    await commit;
    await eventually(() => disk.written.slice(since).some((letters) => letters.includes("W")));
  };
  // What comes and goes between two rounds is in no filter.
  for (let i = 0; i < keys.length; i += 1_000) {
    const some = keys.slice(i, i + 1_000);
    await round(store.commit(some.map((key) => ({ type: "index", key, value: nothing }))));
    await round(store.commit(some.map((key) => ({ type: "unindex", key }))));
  }
  await untilFilled(store, disk);
  const before = disk.iterators;
  for (const key of keys.slice(0, 1_000)) expect(await store.get(key)).toBeUndefined();
  expect(disk.iterators - before).toBeLessThan(50);
  await store.close();
});

test("a new key costs no seek, one that is there is found, whatever its characters", async () => {
  await using scratch = await makeScratch();
  const keys = ["a", "a\0", "a\0b", "\u{1f600}", "ä", ...Array.from({ length: 600 }, (_, i) => `key ${i}`)];
  const first = await openLevelStore(scratch.path);
  for (const key of keys) void first.commit([{ type: "put", key, value: bytes(key) }]);
  await first.close();

  const disk = new FaultyDisk();
  const store = await openLevelStore(scratch.path, { cacheMaxEntries: 1, createDatabase: disk.create });
  await untilFilled(store, disk);
  for (const key of keys) expect(await store.get(key)).toBeDefined();
  const before = disk.iterators;
  for (let i = 0; i < 1_000; i += 1) expect(await store.get(`other ${i}`)).toBeUndefined();
  expect(disk.iterators - before).toBeLessThan(50);
  await store.close();
});

test("a key whose deletion was collected, made anew just before a crash, is found when no cache has it", async () => {
  await using scratch = await makeScratch();
  const clock = createFakeClock();
  const historyMs = 80_000;
  const disk = new FaultyDisk();
  const first = await openLevelStore(scratch.path, { clock, historyMs, createDatabase: disk.create });
  await first.commit([{ type: "put", key: "key", value: bytes("one") }]);
  await first.commit([{ type: "delete", key: "key" }]);
  await first.commit(["other", "another"].map((key) => ({ type: "put", key, value: bytes(key) })));
  await letGoUpTo(first, clock, historyMs, 3n);
  await eventually(() => disk.written.some((letters) => letters.includes("j")));
  // The deletion is known from memory, and is what this is said to follow; on disk it is no more.
  const revision = await first.commit([{ type: "put", key: "key", value: bytes("two") }]);
  await using crashed = await crashCopy(scratch.path);
  await first.close();

  const rounds = new FaultyDisk();
  const store = await openLevelStore(crashed.path, { clock, cacheMaxEntries: 1, createDatabase: rounds.create });
  // The filter is filled, and then a round takes the key out of the overlay.
  await untilFilled(store, rounds);
  await clock.advance(1_000);
  await eventually(() => rounds.written.some((letters) => letters.includes("W")));
  for (const key of ["other", "another"]) await store.get(key);
  expect(await store.get("key")).toMatchObject({ revision });
  await store.close();
});
