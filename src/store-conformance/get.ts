import { ages, bytes, expectFailure, line, openHarness } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeGet({ open, describe, expect, test }: Suite): void {
  test("a key that was never written is absent", async () => {
    await using harness = await openHarness(open);
    expect(await harness.store.get("key")).toBeUndefined();
    await harness.put("ke");
    await harness.put("keys");
    expect(await harness.store.get("key")).toBeUndefined();
  });

  describe.each(ages)("read %s", (age) => {
    test("an entry has the key, the value, its revision and that of the change before", async () => {
      await using harness = await openHarness(open);
      const first = await harness.put("key", "one");
      const second = await harness.put("key", "two");
      await harness.put("other");
      await harness.grow(age);
      const entry = await harness.store.get("key");
      expect(entry).toMatchObject({ key: "key", value: bytes("two"), revision: second, previous: first });
      expect(entry?.corrupt).toBeUndefined();
      expect(await harness.store.get("key", { revision: first })).toMatchObject({
        key: "key",
        value: bytes("one"),
        revision: first,
        previous: 0n,
      });
    });

    test("the chain of previous revisions goes over deletions", async () => {
      await using harness = await openHarness(open);
      const created = await harness.put("key", "one");
      const deleted = await harness.delete("key");
      const again = await harness.put("key", "two");
      await harness.grow(age);
      expect(await harness.store.get("key")).toMatchObject({ revision: again, previous: deleted });
      expect(await harness.store.get("key", { revision: deleted })).toBeUndefined();
      expect(await harness.store.get("key", { revision: created })).toMatchObject({ revision: created, previous: 0n });
    });

    test("a deleted key is absent", async () => {
      await using harness = await openHarness(open);
      await harness.put("key");
      await harness.grow(age);
      await harness.delete("key");
      await harness.grow(age);
      expect(await harness.store.get("key")).toBeUndefined();
    });

    test("a deletion is an entry for who asks for those", async () => {
      await using harness = await openHarness(open);
      const get = (key: string, revision?: bigint) => harness.store.get(key, { deleted: true, revision });
      const created = await harness.put("key", "one");
      const deleted = await harness.delete("key");
      await harness.put("other");
      await harness.grow(age);
      const deletion = { key: "key", value: new Uint8Array(0), revision: deleted, previous: created, deleted: true };
      expect(await get("key")).toEqual(deletion);
      expect(await get("key", harness.store.revision())).toEqual(deletion);
      expect((await get("key", created))?.deleted).toBeUndefined();
      expect(await get("never written")).toBeUndefined();
      const again = await harness.put("key", "two");
      await harness.grow(age);
      const live = await get("key");
      expect(live).toMatchObject({ value: bytes("two"), revision: again, previous: deleted });
      expect(live?.deleted).toBeUndefined();
    });

    test("as of a revision it answers what was there then, whatever revision that is", async () => {
      await using harness = await openHarness(open);
      const expected: (string | undefined)[] = [undefined];
      const remember = (revision: bigint, value: string | undefined): void => {
        while (expected.length < Number(revision)) expected.push(expected.at(-1));
        expected.push(value);
      };
      for (let i = 0; i < 12; i += 1) {
        if (i % 4 === 3) remember(await harness.delete("key"), undefined);
        else remember(await harness.put("key", `value ${i}`), `value ${i}`);
        if (i % 3 === 0) await harness.put("other", `${i}`);
        if (i % 5 === 4) await harness.grow(age);
      }
      await harness.grow(age);
      while (expected.length <= Number(harness.store.revision())) expected.push(expected.at(-1));
      const actual = await Promise.all(expected.map((_, revision) => harness.textOf("key", BigInt(revision))));
      expect(actual).toEqual(expected);
    });

    test("a value of no bytes is a value", async () => {
      await using harness = await openHarness(open);
      const revision = await harness.put("key", "");
      await harness.grow(age);
      expect(await harness.store.get("key")).toMatchObject({ value: new Uint8Array(0), revision });
      expect(await harness.store.get("key", { revision })).toMatchObject({ value: new Uint8Array(0), revision });
    });

    test("a value of 1 MiB, of any bytes, comes back byte for byte", async () => {
      await using harness = await openHarness(open);
      const value = new Uint8Array(1024 ** 2).map((_, i) => (i * 31) ^ (i >> 8));
      const revision = await harness.put("key", value);
      await harness.put("key", "small");
      await harness.grow(age);
      const entry = await harness.store.get("key", { revision });
      expect(Buffer.compare(entry?.value as Uint8Array, value)).toBe(0);
    });
  });

  test("before all commits there is nothing", async () => {
    await using harness = await openHarness(open);
    expect(await harness.store.get("key", { revision: 0n })).toBeUndefined();
    await harness.put("key");
    expect(await harness.store.get("key", { revision: 0n })).toBeUndefined();
  });

  test("a revision ahead of the store's is FUTURE, the very next included, and asking does not raise it", async () => {
    await using harness = await openHarness(open);
    await expectFailure(harness.store.get("key", { revision: 1n }), "FUTURE");
    const revision = await harness.put("key");
    for (const ahead of [1n, 2n, 1_000_000_000_000n]) {
      await expectFailure(harness.store.get("key", { revision: revision + ahead }), "FUTURE");
      await expectFailure(harness.store.get("absent", { revision: revision + ahead }), "FUTURE");
    }
    expect(harness.store.revision()).toBe(revision);
    await harness.put("other");
    expect(await harness.store.get("key", { revision: revision + 1n })).toMatchObject({ revision });
  });

  test("what it returned can be changed without changing the store", async () => {
    await using harness = await openHarness(open);
    await harness.put("key", "value");
    (await harness.store.get("key"))?.value.fill(0);
    expect(await harness.textOf("key")).toBe("value");
    await harness.put("key", "newer");
    (await harness.store.get("key", { revision: 1n }))?.value.fill(0);
    expect(await harness.textOf("key", 1n)).toBe("value");
  });

  test("many reads at once each get their own answer", async () => {
    await using harness = await openHarness(open);
    for (let i = 0; i < 50; i += 1) await harness.put(`key ${i}`, `${i}`);
    const entries = await Promise.all(Array.from({ length: 50 }, (_, i) => harness.store.get(`key ${i}`)));
    expect(entries.map((entry) => entry && line(entry))).toEqual(
      Array.from({ length: 50 }, (_, i) => `put key ${i} = ${i} at ${i + 1} after 0`),
    );
  });
}
