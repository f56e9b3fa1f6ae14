import { ages, bytes, index, keysOf, openHarness, put, unindex, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeIndex({ open, describe, expect, test }: Suite): void {
  describe.each(ages)("read %s", (age) => {
    test("an index entry is there until it is taken out, and can be put in again", async () => {
      await using harness = await openHarness(open);
      const { store } = harness;
      const revision = await store.commit([index("key", "one")]);
      await harness.grow(age);
      expect(await harness.store.get("key")).toEqual({ key: "key", value: bytes("one"), revision, previous: 0n });
      await harness.store.commit([unindex("key")]);
      await harness.grow(age);
      expect(await harness.store.get("key")).toBeUndefined();
      expect(await harness.store.scan({ prefix: "", limit: 10 })).toEqual([]);
      const again = await harness.store.commit([index("key", "two")]);
      await harness.grow(age);
      expect(await harness.store.get("key")).toEqual({
        key: "key",
        value: bytes("two"),
        revision: again,
        previous: 0n,
      });
    });

    test("an index entry that had no value, and has come back with one, can be taken out", async () => {
      await using harness = await openHarness(open);
      await harness.store.commit([index("key")]);
      await harness.grow(age);
      await harness.store.commit([unindex("key")]);
      await harness.store.commit([index("key", "one")]);
      await harness.grow(age);
      await harness.store.commit([unindex("key")]);
      await harness.grow(age);
      expect(await harness.store.scan({ prefix: "", limit: 10 })).toEqual([]);
    });

    test("a scan pages through entries that come and go", async () => {
      await using harness = await openHarness(open);
      const keys = Array.from({ length: 60 }, (_, i) => `i/${String(i).padStart(2, "0")}`);
      await harness.store.commit(keys.map((key) => index(key)));
      await harness.grow(age);
      await harness.store.commit(keys.filter((_, i) => i % 3 > 0).map(unindex));
      await harness.store.commit([index("i/00a")]);
      await harness.grow(age);
      const left = ["i/00", "i/00a", ...keys.filter((_, i) => i > 0 && i % 3 === 0)];
      expect(keysOf(await harness.store.scan({ prefix: "i/", limit: 100 }))).toEqual(left);
      expect(keysOf(await harness.store.scan({ prefix: "i/", limit: 5, after: "i/00a" }))).toEqual(left.slice(2, 7));
      const reversed = await harness.store.scan({ prefix: "i/", limit: 3, reverse: true });
      expect(keysOf(reversed)).toEqual(left.slice(-3).reverse());
    });
  });

  test("taking out what is absent changes nothing", async () => {
    await using harness = await openHarness(open);
    await harness.store.commit([unindex("key"), put("other")]);
    expect(await harness.store.get("key")).toBeUndefined();
    expect(await harness.textOf("other")).toBe("other");
  });

  test("an entry that comes and goes many times is what the last commit made it", async () => {
    await using harness = await openHarness(open);
    for (let i = 0; i < 20; i += 1) {
      await harness.store.commit([index("key", `${i}`)]);
      if (i % 7 === 0) await harness.clock.advance(10_000);
      expect(await harness.textOf("key")).toBe(`${i}`);
      await harness.store.commit([unindex("key")]);
      if (i % 5 === 0) await harness.clock.advance(10_000);
      expect(await harness.store.get("key")).toBeUndefined();
    }
  });

  test("no watch shows them", async () => {
    await using harness = await openHarness(open);
    await harness.store.commit([index("a/index"), put("a/put")]);
    await harness.store.commit([unindex("a/index")]);
    const last = await harness.put("a/put", "again");
    expect(await new WatchReader(harness.store, { prefix: "a/" }).linesUpTo(last)).toEqual([
      "put a/put = a/put at 1 after 0",
      "put a/put = again at 3 after 1",
    ]);
  });

  test("an entry's value may be empty, and large", async () => {
    await using harness = await openHarness(open);
    await harness.store.commit([index("empty", ""), index("large", "x".repeat(1024 ** 2))]);
    expect((await harness.store.get("empty"))?.value).toHaveLength(0);
    expect((await harness.store.get("large"))?.value).toHaveLength(1024 ** 2);
  });
}
