import { expect, test } from "vitest";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { Change } from "../../src/store/store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { heapBytes } from "../support/heap.ts";
import { bytes, eventually, FaultyDisk, makeScratch, untilFilled } from "./level-fixture.ts";

const names = Array.from({ length: 100 }, (_, i) => `name ${i}`);
const markers = names.flatMap((name) => [`waiting ${name}`, `state ${name}`]);

test("index entries without a value that are on disk are taken away without a seek, and have no room where values are kept", async () => {
  await using scratch = await makeScratch();
  const disk = new FaultyDisk();
  const clock = createFakeClock();
  const store = await openLevelStore(scratch.path, { clock, cacheMaxEntries: 300, createDatabase: disk.create });
  await untilFilled(store, disk);
  const round = async (): Promise<void> => {
    const before = disk.written.length;
    await clock.advance(1_000);
    await eventually(() => disk.written.slice(before).some((letters) => letters.includes("W")));
    // What the round has written is known in the turn after that.
    await store.commit([{ type: "put", key: "last", value: bytes(String(before)) }]);
  };
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
