import assert from "node:assert/strict";
import { expectFailure, type Harness, openHarness, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

const byTime = { historyMs: 60_000 };
const byBytes = { historyBytes: 256 * 1024 };
const bounds = [
  { bound: "old", history: byTime, prune: { stepMs: 5_000 } },
  { bound: "large", history: byBytes, prune: { stepMs: 2_000, value: "x".repeat(16 * 1024) } },
];

export function describeHistory({ open, expect, test }: Suite): void {
  test("while all history is there, the first revision is 0", async () => {
    await using harness = await openHarness(open);
    expect(harness.store.firstRevision()).toBe(0n);
    await harness.put("key");
    expect(harness.store.firstRevision()).toBe(0n);
  });

  test("history inside its bounds is kept", async () => {
    await using harness = await openHarness(open, { historyMs: 60_000, historyBytes: 1024 ** 2 });
    for (let i = 0; i < 10; i += 1) {
      await harness.put("key", `${i}`);
      await harness.clock.advance(5_000);
    }
    expect(harness.store.firstRevision()).toBe(0n);
    expect(await harness.textOf("key", 1n)).toBe("0");
  });

  test.each(bounds)("when it is too $bound it goes, below a first revision that only rises", async (given) => {
    await using harness = await openHarness(open, given.history);
    const kept = await harness.put("kept", "kept");
    await harness.put("key", "one");
    await harness.put("key", "two");
    let first = harness.store.firstRevision();
    for (let round = 0; round < 3; round += 1) {
      const target = harness.store.revision();
      await harness.put("key", `round ${round}`);
      await harness.prune(target, given.prune);
      expect(harness.store.firstRevision()).toBeGreaterThanOrEqual(first);
      expect(harness.store.firstRevision()).toBeLessThanOrEqual(harness.store.revision());
      first = harness.store.firstRevision();
      await expectGone(harness, target - 1n);
      await expectGone(harness, first - 1n);
      expect(await harness.textOf("kept", harness.store.revision())).toBe("kept");
      expect(await harness.store.get("kept")).toMatchObject({ revision: kept });
      expect(await harness.textOf("key")).toBe(`round ${round}`);
    }
  });

  test.each(bounds)("what is not too $bound can be read and watched at every revision", async (given) => {
    await using harness = await openHarness(open, given.history);
    const expected: (string | undefined)[] = [undefined];
    for (let i = 0; harness.store.firstRevision() < 20n; i += 1) {
      expect(i).toBeLessThan(2_000);
      const value = i % 7 === 6 ? undefined : `${i} ${given.prune.value ?? ""}`;
      const revision = value === undefined ? await harness.delete("key") : await harness.put("key", value);
      while (expected.length < Number(revision)) expected.push(expected.at(-1));
      expected.push(value);
      await harness.clock.advance(given.prune.stepMs);
    }
    const last = harness.store.revision();
    let read = 0;
    for (let revision = harness.store.firstRevision(); revision <= last; revision += 1n) {
      const value = await harness.unlessGone(revision, () => harness.textOf("key", revision));
      if (value === "gone") continue;
      expect(value).toBe(expected[Number(revision)]);
      const entries = await harness.unlessGone(revision, () => harness.store.scan({ prefix: "", limit: 10, revision }));
      if (entries !== "gone") expect(entries).toHaveLength(value === undefined ? 0 : 1);
      const watch = new WatchReader(harness.store, { after: revision });
      const events = revision === last ? [] : await harness.unlessGone(revision, () => watch.eventsUpTo(last));
      if (events === "gone") continue;
      const revisions = Array.from({ length: Number(last - revision) }, (_, i) => revision + 1n + BigInt(i));
      expect(events.map((event) => event.revision)).toEqual(revisions);
      read += 1;
    }
    expect(read).toBeGreaterThan(3);
  });

  test("a watch that has read everything is not hurt when that is let go", async () => {
    await using harness = await openHarness(open, byTime);
    const watch = new WatchReader(harness.store, { prefix: "key" });
    const first = await harness.put("key", "one");
    expect(await watch.linesUpTo(first)).toEqual(["put key = one at 1 after 0"]);
    const next = watch.next();
    await harness.prune(first + 1n, { stepMs: 5_000 });
    const last = await harness.put("key", "two");
    expect(await next).toMatchObject([{ key: "key", revision: last }]);
  });

  test("a slow watch whose place is gone fails with COMPACTED, and never has a silent gap", async () => {
    await using harness = await openHarness(open, byTime);
    const watch = new WatchReader(harness.store);
    await harness.put("key", "one");
    expect(await watch.next()).toHaveLength(1);
    const missed = await harness.put("key", "two");
    await harness.prune(missed, { stepMs: 5_000 });
    const failure = await expectFailure(watch.next(), "COMPACTED");
    expect(failure.firstRevision).toBeGreaterThanOrEqual(missed);
    expect(failure.firstRevision).toBeLessThanOrEqual(harness.store.firstRevision());
    expect(await watch.next()).toBeUndefined();
  });

  test("keys deleted long ago can be made anew, and conditions hold as for any absent key", async () => {
    await using harness = await openHarness(open, byTime);
    await harness.put("key", "one");
    const deleted = await harness.delete("key");
    await harness.prune(deleted + 1n, { stepMs: 5_000 });
    expect(await harness.store.get("key")).toBeUndefined();
    const change = { type: "put", key: "key", value: new Uint8Array(1) } as const;
    await expectFailure(harness.store.commit([change], [{ key: "key", revision: deleted }]), "CONFLICT");
    const revision = await harness.store.commit([change], [{ key: "key", revision: 0n }]);
    expect(await harness.store.get("key")).toMatchObject({ revision });
  });

  test("a deletion is no entry any more when history has gone past it", async () => {
    await using harness = await openHarness(open, byTime);
    await harness.put("key", "one");
    const deleted = await harness.delete("key");
    expect((await harness.store.get("key", { deleted: true }))?.revision).toBe(deleted);
    await harness.prune(deleted + 1n, { stepMs: 5_000 });
    expect(await harness.store.get("key", { deleted: true })).toBeUndefined();
  });

  test("what is gone stays gone after a restart, and the revision goes on", async () => {
    await using harness = await openHarness(open, byTime);
    await harness.put("key", "one");
    await harness.prune(2n, { stepMs: 5_000 });
    const first = harness.store.firstRevision();
    const revision = harness.store.revision();
    await harness.restart();
    expect(harness.store.revision()).toBe(revision);
    expect(harness.store.firstRevision()).toBeGreaterThanOrEqual(first);
    await expectGone(harness, first - 1n);
    const now = harness.store.firstRevision();
    expect(["one", "gone"]).toContain(await harness.unlessGone(now, () => harness.textOf("key", now)));
    expect(await harness.textOf("key", revision)).toBe("one");
    expect(await harness.put("key")).toBeGreaterThan(revision);
  });
}

/** Reads, scans and watches from the revision fail, and name the first there is. */
async function expectGone(harness: Harness, revision: bigint): Promise<void> {
  const { store } = harness;
  for (const call of [
    store.get("key", { revision }),
    store.get("absent", { revision }),
    store.scan({ prefix: "", limit: 1, revision }),
    new WatchReader(store, { after: revision }).next(),
  ]) {
    const { firstRevision } = await expectFailure(call, "COMPACTED");
    assert(firstRevision !== undefined && firstRevision > revision, "a later revision is named");
    assert(firstRevision <= store.firstRevision(), "the first revision only rises");
  }
}
