import type { Store } from "../store/store.ts";
import { add, ages, expectFailure, openHarness, put, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeCounters({ open, describe, expect, test }: Suite): void {
  test("an absent counter counts from 0; its value is a signed 64-bit number, big-endian", async () => {
    await using harness = await openHarness(open);
    expect(await harness.store.get("n")).toBeUndefined();
    const revision = await harness.store.commit([add("n", 258n), add("m", -2n)]);
    expect(await harness.store.get("n")).toEqual({
      key: "n",
      value: new Uint8Array([0, 0, 0, 0, 0, 0, 1, 2]),
      revision,
      previous: 0n,
    });
    expect((await harness.store.get("m"))?.value).toEqual(new Uint8Array([255, 255, 255, 255, 255, 255, 255, 254]));
  });

  describe.each(ages)("read %s", (age) => {
    test("it is the sum of what was added, below 0 and beyond 2^53, too", async () => {
      await using harness = await openHarness(open);
      let total = 0n;
      for (const delta of [1n, 5n, -10n, 0n, 2n ** 60n, -(2n ** 61n), 3n]) {
        await harness.store.commit([add("n", delta)]);
        total += delta;
        await harness.grow(age);
        expect(await countOf(harness.store, "n")).toBe(total);
      }
    });

    test("what many commits under way at once add is all in it", async () => {
      await using harness = await openHarness(open);
      const { store } = harness;
      const commits = Array.from({ length: 100 }, (_, i) =>
        store.commit([add("n", BigInt(i)), add(`n ${i % 3}`, 1n), put(`key ${i}`)]),
      );
      const revisions = await Promise.all(commits);
      expect(new Set(revisions).size).toBe(100);
      await harness.grow(age);
      expect(await countOf(harness.store, "n")).toBe(4_950n);
      expect(await countOf(harness.store, "n 0")).toBe(34n);
      expect(await countOf(harness.store, "n 1")).toBe(33n);
      expect(await countOf(harness.store, "n 2")).toBe(33n);
      await harness.store.commit([add("n", -4_950n), add("n 0", 1n)]);
      expect(await countOf(harness.store, "n")).toBe(0n);
      expect(await countOf(harness.store, "n 0")).toBe(35n);
    });
  });

  test("a commit that loses adds nothing, though those beside it do", async () => {
    await using harness = await openHarness(open);
    const { store } = harness;
    await Promise.all([
      store.commit([add("n", 1n)]),
      expectFailure(store.commit([add("n", 10n)], [{ key: "absent", revision: 9n }]), "CONFLICT"),
      store.commit([add("n", 100n)]),
    ]);
    expect(await countOf(store, "n")).toBe(101n);
  });

  test("several additions to one counter in one commit all count", async () => {
    await using harness = await openHarness(open);
    await harness.store.commit([add("n", 1n), add("n", 2n), add("m", 5n), add("n", -4n)]);
    expect(await countOf(harness.store, "n")).toBe(-1n);
    expect(await countOf(harness.store, "m")).toBe(5n);
  });

  test("a counter's revision is that of a commit that added to it", async () => {
    await using harness = await openHarness(open);
    await harness.put("key");
    const revision = await harness.store.commit([add("n", 1n)]);
    await harness.put("key");
    expect(await harness.store.get("n")).toMatchObject({ revision, previous: 0n });
  });

  test("no watch shows them", async () => {
    await using harness = await openHarness(open);
    await harness.store.commit([add("n", 1n)]);
    const revision = await harness.store.commit([put("p"), add("n", 1n)]);
    expect(await new WatchReader(harness.store).linesUpTo(revision)).toEqual([`put p = p at ${revision} after 0`]);
  });
}

async function countOf(store: Store, key: string): Promise<bigint | undefined> {
  const entry = await store.get(key);
  return entry && Buffer.from(entry.value).readBigInt64BE();
}
