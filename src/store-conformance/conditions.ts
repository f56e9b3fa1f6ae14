import assert from "node:assert/strict";
import type { Condition } from "../store/store.ts";
import { ages, expectFailure, type Harness, openHarness, put, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeConditions({ open, describe, expect, test }: Suite): void {
  describe.each(ages)("with data written %s", (age) => {
    test("0 holds for a key that was never written, and for no other", async () => {
      await using harness = await openHarness(open);
      await harness.put("present");
      await harness.grow(age);
      await commitOn(harness, { key: "absent", revision: 0n });
      await expectConflict(harness, { key: "present", revision: 0n });
    });

    test("a revision holds for a key that was last changed by it, and for no other", async () => {
      await using harness = await openHarness(open);
      const first = await harness.put("key", "one");
      const other = await harness.put("other");
      const second = await harness.put("key", "two");
      await harness.grow(age);
      await expectConflict(harness, { key: "key", revision: first });
      await expectConflict(harness, { key: "key", revision: other });
      await expectConflict(harness, { key: "key", revision: second + 1n });
      await expectConflict(harness, { key: "key", revision: 1_000_000n });
      await expectConflict(harness, { key: "absent", revision: second });
      await commitOn(harness, { key: "key", revision: second });
    });

    test("a deleted key counts as absent: 0 holds, the revision of its deletion does not", async () => {
      await using harness = await openHarness(open);
      const created = await harness.put("key");
      const deleted = await harness.delete("key");
      await harness.grow(age);
      await expectConflict(harness, { key: "key", revision: deleted });
      await expectConflict(harness, { key: "key", revision: created });
      await commitOn(harness, { key: "key", revision: 0n });
    });

    test("they work on index entries", async () => {
      await using harness = await openHarness(open);
      const key = "index entry";
      await commitOn(harness, { key, revision: 0n });
      const revision = await harness.store.commit([{ type: "index", key, value: new Uint8Array(0) }]);
      await harness.grow(age);
      await expectConflict(harness, { key, revision: 0n });
      await commitOn(harness, { key, revision });
      await harness.store.commit([{ type: "unindex", key }]);
      await harness.grow(age);
      await expectConflict(harness, { key, revision });
      await commitOn(harness, { key, revision: 0n });
      const again = await harness.store.commit([{ type: "index", key, value: new Uint8Array(0) }]);
      await harness.grow(age);
      await expectConflict(harness, { key, revision });
      await commitOn(harness, { key, revision: again });
    });
  });

  test("one that does not hold among many that do is enough, and nothing is changed", async () => {
    await using harness = await openHarness(open);
    const revision = await harness.put("a");
    const failure = await expectFailure(
      harness.store.commit(
        [put("a", "changed"), put("b"), { type: "add", key: "n", delta: 1n }],
        [
          { key: "a", revision },
          { key: "b", revision: 0n },
          { key: "c", revision: 7n },
        ],
      ),
      "CONFLICT",
    );
    expect(failure).toMatchObject({ key: "c", applied: "no" });
    expect(harness.store.revision()).toBe(revision);
    expect(await harness.textOf("a")).toBe("a");
    expect(await harness.store.get("b")).toBeUndefined();
    expect(await harness.store.get("n")).toBeUndefined();
    const next = await harness.put("d");
    expect(await new WatchReader(harness.store, { after: revision }).linesUpTo(next)).toEqual([
      `put d = d at ${next} after 0`,
    ]);
  });

  test("a condition is about the moment before the commit's own changes, and about any key", async () => {
    await using harness = await openHarness(open);
    const revision = await harness.put("guard");
    await harness.store.commit([put("key"), put("guard", "two")], [{ key: "guard", revision }]);
    await expectFailure(harness.store.commit([put("key")], [{ key: "guard", revision }]), "CONFLICT");
  });

  test("of commits under way at once on the same revision exactly one wins", async () => {
    await using harness = await openHarness(open);
    const { store } = harness;
    let revision = 0n;
    for (let round = 0; round < 5; round += 1) {
      const conditions = [{ key: "key", revision }];
      const attempts = Array.from({ length: 20 }, (_, i) => store.commit([put("key", `${i}`)], conditions));
      const outcomes = await Promise.allSettled(attempts);
      const winners = outcomes.flatMap((outcome, i) => (outcome.status === "fulfilled" ? [[i, outcome.value]] : []));
      expect(winners).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "CONFLICT", key: "key" });
      }
      const [winner, won] = winners[0] as [number, bigint];
      expect(await harness.textOf("key")).toBe(`${winner}`);
      expect(won).toBeGreaterThan(revision);
      revision = won;
    }
    expect(store.revision()).toBe(revision);
  });

  test("a commit sees those before it that are still under way", async () => {
    await using harness = await openHarness(open);
    const { store } = harness;
    const first = store.commit([put("key", "one")]);
    const second = store.commit([put("key", "two")], [{ key: "key", revision: 0n }]);
    const third = store.commit([put("other")], [{ key: "other", revision: 0n }]);
    const [one, two, three] = await Promise.allSettled([first, second, third]);
    expect(one.status).toBe("fulfilled");
    expect(two).toMatchObject({ status: "rejected", reason: { code: "CONFLICT", applied: "no" } });
    expect(three.status).toBe("fulfilled");
    expect(await harness.textOf("key")).toBe("one");
  });

  test("counters that many add to under a condition of their own are exact", async () => {
    await using harness = await openHarness(open);
    const increment = async (): Promise<void> => {
      for (;;) {
        const entry = await harness.store.get("key");
        const next = Number((await harness.textOf("key", entry?.revision)) ?? "0") + 1;
        const commit = harness.store.commit([put("key", `${next}`)], [{ key: "key", revision: entry?.revision ?? 0n }]);
        const failure = await commit.then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failure === undefined) return;
        expect(failure).toMatchObject({ code: "CONFLICT" });
      }
    };
    await Promise.all(Array.from({ length: 12 }, increment));
    expect(await harness.textOf("key")).toBe("12");
  });
}

async function commitOn(harness: Harness, condition: Condition): Promise<void> {
  const revision = await harness.store.commit([put("written", `${condition.revision}`)], [condition]);
  assert.equal((await harness.store.get("written"))?.revision, revision);
}

async function expectConflict(harness: Harness, condition: Condition): Promise<void> {
  const before = await harness.store.get("written");
  const failure = await expectFailure(harness.store.commit([put("written", "wrong")], [condition]), "CONFLICT");
  assert.equal(failure.key, condition.key);
  assert.equal(failure.applied, "no");
  assert.deepEqual(await harness.store.get("written"), before);
}
