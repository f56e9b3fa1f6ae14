import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createKeyValueStore } from "../../src/store/key-value-store.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { numberedKey, parseValueKey, valueKey } from "../../src/store/level-keys.ts";
import { compareKeys } from "../../src/store/store.ts";
import { WatchReader } from "../../src/store-conformance/harness.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { bytes, entriesOf, eventually, FaultyDisk, letGoUpTo, makeScratch, withDatabase } from "./level-fixture.ts";

const historyMs = 80_000;

describe("what lies on disk", () => {
  test("is nothing but the newest state once history has been let go", async () => {
    await using scratch = await makeScratch();
    const clock = createFakeClock();
    let store = await openLevelStore(scratch.path, { clock, historyMs, roundKeys: 5 });
    for (let i = 0; i < 200; i += 1) {
      await store.commit([
        { type: "put", key: `task ${i % 20}`, value: bytes(`${i}`) },
        ...(i >= 3 ? [{ type: "unindex", key: `index ${i - 3}` } as const] : []),
        { type: "index", key: `index ${i}`, value: bytes("") },
        { type: "add", key: "n", delta: 1n },
      ]);
      if (i % 10 === 0) await clock.advance(2_000);
    }
    for (let i = 0; i < 19; i += 1) await store.commit([{ type: "delete", key: `task ${i}` }]);
    for (let i = 197; i < 200; i += 1) await store.commit([{ type: "unindex", key: `index ${i}` }]);
    const last = store.revision();
    await letGoUpTo(store, clock, historyMs, last);
    await eventually(() => clock.pending() === 0);
    await store.close();

    await withDatabase(scratch.path, async (db) => {
      const keys = (await entriesOf(db, "V")).map(([key]) => parseValueKey(key)?.key);
      expect(keys).toEqual(["n", "task 19"]);
      for (const letter of ["J", "G", "C"]) expect(await entriesOf(db, letter)).toEqual([]);
      for (const letter of ["W", "F"]) expect(await entriesOf(db, letter)).toHaveLength(1);
    });
    store = await openLevelStore(scratch.path, { clock, historyMs });
    expect(store.revision()).toBe(last);
    expect(store.firstRevision()).toBe(last);
    expect((await store.scan({ prefix: "", limit: 9 })).map(({ key }) => key)).toEqual(["n", "task 19"]);
    await store.close();
  });

  test("what collecting left at a close or a crash is collected at the next opening", async () => {
    await using scratch = await makeScratch();
    const clock = createFakeClock();
    let store = await openLevelStore(scratch.path, { clock, historyMs });
    for (let i = 0; i < 5; i += 1) await store.commit([{ type: "put", key: "a", value: bytes(`${i}`) }]);
    await letGoUpTo(store, clock, historyMs, 5n);
    await eventually(() => clock.pending() === 0);
    await store.close();
    // As if the deletion of this block had come back.
    const garbage = numberedKey("journal", 2);
    await withDatabase(scratch.path, (db) => db.batch([{ type: "put", key: garbage, value: garbage }], { sync: true }));
    const disk = new FaultyDisk();
    store = await openLevelStore(scratch.path, { clock, historyMs, createDatabase: disk.create });
    expect(await store.get("a")).toMatchObject({ revision: 5n });
    await store.commit([{ type: "put", key: "a", value: bytes("5") }]);
    await eventually(() => disk.written.includes("j"));
    await store.close();
    await withDatabase(scratch.path, async (db) => {
      expect((await entriesOf(db, "J")).map(([key]) => key.readUInt32BE(5))).toEqual([6]);
    });
  });

  test("is only the newest of what came and went between two rounds", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
    for (let i = 0; i < 10; i += 1) {
      await store.commit([
        { type: "put", key: "task", value: bytes(`${i}`) },
        ...(i > 0 ? [{ type: "unindex", key: `index ${i - 1}` } as const] : []),
        { type: "index", key: `index ${i}`, value: bytes("") },
      ]);
    }
    await store.close();
    await withDatabase(scratch.path, async (db) => {
      expect((await entriesOf(db, "V")).map(([key]) => parseValueKey(key)?.key)).toEqual(["index 9", "task"]);
      expect(await entriesOf(db, "J")).toHaveLength(10);
    });
  });
});

describe("index entries that move while a round is under way", () => {
  test("are in LevelDB once or not at all, whatever the moment", async () => {
    await using scratch = await makeScratch();
    const clock = createFakeClock();
    const store = await openLevelStore(scratch.path, { clock, roundKeys: 1, cacheMaxEntries: 2 });
    for (let i = 0; i < 300; i += 1) {
      const key = `index ${i % 3}`;
      const type = Math.floor(i / 3) % 2 === 0 ? "index" : "unindex";
      await store.commit([type === "index" ? { type, key, value: bytes("") } : { type, key }]);
      if (i % 7 === 0) for (let turn = 0; turn < i % 5; turn += 1) await new Promise(setImmediate);
    }
    expect(await store.scan({ prefix: "index", limit: 9 })).toEqual([]);
    await store.close();
    await withDatabase(scratch.path, async (db) => expect(await entriesOf(db, "V")).toEqual([]));
  });
});

describe("reading a key with many versions", () => {
  test("costs what the versions cost that are read, not all that lie between", async () => {
    await using scratch = await makeScratch();
    const disk = new FaultyDisk();
    const options = { clock: createFakeClock(), createDatabase: disk.create, blockCacheBytes: 1 };
    const store = await openLevelStore(scratch.path, options);
    const versions = 300;
    for (let i = 0; i < versions; i += 1) await store.commit([{ type: "put", key: "key", value: bytes(`${i}`) }]);
    const kv = createKeyValueStore(store, { encode: bytes, decode: (value) => Buffer.from(value).toString() });
    const readsOf = async (read: () => Promise<unknown>): Promise<number> => {
      const before = disk.gets + disk.iterators;
      await read();
      return disk.gets + disk.iterators - before;
    };
    // At the very revision of a change; version after version; and as of all revisions from the oldest on.
    expect(await readsOf(() => store.get("key", { revision: 17n }))).toBeLessThan(5);
    expect(await readsOf(() => kv.history("key", { includeValues: true }))).toBeLessThan(5 * versions);
    const watch = kv.watch("key", { revision: 1n })[Symbol.asyncIterator]();
    const reads = await readsOf(async () => {
      for (let i = 0; i < versions; i += 1) expect((await watch.next()).value?.revision).toBe(BigInt(i + 1));
    });
    expect(reads).toBeLessThan(10 * versions);
    await watch.return?.();
    await store.close();
  });

  test("finds what was there as of any revision, in whatever order it is asked", async () => {
    await using scratch = await makeScratch();
    const clock = createFakeClock();
    const store = await openLevelStore(scratch.path, { clock, historyMs, roundKeys: 4, blockCacheBytes: 1 });
    const values: (string | undefined)[] = [undefined];
    for (let i = 1; i <= 60; i += 1) {
      const isDeletion = i % 11 === 0;
      if (i % 3 === 0) await store.commit([{ type: "put", key: "other", value: bytes(`${i}`) }]);
      else if (isDeletion) await store.commit([{ type: "delete", key: "key" }]);
      else await store.commit([{ type: "put", key: "key", value: bytes(`${i}`) }]);
      values.push(i % 3 === 0 ? values.at(-1) : isDeletion ? undefined : `${i}`);
      if (i === 30) await letGoUpTo(store, clock, historyMs, 12n);
    }
    const first = Number(store.firstRevision());
    for (let i = 0; i < 600; i += 1) {
      const revision = first + ((i * 37) % (61 - first));
      const entry = await store.get("key", { revision: BigInt(revision) });
      expect(entry && Buffer.from(entry.value).toString(), `as of ${revision}`).toBe(values[revision]);
    }
    await store.close();
  });
});

describe("watches", () => {
  test("leave nothing when they are dropped, left or aborted", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...given: Parameters<typeof add>) => {
      listeners += 1;
      add(...given);
    };
    signal.removeEventListener = (...given: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...given);
    };
    for (let i = 0; i < 100; i += 1) store.watch({ prefix: "", after: 0n, signal });
    expect(listeners).toBe(0);
    const watch = new WatchReader(store, { signal });
    const next = watch.next();
    await new Promise(setImmediate);
    expect(listeners).toBe(1);
    await watch.stop();
    expect(await next).toBeUndefined();
    expect(listeners).toBe(0);
    const waiting = new WatchReader(store, { signal }).next();
    await new Promise(setImmediate);
    controller.abort();
    expect(await waiting).toBeUndefined();
    expect(listeners).toBe(0);
    await store.close();
  });
});

describe("the LevelDB key of a version", () => {
  const key = fc.string({ minLength: 1, unit: fc.constantFrom("\0", "\x01", "a", "b", "\uffff", "\u{1f600}") });

  test("names its key and revision, and sorts by key, then newest first", () => {
    const version = fc.record({ key, revision: fc.maxSafeNat() });
    fc.assert(
      fc.property(version, version, (a, b) => {
        expect(parseValueKey(valueKey(a.key, a.revision))).toEqual(a);
        const expected = compareKeys(a.key, b.key) || b.revision - a.revision;
        expect(Math.sign(Buffer.compare(valueKey(a.key, a.revision), valueKey(b.key, b.revision)))).toBe(
          Math.sign(expected),
        );
      }),
    );
  });
});
