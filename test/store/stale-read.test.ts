/**
 * LevelDB 1.20 can answer a read of an overwritten key with an older version of
 * it (google/leveldb #320). The first test shows the fault in LevelDB itself, the second shows that the store, by never
 * writing a LevelDB key twice, does not have it.
 */
import { join } from "node:path";
import { Level } from "level";
import { describe, expect, test } from "vitest";
import { openLevelStore } from "../../src/store/level-store.ts";
import { makeScratch } from "./level-fixture.ts";

const operations = Number(process.env.STALE_READ_OPS ?? 3_000);
const keyCount = 40;
const versions = 300;
const versionBytes = 100_000;
const buffers = { writeBufferSize: 64 << 10, maxFileSize: 1 << 20, compression: false };

/** A small generator, so that a failure can be had again. */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("reads of keys that are overwritten while iterators are open", { timeout: 600_000 }, () => {
  test("of LevelDB are stale, which is why the store overwrites nothing", async () => {
    await using scratch = await makeScratch();
    const db = new Level<string, Buffer>(join(scratch.path, "db"), { valueEncoding: "buffer", ...buffers });
    const held: { close(): Promise<void> }[] = [];
    // Versions of one key that open iterators keep alive, enough to lie in many files of two levels ...
    for (let version = 1; version <= versions; version += 1) {
      const value = Buffer.alloc(versionBytes);
      value.writeUInt32BE(version);
      await db.put("key", value);
      held.push(db.iterator());
    }
    // ... which a compaction then takes down one file at a time, the newest version first.
    let compacting = true;
    const { compactRange } = db as unknown as { compactRange(start: string, end: string): Promise<void> };
    const compaction = compactRange.call(db, "a", "z").finally(() => {
      compacting = false;
    });
    const stale = new Set<number>();
    while (compacting) {
      const read = (await db.get("key"))?.readUInt32BE() ?? 0;
      if (read !== versions) stale.add(read);
    }
    await compaction;
    for (const iterator of held) await iterator.close();
    await db.close();
    expect(stale.size).toBeGreaterThan(0);
    for (const read of stale) expect(read).toBeLessThan(versions);
  });

  test("of the store are not, with scans and watches under way, rounds and history's end at every step", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path, {
      writeBufferBytes: buffers.writeBufferSize,
      roundKeys: 8,
      cacheMaxEntries: 1,
      blockCacheBytes: 1,
      historyBytes: 1 << 20,
    });
    const random = makeRandom(1);
    const expected = new Map<string, { index: number; revision: bigint }>();
    const background = new Set<Promise<unknown>>();
    let wrong = 0;
    for (let i = 1; i <= operations; i += 1) {
      const key = `key ${Math.floor(random() * keyCount)}`;
      const value = Buffer.alloc(50 + Math.floor(random() * 900));
      value.writeUInt32BE(i);
      const deletes = random() < 0.1 && expected.has(key);
      const revision = await store.commit([deletes ? { type: "delete", key } : { type: "put", key, value }]);
      if (deletes) expected.delete(key);
      else expected.set(key, { index: i, revision });
      if (i % 20 === 0) {
        const scan = store.scan({ prefix: "", limit: 1_000 }).finally(() => background.delete(scan));
        background.add(scan);
      }
      const asked = `key ${Math.floor(random() * keyCount)}`;
      const entry = await store.get(asked);
      const index = entry && Buffer.from(entry.value).readUInt32BE();
      if (index !== expected.get(asked)?.index || entry?.revision !== expected.get(asked)?.revision) wrong += 1;
    }
    await Promise.all(background);
    expect(wrong).toBe(0);
    expect(store.firstRevision()).toBeGreaterThan(0n);
    await store.close();
    const again = await openLevelStore(scratch.path);
    const entries = await again.scan({ prefix: "", limit: 1_000 });
    expect(new Map(entries.map(({ key, revision }) => [key, revision]))).toEqual(
      new Map([...expected].map(([key, { revision }]) => [key, revision])),
    );
    await again.close();
  });
});
