import { expect, test } from "vitest";
import { filterKey } from "../../src/store/level-keys.ts";
import {
  filtersIn,
  historyMs,
  keysOf,
  makeKept,
  onlyFilter,
  openKept,
  passHistory,
  putAll,
  walksAndFinds,
} from "./kept-filter-fixture.ts";
import { crashCopy, eventually, letGoUpTo, makeScratch, type Scratch, withDatabase } from "./level-fixture.ts";

test("a crash between any two of its writes leaves a store that finds its keys, without a walk", async () => {
  await using scratch = await makeKept();
  const copies: Scratch[] = [];
  const { store, clock, disk, ...opened } = await openKept(scratch.path, 1, {
    beforeKeeping: async () => void copies.push(await crashCopy(scratch.path)),
  });
  await putAll({ store, clock, disk, ...opened }, keysOf("b"));
  await letGoUpTo(store, clock, historyMs, 2n);
  await store.close();
  const kept = disk.written.filter((letters) => letters.startsWith("B") || letters.startsWith("b"));
  expect(kept.slice(0, 2)).toEqual(["BB", "bbbB"]);
  expect(copies).toHaveLength(kept.length);
  for (const copy of copies) {
    expect(await walksAndFinds(copy.path, [...keysOf("a"), ...keysOf("b")])).toBe(false);
    await copy[Symbol.asyncDispose]();
  }
});

test("a crash while one is written leaves no more than that, however often", async () => {
  let scratch = await makeScratch();
  const other = await openKept(scratch.path, 1_000);
  await putAll(other, keysOf("a"));
  await other.store.close();
  for (let crash = 0; crash < 4; crash += 1) {
    const copies: Scratch[] = [];
    const opened = await openKept(scratch.path, 1, {
      beforeKeeping: async () => void copies.push(await crashCopy(scratch.path)),
    });
    await eventually(() => opened.disk.written.some((letters) => letters.endsWith("B")));
    await opened.store.close();
    await scratch[Symbol.asyncDispose]();
    // The parts are there, and not the head.
    scratch = copies.pop()!;
    for (const copy of copies) await copy[Symbol.asyncDispose]();
    expect(await filtersIn(scratch.path)).toEqual({ all: [crash + 1], whole: [] });
  }
  expect(await walksAndFinds(scratch.path, keysOf("a"))).toBe(true);
  await scratch[Symbol.asyncDispose]();
});

test("after a crash at any moment the next has a number that no other had", async () => {
  await using scratch = await makeKept();
  // Of the next there is one part.
  const started = { type: "put", key: filterKey(2, 1), value: Buffer.alloc(9) } as const;
  await withDatabase(scratch.path, (db) => db.batch([started], { sync: true }));
  const copies: Scratch[] = [];
  const opened = await openKept(scratch.path, 1, {
    beforeKeeping: async () => void copies.push(await crashCopy(scratch.path)),
  });
  await passHistory(opened);
  await opened.store.close();
  expect(copies.length).toBeGreaterThan(1);
  for (const copy of copies) {
    const used = Math.max(2, ...(await filtersIn(copy.path)).all);
    const next = await openKept(copy.path);
    await passHistory(next);
    await next.store.close();
    expect(await onlyFilter(copy.path)).toBeGreaterThan(used);
    await copy[Symbol.asyncDispose]();
  }
});

test("what a crash left of one is not written over, and goes with the next", async () => {
  await using scratch = await makeKept();
  // Of the next there is one part.
  const started = { type: "put", key: filterKey(2, 1), value: Buffer.alloc(9) } as const;
  await withDatabase(scratch.path, (db) => db.batch([started], { sync: true }));
  expect(await walksAndFinds(scratch.path, keysOf("a"))).toBe(false);
  const opened = await openKept(scratch.path);
  await putAll(opened, keysOf("b"));
  await letGoUpTo(opened.store, opened.clock, historyMs, 2n);
  await opened.store.close();
  expect(await onlyFilter(scratch.path)).toBeGreaterThan(2);
});
