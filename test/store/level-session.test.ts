import { expect, test } from "vitest";
import { parseValueKey } from "../../src/store/level-keys.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { Change } from "../../src/store/store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { heapBytes } from "../support/heap.ts";
import { bytes, entriesOf, eventually, FaultyDisk, makeScratch, untilFilled, withDatabase } from "./level-fixture.ts";

const names = Array.from({ length: 100 }, (_, i) => `name ${i}`);
const markers = names.flatMap((name) => [`waiting ${name}`, `state ${name}`]);

/** A store with room in memory for few entries, and a round whenever it is asked for. */
async function openSmall(path: string, cacheMaxEntries: number) {
  const disk = new FaultyDisk();
  const clock = createFakeClock();
  const store = await openLevelStore(path, { clock, cacheMaxEntries, createDatabase: disk.create });
  await untilFilled(store, disk);
  const round = async (): Promise<void> => {
    const before = disk.written.length;
    await clock.advance(1_000);
    await eventually(() => disk.written.slice(before).some((letters) => letters.includes("W")));
    // What the round has written is known in the turn after that.
    await store.commit([{ type: "put", key: "last", value: bytes(String(before)) }]);
  };
  return { disk, store, round };
}

test("index entries without a value that are on disk are taken away without a seek, and have no room where values are kept", async () => {
  await using scratch = await makeScratch();
  const { disk, store, round } = await openSmall(scratch.path, 300);
  await store.commit(names.map((key): Change => ({ type: "put", key, value: bytes(key) })));
  await store.commit(markers.map((key): Change => ({ type: "index", key, value: bytes("") })));
  await round();
  const before = disk.iterators;
  for (const key of names) expect(await store.get(key)).toBeDefined();
  await store.commit(markers.map((key): Change => ({ type: "unindex", key })));
  await round();
  expect(disk.iterators - before).toBe(0);
  expect(await store.scan({ prefix: "state ", limit: 10 })).toEqual([]);
  await store.close();
});

test("a record that is cached holds its own bytes, and not what was allocated beside them", async () => {
  await using scratch = await makeScratch();
  const disk = new FaultyDisk();
  const store = await openLevelStore(scratch.path, { roundKeys: 1, blockCacheBytes: 1, createDatabase: disk.create });
  const buffers = (): number => {
    heapBytes();
    return process.memoryUsage().arrayBuffers;
  };
  const before = buffers();
  for (let i = 0; i < 150; i += 1) {
    const rounds = disk.written.length;
    await store.commit([{ type: "put", key: `key ${i}`, value: bytes("value") }]);
    await eventually(() => disk.written.slice(rounds).some((letters) => letters.includes("W")));
    // As much as a piece of memory that is shared has, with all that goes through a server meanwhile.
    for (let piece = 0; piece < 8; piece += 1) Buffer.allocUnsafe(1_024);
  }
  expect(buffers() - before).toBeLessThan(512 * 1_024);
  await store.close();
});

test("index entries that memory does not hold are taken away without a seek where they are of the version that their end is conditional on", async () => {
  await using scratch = await makeScratch();
  const { disk, store, round } = await openSmall(scratch.path, 2);
  const revisions = new Map<string, bigint>();
  const version = (name: string, entry: Change, revision = 0n): Promise<bigint> =>
    store.commit([entry, { type: "put", key: name, value: bytes(name) }], [{ key: name, revision }]);
  for (const name of names) {
    revisions.set(name, await version(name, { type: "index", key: `state ${name}`, value: bytes("") }));
    await store.commit([{ type: "index", key: `beside ${name}`, value: bytes("") }]);
  }
  await round();
  const iterators = async (kind: string): Promise<number> => {
    for (const [name, revision] of revisions) {
      expect(await store.get(name)).toMatchObject({ revision });
      revisions.set(name, await version(name, { type: "unindex", key: `${kind} ${name}` }, revision));
    }
    const before = disk.iterators;
    await round();
    return disk.iterators - before;
  };
  // Only what was written last may be sought: the key that makes the round known.
  expect(await iterators("state")).toBeLessThan(2);
  // What was written beside its version is another's, and is sought.
  expect(await iterators("beside")).toBeGreaterThanOrEqual(names.length - 8);
  await store.close();
  await withDatabase(scratch.path, async (db) => {
    const keys = (await entriesOf(db, "V")).map(([key]) => parseValueKey(key)?.key ?? "");
    expect(keys.filter((key) => /^(state|beside) /.test(key))).toEqual([]);
  });
});

test("an index entry that comes and goes again before a round, whose end was not told its version, leaves none on disk", async () => {
  await using scratch = await makeScratch();
  const { store, round } = await openSmall(scratch.path, 1);
  const put = (value: string): Change => ({ type: "put", key: "task", value: bytes(value) });
  const at = (revision: bigint) => [{ key: "task", revision }];
  const marker = { key: "state task", value: bytes("") };
  const first = await store.commit([put("1"), { type: "index", ...marker }]);
  await round();
  for (const key of names) await store.commit([{ type: "index", key: `other ${key}`, value: bytes("") }]);
  await round();
  await store.commit([{ type: "unindex", key: marker.key }]);
  const again = await store.commit([put("2"), { type: "index", ...marker }], at(first));
  await store.commit([put("3"), { type: "unindex", key: marker.key }], at(again));
  await round();
  expect(await store.scan({ prefix: "state ", limit: 10 })).toEqual([]);
  await store.close();
});
