import type { Change } from "../store/store.ts";
import { ages, bytes, expectFailure, keysOf, line, openHarness, put, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeCommit({ open, describe, expect, test }: Suite): void {
  test("a new store is at revision 0", async () => {
    await using harness = await openHarness(open);
    expect(harness.store.revision()).toBe(0n);
  });

  test("each commit has a revision of its own, above all before it, and the store's is the newest", async () => {
    await using harness = await openHarness(open);
    let newest = 0n;
    for (let i = 0; i < 10; i += 1) {
      const revision = await harness.put("key", "the same value");
      expect(revision).toBeGreaterThan(newest);
      expect(harness.store.revision()).toBe(revision);
      newest = revision;
    }
  });

  test("commits that failed, reads and watches leave the store's revision alone", async () => {
    await using harness = await openHarness(open);
    const revision = await harness.put("key");
    await expectFailure(harness.store.commit([put("key")], [{ key: "key", revision: 0n }]), "CONFLICT");
    await harness.store.get("key");
    await harness.store.scan({ prefix: "", limit: 1 });
    await new WatchReader(harness.store).next();
    expect(harness.store.revision()).toBe(revision);
    expect(await harness.put("key")).toBe(revision + 1n);
  });

  test("all changes of a commit have its revision", async () => {
    await using harness = await openHarness(open);
    await harness.put("b");
    const revision = await harness.store.commit([
      put("a"),
      { type: "delete", key: "b" },
      put("c"),
      { type: "index", key: "i", value: bytes("i") },
      { type: "add", key: "n", delta: 1n },
    ]);
    for (const key of ["a", "c", "i", "n"]) expect(await harness.store.get(key)).toMatchObject({ revision });
    expect(await harness.store.get("b")).toBeUndefined();
    expect(await harness.store.get("b", { revision: revision - 1n })).toMatchObject({ revision: revision - 1n });
  });

  test("a commit without changes is one, too: it has a revision, and its conditions count", async () => {
    await using harness = await openHarness(open);
    const before = await harness.put("key");
    const empty = await harness.store.commit([]);
    expect(empty).toBeGreaterThan(before);
    expect(harness.store.revision()).toBe(empty);
    await expectFailure(harness.store.commit([], [{ key: "key", revision: 0n }]), "CONFLICT");
    const after = await harness.store.commit([put("key")], [{ key: "key", revision: before }]);
    expect(after).toBeGreaterThan(empty);
    expect(await harness.store.get("key", { revision: empty })).toMatchObject({ revision: before });
    expect(await new WatchReader(harness.store, { after: before }).linesUpTo(after)).toEqual([
      `put key = key at ${after} after ${before}`,
    ]);
  });

  test("deleting an absent key changes nothing of it: no event, and no link in its chain", async () => {
    await using harness = await openHarness(open);
    await harness.delete("key");
    await harness.put("key", "one");
    await harness.delete("key");
    await harness.delete("key");
    const last = await harness.put("key", "two");
    expect(await new WatchReader(harness.store).linesUpTo(last)).toEqual([
      "put key = one at 2 after 0",
      "delete key at 3 after 2",
      "put key = two at 5 after 3",
    ]);
  });

  test("a key changes once in a commit, but for counters and an index entry that is taken out and put in again", async () => {
    await using harness = await openHarness(open);
    const value = bytes("value");
    await harness.put("key", "before");
    for (const changes of [
      [put("key", "one"), put("key", "two")],
      [put("key", "one"), put("other"), { type: "delete", key: "key" }],
      [{ type: "delete", key: "key" }, put("key", "two")],
      [
        { type: "index", key: "i", value },
        { type: "index", key: "i", value },
      ],
    ] satisfies Change[][]) {
      await expectFailure(harness.store.commit(changes), "INVALID");
    }
    expect(harness.store.revision()).toBe(1n);
    expect(await harness.textOf("key")).toBe("before");

    await harness.store.commit([{ type: "index", key: "i", value }]);
    const replaced = await harness.store.commit([
      { type: "unindex", key: "i" },
      { type: "index", key: "i", value: bytes("another") },
    ]);
    expect(await harness.store.get("i")).toMatchObject({ value: bytes("another"), revision: replaced });
  });

  test("what was handed in can be changed afterwards without changing the store", async () => {
    await using harness = await openHarness(open);
    const value = bytes("value");
    const change = { ...put("key", value) };
    const committed = harness.store.commit([change, { type: "index", key: "index", value }]);
    await committed;
    value.fill(0);
    expect(await harness.textOf("key")).toBe("value");
    expect(await harness.textOf("index")).toBe("value");
    expect(await new WatchReader(harness.store).linesUpTo(1n)).toEqual(["put key = value at 1 after 0"]);
  });

  test("a value may be a part of a larger buffer, or a Buffer", async () => {
    await using harness = await openHarness(open);
    await harness.put("part", new Uint8Array([1, 2, 3, 4, 5]).subarray(1, 4));
    await harness.put("buffer", Buffer.from("buffer"));
    expect([...((await harness.store.get("part"))?.value ?? [])]).toEqual([2, 3, 4]);
    expect(await harness.textOf("buffer")).toBe("buffer");
  });

  describe.each(ages)("read %s", (age) => {
    test("a commit of many changes is there as a whole", async () => {
      await using harness = await openHarness(open);
      const keys = Array.from({ length: 3_000 }, (_, i) => `key ${String(i).padStart(4, "0")}`);
      const revision = await harness.store.commit(keys.map((key) => put(key)));
      await harness.grow(age);
      const entries = await harness.store.scan({ prefix: "", limit: 5_000 });
      expect(keysOf(entries)).toEqual(keys);
      expect(entries.every((entry) => entry.revision === revision)).toBe(true);
    });

    test("commits under way at once are each applied whole, under a revision of their own", async () => {
      await using harness = await openHarness(open);
      const { store } = harness;
      const revisions = await Promise.all(
        Array.from({ length: 100 }, (_, i) => store.commit([put("shared", `${i}`), put(`own ${i}`, `${i}`)])),
      );
      expect(new Set(revisions).size).toBe(100);
      await harness.grow(age);
      for (const [i, revision] of revisions.entries()) {
        expect(await harness.store.get(`own ${i}`)).toMatchObject({ revision });
        expect(await harness.textOf("shared", revision)).toBe(`${i}`);
      }
      const events = await new WatchReader(harness.store, { prefix: "shared" }).linesUpTo(harness.store.revision());
      const order = [...revisions.entries()].sort(([, a], [, b]) => Number(a - b));
      expect(events).toEqual(
        order.map(([i, revision], at) => `put shared = ${i} at ${revision} after ${order[at - 1]?.[1] ?? 0}`),
      );
    });
  });

  test("commits of one caller are applied in the order of its calls", async () => {
    await using harness = await openHarness(open);
    const revisions = await Promise.all(Array.from({ length: 50 }, (_, i) => harness.put("key", `${i}`)));
    expect([...revisions].sort((a, b) => Number(a - b))).toEqual(revisions);
    expect(await harness.textOf("key")).toBe("49");
  });

  test("what a commit wrote is read by whoever awaited it", async () => {
    await using harness = await openHarness(open);
    await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const revision = await harness.put(`key ${i}`, `${i}`);
        expect(harness.store.revision()).toBeGreaterThanOrEqual(revision);
        const entry = await harness.store.get(`key ${i}`);
        expect(entry && line(entry)).toBe(`put key ${i} = ${i} at ${revision} after 0`);
        expect(await harness.store.get(`key ${i}`, { revision })).toEqual(entry);
        expect(await harness.store.scan({ prefix: `key ${i}`, limit: 1 })).toEqual([entry]);
      }),
    );
  });
}
