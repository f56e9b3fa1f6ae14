import { expect, test } from "vitest";
import { KeyFilter } from "../../src/store/level-filter.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { bytes, FaultyDisk, makeScratch } from "./level-fixture.ts";

test("a filter excludes nothing before it is filled", () => {
  expect(new KeyFilter().excludes("a")).toBe(false);
});

test("a new key costs no seek, one that is there is found, whatever its characters", async () => {
  await using scratch = await makeScratch();
  const keys = ["a", "a\0", "a\0b", "\u{1f600}", "ä", ...Array.from({ length: 3_000 }, (_, i) => `key ${i}`)];
  const first = await openLevelStore(scratch.path);
  for (const key of keys) void first.commit([{ type: "put", key, value: bytes(key) }]);
  await first.close();

  let iterators = 0;
  const disk = new FaultyDisk();
  const store = await openLevelStore(scratch.path, {
    cacheMaxEntries: 1,
    createDatabase: (location, options) => {
      const db = disk.create(location, options);
      return {
        ...db,
        iterator(range) {
          iterators += 1;
          return db.iterator(range);
        },
      };
    },
  });
  // Until the filter is filled, each read of an absent key costs a seek.
  let before = -1;
  for (let i = 0; before !== iterators; i += 1) {
    before = iterators;
    expect(await store.get(`probe ${i}`)).toBeUndefined();
  }
  for (const key of keys) expect(await store.get(key)).toBeDefined();
  before = iterators;
  for (let i = 0; i < 1_000; i += 1) expect(await store.get(`other ${i}`)).toBeUndefined();
  expect(iterators - before).toBeLessThan(50);
  await store.close();
});
