import assert from "node:assert/strict";
import type { Entry, ScanOptions, Store } from "../store/store.ts";
import { ages, expectFailure, keysOf, line, openHarness, put, text } from "./harness.ts";
import { awkwardKeys } from "./keys.ts";
import type { Suite } from "./suite.ts";

export function describeScan({ open, describe, expect, test }: Suite): void {
  test("an empty store has no entries", async () => {
    await using harness = await openHarness(open);
    expect(await harness.store.scan({ prefix: "", limit: 10 })).toEqual([]);
  });

  describe.each(ages)("read %s", (age) => {
    test("it has the entries whose keys begin with the prefix, the key that is the prefix included", async () => {
      await using harness = await openHarness(open);
      for (const key of ["a", "a/", "a/1", "a/2", "a0", "A/3", "b/4"]) await harness.put(key);
      await harness.grow(age);
      const scan = async (prefix: string) => keysOf(await harness.store.scan({ prefix, limit: 10 }));
      expect(await scan("a/")).toEqual(["a/", "a/1", "a/2"]);
      expect(await scan("a")).toEqual(["a", "a/", "a/1", "a/2", "a0"]);
      expect(await scan("a/1")).toEqual(["a/1"]);
      expect(await scan("a/1/")).toEqual([]);
      expect(await scan("c")).toEqual([]);
    });

    test("entries have their values and revisions", async () => {
      await using harness = await openHarness(open);
      await harness.put("a", "1");
      await harness.put("b", "2");
      await harness.put("a", "3");
      await harness.grow(age);
      const entries = await harness.store.scan({ prefix: "", limit: 10 });
      expect(entries.map(line)).toEqual(["put a = 3 at 3 after 1", "put b = 2 at 2 after 0"]);
    });

    test("pages of any size, forward and in reverse, make up the whole", async () => {
      await using harness = await openHarness(open);
      for (const key of awkwardKeys) await harness.put(key);
      await harness.put("a/gone");
      await harness.delete("a/gone");
      await harness.grow(age);
      for (const prefix of ["", "a", "a\0", "\0", "\u{1f600}"]) {
        const whole = awkwardKeys.filter((key) => key.startsWith(prefix));
        for (const limit of [1, 2, 3, 7, 100]) {
          expect(keysOf(await scanPages(harness.store, { prefix, limit }))).toEqual(whole);
          const reversed = await scanPages(harness.store, { prefix, limit, reverse: true });
          expect(keysOf(reversed)).toEqual([...whole].reverse());
        }
      }
    });

    test("as of a revision it has what was there then, in pages, too", async () => {
      await using harness = await openHarness(open);
      const expected: string[][] = [[]];
      for (let i = 0; i < 10; i += 1) {
        const key = `key ${i % 4}`;
        const present = expected.at(-1)?.some((other) => other.startsWith(`${key} `)) ?? false;
        const isDeletion = present && i % 3 === 0;
        await (isDeletion ? harness.delete(key) : harness.put(key, `${i}`));
        const others = expected.at(-1)?.filter((other) => !other.startsWith(`${key} `)) ?? [];
        expected.push(isDeletion ? others : [...others, `${key} = ${i}`].sort());
        if (i % 4 === 3) await harness.grow(age);
      }
      await harness.grow(age);
      for (let revision = 0; revision < expected.length; revision += 1) {
        for (const limit of [1, 3, 100]) {
          const entries = await scanPages(harness.store, { prefix: "key", limit, revision: BigInt(revision) });
          expect(entries.map((entry) => `${entry.key} = ${text(entry.value)}`)).toEqual(expected[revision]);
        }
      }
    });

    test("now it has index entries and counters, as of a revision only what has history", async () => {
      await using harness = await openHarness(open);
      await harness.store.commit([
        put("a/1"),
        { type: "index", key: "a/2", value: new Uint8Array(0) },
        { type: "add", key: "a/3", delta: 1n },
      ]);
      const revision = await harness.put("a/4");
      await harness.grow(age);
      expect(keysOf(await harness.store.scan({ prefix: "a/", limit: 10 }))).toEqual(["a/1", "a/2", "a/3", "a/4"]);
      expect(keysOf(await harness.store.scan({ prefix: "a/", limit: 10, revision }))).toEqual(["a/1", "a/4"]);
    });
  });

  test("`after` need not be a key, nor have the prefix", async () => {
    await using harness = await openHarness(open);
    for (const key of ["a", "b/1", "b/3", "c"]) await harness.put(key);
    const scan = async (options: Partial<ScanOptions>) =>
      keysOf(await harness.store.scan({ prefix: "b/", limit: 10, ...options }));
    expect(await scan({ after: "b/2" })).toEqual(["b/3"]);
    expect(await scan({ after: "b/2", reverse: true })).toEqual(["b/1"]);
    expect(await scan({ after: "a" })).toEqual(["b/1", "b/3"]);
    expect(await scan({ after: "" })).toEqual(["b/1", "b/3"]);
    expect(await scan({ after: "c" })).toEqual([]);
    expect(await scan({ after: "a", reverse: true })).toEqual([]);
    expect(await scan({ after: "c", reverse: true })).toEqual(["b/3", "b/1"]);
    expect(await scan({ after: "b/3\0" })).toEqual([]);
    expect(await scan({ after: "b/3\0", reverse: true })).toEqual(["b/3", "b/1"]);
  });

  test("many deleted keys in the way do not shorten a page", async () => {
    await using harness = await openHarness(open);
    const keys = Array.from({ length: 500 }, (_, i) => `key ${String(i).padStart(3, "0")}`);
    await harness.store.commit(keys.map((key) => put(key)));
    await harness.store.commit(keys.slice(1, -1).map((key) => ({ type: "delete", key })));
    expect(keysOf(await harness.store.scan({ prefix: "", limit: 2 }))).toEqual(["key 000", "key 499"]);
    expect(keysOf(await harness.store.scan({ prefix: "", limit: 2, reverse: true }))).toEqual(["key 499", "key 000"]);
    expect(await harness.store.scan({ prefix: "", limit: 1_000, revision: 1n })).toHaveLength(500);
  });

  test("a revision ahead of the store's is FUTURE", async () => {
    await using harness = await openHarness(open);
    const revision = await harness.put("key");
    await expectFailure(harness.store.scan({ prefix: "", limit: 10, revision: revision + 1n }), "FUTURE");
    expect(harness.store.revision()).toBe(revision);
  });

  test("in reverse as of a revision is INVALID", async () => {
    await using harness = await openHarness(open);
    await expectFailure(harness.store.scan({ prefix: "", limit: 1, reverse: true, revision: 0n }), "INVALID");
  });

  test("a page shows one moment, while others commit", async () => {
    await using harness = await openHarness(open);
    const { store } = harness;
    const keys = ["a", "m", "z"];
    const commits = Array.from({ length: 40 }, (_, i) => store.commit(keys.map((key) => put(key, `${i}`))));
    const scans = commits.map(async (commit) => {
      const before = await store.scan({ prefix: "", limit: 10 });
      await commit;
      return [before, await store.scan({ prefix: "", limit: 10 })];
    });
    for (const page of (await Promise.all(scans)).flat()) {
      expect(new Set(page.map((entry) => entry.revision)).size).toBeLessThanOrEqual(1);
      expect([0, keys.length]).toContain(page.length);
    }
  });

  test("what it returned can be changed without changing the store", async () => {
    await using harness = await openHarness(open);
    await harness.put("key", "value");
    const [entry] = await harness.store.scan({ prefix: "", limit: 1 });
    entry?.value.fill(0);
    expect(await harness.textOf("key")).toBe("value");
  });
}

/** All pages, one after the other. */
async function scanPages(store: Store, options: ScanOptions): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (;;) {
    const page = await store.scan({ ...options, after: entries.at(-1)?.key });
    assert(page.length <= options.limit, "a page has no more than was asked for");
    if (page.length === 0) return entries;
    entries.push(...page);
  }
}
