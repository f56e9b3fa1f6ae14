import { ages, expectFailure, type Harness, line, openHarness, put, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeWatchResume({ open, describe, expect, test }: Suite): void {
  describe.each(ages)("of what was written %s", (age) => {
    test("cut anywhere and resumed from the last revision seen, it has neither a gap nor a repeat", async () => {
      await using harness = await openHarness(open);
      const last = await writeHistory(harness, () => harness.grow(age));
      const whole = await new WatchReader(harness.store, { prefix: "k/" }).linesUpTo(last);
      expect(whole.length).toBeGreaterThan(30);
      for (let after = 0n; after < last; after += 1n) {
        const seen = whole.filter((event) => revisionOf(event) <= after);
        const resumed = await new WatchReader(harness.store, { prefix: "k/", after }).linesUpTo(last);
        expect([...seen, ...resumed]).toEqual(whole);
      }
    });

    test("it goes over from history to what is new without a gap or a repeat", async () => {
      await using harness = await openHarness(open);
      await writeHistory(harness, () => harness.grow(age));
      const watch = new WatchReader(harness.store, { prefix: "k/" });
      const last = harness.store.revision() + 20n;
      const newer = (async () => {
        for (let i = 0; i < 20; i += 1) await harness.put("k/new", `${i}`);
      })();
      const lines = await watch.linesUpTo(last);
      await newer;
      expect(lines).toEqual(await new WatchReader(harness.store, { prefix: "k/" }).linesUpTo(last));
      expect(new Set(lines).size).toBe(lines.length);
      expect(lines.map(revisionOf)).toEqual([...lines.map(revisionOf)].sort((a, b) => Number(a - b)));
    });

    test("events are the same as what reads as of their revisions say", async () => {
      await using harness = await openHarness(open);
      const last = await writeHistory(harness, () => harness.grow(age));
      for (const event of await new WatchReader(harness.store).eventsUpTo(last)) {
        const entry = await harness.store.get(event.key, { revision: event.revision });
        if (event.type === "delete") expect(entry).toBeUndefined();
        else expect(entry && line(entry)).toBe(line(event));
        const before = await harness.store.get(event.key, { revision: event.revision - 1n });
        if (before !== undefined) expect(before.revision).toBe(event.previous);
      }
    });
  });

  test("from the store's own revision it has only what is new", async () => {
    await using harness = await openHarness(open);
    await harness.put("old");
    const watch = new WatchReader(harness.store, { after: 1n });
    await harness.put("new");
    expect(await watch.linesUpTo(2n)).toEqual(["put new = new at 2 after 0"]);
  });

  test("from a revision ahead of the store's it is FUTURE, the very next included, whatever is committed later", async () => {
    await using harness = await openHarness(open);
    await expectFailure(new WatchReader(harness.store, { after: 1n }).next(), "FUTURE");
    const revision = await harness.put("key");
    await expectFailure(new WatchReader(harness.store, { after: revision + 1n }).next(), "FUTURE");
    const early = new WatchReader(harness.store, { after: revision + 1n });
    await harness.put("key");
    await expectFailure(early.next(), "FUTURE");
  });

  test("after a restart it goes on where another left off before it", async () => {
    await using harness = await openHarness(open);
    await writeHistory(harness, async () => {});
    const before = await new WatchReader(harness.store, { prefix: "k/" }).linesUpTo(20n);
    await harness.restart();
    const after = before.map(revisionOf).at(-1) ?? 0n;
    const last = await harness.put("k/last");
    const rest = await new WatchReader(harness.store, { prefix: "k/", after }).linesUpTo(last);
    const whole = await new WatchReader(harness.store, { prefix: "k/" }).linesUpTo(last);
    expect([...before, ...rest]).toEqual(whole);
  });

  test("a large history is read in pieces, and completely", async () => {
    await using harness = await openHarness(open);
    const value = "x".repeat(64 * 1024);
    for (let i = 0; i < 60; i += 1) await harness.put(`key ${i % 5}`, value);
    await harness.clock.advance(10_000);
    for (let i = 0; i < 60; i += 1) await harness.put(`key ${i % 5}`, value);
    const revisions = (await new WatchReader(harness.store).eventsUpTo(120n)).map((event) => event.revision);
    expect(revisions).toEqual(Array.from({ length: 120 }, (_, i) => BigInt(i + 1)));
  });
}

/** Puts and deletes over a few keys, single and several a commit, with others and with no history between them. */
async function writeHistory(harness: Harness, pause: () => Promise<void>): Promise<bigint> {
  for (let i = 0; i < 12; i += 1) {
    await harness.put(`k/${i % 3}`, `${i}`);
    await harness.store.commit([put(`k/${i % 2}`, `with ${i}`), put(`k/x${i}`), put("other", `${i}`)]);
    await harness.store.commit([{ type: "add", key: "n", delta: 1n }]);
    if (i % 4 === 3) await harness.delete(`k/${i % 3}`);
    if (i % 5 === 2) await pause();
  }
  const last = await harness.put("k/0", "last");
  await pause();
  return last;
}

function revisionOf(event: string): bigint {
  return BigInt(/ at (\d+) after \d+$/.exec(event)?.[1] ?? "");
}
