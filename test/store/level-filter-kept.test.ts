import { join } from "node:path";
import { expect, test } from "vitest";
import { filterKey, numberedKey } from "../../src/store/level-keys.ts";
import { repairStore, verifyStore } from "../../src/store/maintenance.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import {
  filtersIn,
  historyMs,
  isOfFilter,
  keysOf,
  makeKept,
  onlyFilter,
  passHistory,
  openKept,
  putAll,
  walksAndFinds,
} from "./kept-filter-fixture.ts";
import { bytes, crashCopy, eventually, letGoUpTo, makeScratch, untilFilled, withDatabase } from "./level-fixture.ts";

/** Of the second and later ones, in whose batch the one before goes. */
const isHead = (letters: string): boolean => /^b+B$/.test(letters);

test("a store that was closed is opened without a walk over its keys, and finds all of them", async () => {
  await using scratch = await makeKept();
  expect(await walksAndFinds(scratch.path, keysOf("a"))).toBe(false);
});

test("what was committed behind the filter that was kept is found after a crash, without a walk", async () => {
  await using scratch = await makeKept();
  const opened = await openKept(scratch.path);
  await untilFilled(opened.store, opened.disk);
  await putAll(opened, keysOf("b"));
  await opened.store.commit([{ type: "index", key: "/index", value: bytes("/index") }]);
  await putAll(opened, ["/last"]);
  expect(opened.disk.written.join("")).not.toContain("B");
  await using crashed = await crashCopy(scratch.path);
  await opened.store.close();
  expect(await walksAndFinds(crashed.path, [...keysOf("a"), ...keysOf("b"), "/index", "/last"])).toBe(false);
});

test("it is kept anew before the journal does not reach back to it, and there is one at a time", async () => {
  await using scratch = await makeKept();
  const opened = await openKept(scratch.path);
  await putAll(opened, keysOf("b"));
  await letGoUpTo(opened.store, opened.clock, historyMs, 2n);
  await opened.store.close();
  expect(await onlyFilter(scratch.path)).toBeGreaterThan(1);
  expect(await walksAndFinds(scratch.path, [...keysOf("a"), ...keysOf("b")])).toBe(false);
});

test("it is kept anew once the journal has grown by much, however little time has passed, and then not for each change", async () => {
  await using scratch = await makeKept();
  const opened = await openKept(scratch.path);
  const { store, clock, disk } = opened;
  await untilFilled(store, disk);
  const large = new Uint8Array(1 << 20);
  for (const key of ["/x", "/y"]) {
    expect(disk.written.join("")).not.toContain("B");
    await store.commit([{ type: "put", key, value: large }]);
    await clock.advance(1_000);
  }
  await eventually(() => disk.written.some(isHead));
  const kept = disk.written.filter((letters) => letters.includes("B"));
  for (const key of ["/1", "/2", "/3"]) await putAll(opened, [key]);
  await store.close();
  expect(disk.written.filter((letters) => letters.includes("B"))).toEqual(kept);
});

test("with a short history it is not kept anew each time that some of that goes", async () => {
  await using scratch = await makeKept();
  const opened = await openKept(scratch.path);
  const { store, clock, disk } = opened;
  const heads = (): number => disk.written.filter(isHead).length;
  let commits = 0;
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += historyMs / 8) {
      await store.commit([{ type: "put", key: `/passing/${(commits += 1)}`, value: bytes("") }]);
      await clock.advance(historyMs / 8);
      await eventually(() => clock.pending() > 0);
    }
  };
  await pass(600_000);
  expect(heads()).toBe(1);
  await pass(400_000);
  expect(heads()).toBe(2);
  await store.close();
});

test("what rounds bring while it is read is in it", async () => {
  await using scratch = await makeKept();
  let go = (): void => {};
  const going = new Promise<void>((resolve) => {
    go = resolve;
  });
  const opened = await openKept(scratch.path, 1, { whileReading: () => going });
  const { store, clock, disk, walks } = opened;
  await store.commit(keysOf("b").map((key) => ({ type: "put", key, value: bytes(key) })));
  await clock.advance(1_000);
  // The round has put them into the filter, and waits for the reading to write them.
  for (let turns = 0; turns < 50; turns += 1) await new Promise(setImmediate);
  expect(disk.written.join("")).not.toContain("W");
  go();
  await untilFilled(store, disk);
  await eventually(() => disk.written.some((letters) => letters.includes("W")));
  await putAll(opened, ["/later"]);
  for (const key of [...keysOf("a"), ...keysOf("b")]) expect(await store.get(key), key).toBeDefined();
  expect(walks()).toBe(0);
  await store.close();
});

test("one of few keys is not kept", async () => {
  await using scratch = await makeScratch();
  const opened = await openKept(scratch.path, 101);
  await putAll(opened, keysOf("a"));
  await opened.store.close();
  expect(opened.disk.written.join("")).not.toContain("B");
});

test("one that an opening has made anew is kept, also where nothing is committed", async () => {
  await using scratch = await makeScratch();
  const other = await openKept(scratch.path, 1_000);
  await putAll(other, keysOf("a"));
  await other.store.close();
  const { store, disk, walks } = await openKept(scratch.path);
  await eventually(() => disk.written.some((letters) => letters.endsWith("B")));
  expect(walks()).toBe(1);
  await store.close();
  expect(await walksAndFinds(scratch.path, keysOf("a"))).toBe(false);
});

test("what somebody committed who keeps none is found, without a walk", async () => {
  await using scratch = await makeKept();
  const other = await openKept(scratch.path, 1_000);
  await putAll(other, keysOf("b"));
  await other.store.close();
  expect(await walksAndFinds(scratch.path, [...keysOf("a"), ...keysOf("b")])).toBe(false);
});

test("a store that has one is sound, and repaired has none, nor takes its number for a revision", async () => {
  await using scratch = await makeKept();
  await using target = await makeScratch();
  expect(await verifyStore(scratch.path)).toMatchObject({ isSound: true, opens: true });
  const copied = join(target.path, "copied");
  await repairStore(scratch.path, copied, createFakeClock());
  expect((await filtersIn(copied)).all).toEqual([]);
  expect(await walksAndFinds(copied, keysOf("a"))).toBe(true);
  // One with a number above all revisions, and a journal of which a piece is lost.
  await withDatabase(scratch.path, (db) =>
    db.batch(
      [
        { type: "put", key: filterKey(2 ** 50, 1), value: Buffer.alloc(9) },
        { type: "del", key: numberedKey("journal", 1) },
      ],
      { sync: true },
    ),
  );
  const rebuilt = join(target.path, "rebuilt");
  const { how, made } = await repairStore(scratch.path, rebuilt, createFakeClock());
  expect(how).toBe("rebuilt");
  expect(made.revision).toBeLessThan(2 ** 40);
  expect((await filtersIn(rebuilt)).all).toEqual([]);
  expect(await walksAndFinds(rebuilt, keysOf("a"))).toBe(true);
});

test("a filter that cannot be written fails the store as any write does, and is kept once that is back", async () => {
  await using scratch = await makeScratch();
  const opened = await openKept(scratch.path);
  const { store, disk } = opened;
  disk.fateOf = (operations) => (isOfFilter(operations) ? "fail before" : "write");
  await store.commit(keysOf("a").map((key) => ({ type: "put", key, value: bytes(key) })));
  await opened.clock.advance(1_000);
  await eventually(() => disk.failures > 0);
  await expect(store.commit([{ type: "put", key: "b", value: bytes("b") }])).rejects.toMatchObject({
    code: "UNAVAILABLE",
  });
  disk.fateOf = () => "write";
  await store.reopen();
  await putAll(opened, keysOf("b"));
  await store.close();
  expect(await walksAndFinds(scratch.path, [...keysOf("a"), ...keysOf("b")])).toBe(false);
});

test("it is written at the close where the history that it needs is gone, however lately it was written", async () => {
  await using scratch = await makeKept();
  const opened = await openKept(scratch.path);
  for (let passed = 0; passed < 3; passed += 1) await passHistory(opened);
  await opened.store.close();
  expect(await walksAndFinds(scratch.path, keysOf("a"))).toBe(false);
});

test("where its keys cannot be read it is not kept, and the store goes on", async () => {
  await using scratch = await makeScratch();
  let failures = 0;
  const opened = await openKept(scratch.path, 1, {
    beforeIterator: ({ gte, values }) => {
      if (gte?.[0] !== 0x42 || values !== false || opened === undefined) return;
      failures += 1;
      throw new Error("unreadable");
    },
  });
  await putAll(opened, keysOf("a"));
  await putAll(opened, keysOf("b"));
  expect(failures).toBeGreaterThan(0);
  await opened.store.close();
  expect(opened.disk.written.join("")).not.toContain("B");
  expect(await walksAndFinds(scratch.path, [...keysOf("a"), ...keysOf("b")])).toBe(true);
});
