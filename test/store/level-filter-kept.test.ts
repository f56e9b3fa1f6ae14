import { createHash } from "node:crypto";
import { join } from "node:path";
import { expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { KeyFilter } from "../../src/store/level-filter.ts";
import { hashKey, Layers } from "../../src/store/level-filter-layers.ts";
import { filterKey, numberedKey, valueKey } from "../../src/store/level-keys.ts";
import { repairStore, verifyStore } from "../../src/store/maintenance.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import {
  filtersIn,
  historyMs,
  isOfFilter,
  keysOf,
  makeKept,
  openKept,
  putAll,
  walksAndFinds,
} from "./kept-filter-fixture.ts";
import {
  bytes,
  crashCopy,
  eventually,
  letGoUpTo,
  makeScratch,
  type Scratch,
  untilFilled,
  withDatabase,
} from "./level-fixture.ts";

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
  const { all, whole } = await filtersIn(scratch.path);
  expect(all).toEqual(whole);
  expect(all).toHaveLength(1);
  expect(all[0]).toBeGreaterThan(1);
  expect(await walksAndFinds(scratch.path, [...keysOf("a"), ...keysOf("b")])).toBe(false);
});

test("it is kept anew once the journal has grown by much, however little time has passed", async () => {
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
  await eventually(() => disk.written.some((letters) => letters.endsWith("B")));
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
  const { all, whole } = await filtersIn(scratch.path);
  expect(all).toEqual(whole);
  expect(all).toHaveLength(1);
  expect(all[0]).toBeGreaterThan(2);
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

test("where the journal has a gap the keys are walked over, into what was kept and what came meanwhile", async () => {
  const layers = new Layers();
  const pages: Buffer[][] = [[], [valueKey("walked", 1)], []];
  const session = {
    failure: undefined,
    materialized: 5,
    options: { log: silentLog },
    iterate: async () => pages.shift()!.map((key) => [key, Buffer.alloc(0)]) as never,
  };
  const filter = new KeyFilter();
  const read = async (): Promise<boolean> => {
    layers.add(hashKey("kept"));
    return true;
  };
  filter.begin(session, { watermark: 3, gone: 0, layers, read });
  // A round has added it, and not written it yet.
  filter.add("meanwhile", true);
  await filter.filled();
  for (const key of ["kept", "walked", "meanwhile"]) expect(filter.excludes(key), key).toBe(false);
  expect(filter.excludes("other")).toBe(true);
  expect(filter.keptAt).toBeUndefined();
});

test("a key has the bits that it has in what was kept by this format", () => {
  const layers = new Layers();
  for (const key of ["a", "a\0b", "ä", "\u{1f600}", "/tasks/many/task-1"]) layers.add(hashKey(key));
  const [part] = layers.parts;
  // Where this changes, the format does.
  expect(createHash("sha256").update(part!).digest("hex")).toBe(
    "d5933aa19375040bccfa71789c3a362609b28add5e2ce589f12cf1bd72d29fe6",
  );
});
