import { expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { KeyFilter } from "../../src/store/level-filter.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { bytes, crashCopy, eventually, FaultyDisk, letGoUpTo, makeScratch, untilFilled } from "./level-fixture.ts";

test("a filter excludes nothing before it is filled", () => {
  expect(new KeyFilter().excludes("a")).toBe(false);
});

test("a filter that is full takes one key in fifty that it never saw for one it has, at most", async () => {
  const filter = new KeyFilter();
  await filter.fill({ failure: undefined, options: { log: silentLog }, iterate: async () => [] as never });
  for (let i = 0; i < 100_000; i += 1) filter.add(`/tasks/many/task-${i}`);
  let excluded = 0;
  for (let i = 0; i < 10_000; i += 1) if (filter.excludes(`/deliveries/many/task-${i}/run`)) excluded += 1;
  expect(excluded).toBeGreaterThan(9_800);
  for (let i = 0; i < 100_000; i += 1) if (filter.excludes(`/tasks/many/task-${i}`)) throw new Error(`lost: ${i}`);
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
