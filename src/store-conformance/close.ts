import type { Store, StoreError } from "../store/store.ts";
import { expectFailure, openHarness, put, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

/** Each method that can fail, with a call that succeeds on an open store. */
const calls: readonly (readonly [name: string, call: (store: Store) => Promise<unknown>])[] = [
  ["get", (store) => store.get("key")],
  ["get as of a revision", (store) => store.get("key", { revision: 0n })],
  ["scan", (store) => store.scan({ prefix: "", limit: 1 })],
  ["commit", (store) => store.commit([put("key")])],
  ["commit without changes", (store) => store.commit([])],
  ["reopen", (store) => store.reopen()],
];

export function describeClose({ open, describe, expect, test }: Suite): void {
  describe.each(calls)("%s", (_, call) => {
    test("works while the store is open", async () => {
      await using harness = await openHarness(open);
      await call(harness.store);
    });

    test("is UNAVAILABLE once it is closed, as soon as close() was called", async () => {
      await using harness = await openHarness(open);
      const { store } = harness;
      const closed = store.close();
      const failure = await expectFailure(call(store), "UNAVAILABLE");
      expect(failure.applied).toBe("no");
      await closed;
      await expectFailure(call(store), "UNAVAILABLE");
    });
  });

  test("a watch works while the store is open, and ends when it is closed", async () => {
    await using harness = await openHarness(open);
    const watch = new WatchReader(harness.store);
    await harness.put("key");
    expect(await watch.next()).toHaveLength(1);
    const next = watch.next();
    await harness.store.close();
    expect(await next).toBeUndefined();
    expect(await watch.next()).toBeUndefined();
  });

  test("a watch of a closed store ends at once", async () => {
    await using harness = await openHarness(open);
    await harness.put("key");
    await harness.store.close();
    expect(await new WatchReader(harness.store).next()).toBeUndefined();
  });

  test("it may be called again, and at the same time", async () => {
    await using harness = await openHarness(open);
    await harness.put("key");
    await Promise.all([harness.store.close(), harness.store.close()]);
    await harness.store.close();
  });

  test("every commit under way is settled, and those that resolved are in the data", async () => {
    await using harness = await openHarness(open);
    const commits = Array.from({ length: 30 }, (_, i) => harness.put(`key ${i}`));
    await harness.store.close();
    const outcomes = await Promise.allSettled(commits);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "UNAVAILABLE" });
    }
    if (!(await harness.restart())) return;
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === "rejected" && (outcome.reason as StoreError).applied === "maybe") continue;
      const entry = await harness.store.get(`key ${i}`);
      expect(entry?.revision).toBe(outcome.status === "fulfilled" ? outcome.value : undefined);
    }
  });

  test("no timer of the store is left", async () => {
    await using harness = await openHarness(open);
    await harness.put("key");
    await harness.clock.advance(5_000);
    await harness.put("key");
    await harness.store.close();
    expect(harness.clock.pending()).toBe(0);
  });

  test("what was committed is there at the next opening, history and all", async () => {
    await using harness = await openHarness(open);
    const first = await harness.put("key", "one");
    const second = await harness.put("key", "two");
    const third = await harness.delete("other");
    if (!(await harness.restart())) return;
    expect(harness.store.revision()).toBe(third);
    expect(await harness.textOf("key", first)).toBe("one");
    expect(await harness.store.get("key")).toMatchObject({ revision: second, previous: first });
    expect(await harness.put("key", "three")).toBeGreaterThan(third);
  });
}
