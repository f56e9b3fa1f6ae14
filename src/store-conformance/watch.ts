import type { StoreEvent } from "../store/store.ts";
import { expectFailure, keysOf, openHarness, put, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeWatch({ open, expect, test }: Suite): void {
  test("an event has the key, the value, its revision and that of the key's change before", async () => {
    await using harness = await openHarness(open);
    const watch = new WatchReader(harness.store);
    await harness.put("key", "one");
    await harness.put("key", "");
    await harness.delete("key");
    await harness.put("key", "two");
    expect(await watch.linesUpTo(4n)).toEqual([
      "put key = one at 1 after 0",
      "put key =  at 2 after 1",
      "delete key at 3 after 2",
      "put key = two at 4 after 3",
    ]);
  });

  test("a deletion's value is empty, and so is one of no bytes", async () => {
    await using harness = await openHarness(open);
    await harness.store.commit([put("empty", ""), put("key")]);
    await harness.delete("key");
    const watch = new WatchReader(harness.store, { prefix: "" });
    expect(await watch.eventsUpTo(2n)).toEqual([
      { type: "put", key: "empty", value: new Uint8Array(0), revision: 1n, previous: 0n },
      { type: "put", key: "key", value: new TextEncoder().encode("key"), revision: 1n, previous: 0n },
      { type: "delete", key: "key", value: new Uint8Array(0), revision: 2n, previous: 1n },
    ]);
  });

  test("it is registered when watch() returns: what is committed before the first next() is not missed", async () => {
    await using harness = await openHarness(open);
    await harness.put("before");
    const watch = new WatchReader(harness.store, { after: harness.store.revision() });
    await harness.put("one");
    await harness.put("two");
    expect(await watch.linesUpTo(3n)).toEqual(["put one = one at 2 after 0", "put two = two at 3 after 0"]);
  });

  test("it waits for what is still to come", async () => {
    await using harness = await openHarness(open);
    const watch = new WatchReader(harness.store);
    for (let i = 1; i <= 5; i += 1) {
      const next = watch.next();
      const revision = await harness.put("key", `${i}`);
      expect(await next).toMatchObject([{ key: "key", revision }]);
    }
  });

  test("only keys with the prefix are in it, and the key that is the prefix", async () => {
    await using harness = await openHarness(open);
    const watch = new WatchReader(harness.store, { prefix: "a/" });
    await harness.store.commit([put("a"), put("a/"), put("a/1"), put("a0"), put("b/a/")]);
    await harness.delete("a");
    await harness.delete("a/1");
    expect(await watch.linesUpTo(3n)).toEqual([
      "put a/ = a/ at 1 after 0",
      "put a/1 = a/1 at 1 after 0",
      "delete a/1 at 3 after 1",
    ]);
  });

  test("each change comes once and in order, and an array has whole commits only", async () => {
    await using harness = await openHarness(open);
    const { store } = harness;
    const early = new WatchReader(store);
    const reading = early.arraysUpTo(60n);
    const commits = Array.from({ length: 60 }, (_, i) =>
      store.commit(Array.from({ length: 1 + (i % 4) }, (__, j) => put(`key ${i % 7} ${j}`, `${i}`))),
    );
    await Promise.all(commits);
    const late = await new WatchReader(store).arraysUpTo(60n);
    const arrays = await reading;
    for (const events of [arrays.flat(), late.flat()]) {
      expect(events.map((event) => event.revision)).toEqual(
        Array.from({ length: 60 }, (_, i) => Array.from({ length: 1 + (i % 4) }, () => BigInt(i + 1))).flat(),
      );
    }
    expect(late.flat()).toEqual(arrays.flat());
    for (const list of [arrays, late]) {
      for (const [i, events] of list.entries()) {
        expect(events.length).toBeGreaterThan(0);
        expect(list[i + 1]?.[0]?.revision ?? 61n).toBeGreaterThan(events.at(-1)?.revision ?? 0n);
      }
    }
  });

  test("it shows nothing that the store's revision does not say is durable", async () => {
    await using harness = await openHarness(open);
    const { store } = harness;
    const watch = new WatchReader(store);
    const commits = Array.from({ length: 30 }, (_, i) => store.commit([put("key", `${i}`)]));
    for (let newest = 0n; newest < 30n; ) {
      const events = (await watch.next()) as StoreEvent[];
      newest = events.at(-1)?.revision ?? 0n;
      expect(newest).toBeLessThanOrEqual(store.revision());
      const entry = await store.get("key");
      expect(entry?.revision).toBeGreaterThanOrEqual(newest);
    }
    await Promise.all(commits);
  });

  test("its position is what it has handed over and was asked past; while it waits, the store's revision", async () => {
    await using harness = await openHarness(open);
    await harness.put("a");
    const watch = harness.store.watch({ prefix: "a", after: 0n });
    const iterator = watch[Symbol.asyncIterator]();
    expect(watch.position()).toBe(0n);
    await iterator.next();
    expect(watch.position()).toBe(0n);
    const waiting = iterator.next();
    await harness.put("b");
    expect(watch.position()).toBe(2n);
    const committed = await harness.put("a");
    await harness.put("b");
    expect(watch.position()).toBe(2n);
    expect((await waiting).value).toMatchObject([{ revision: committed }]);
    expect(watch.position()).toBe(2n);
    const ending = iterator.next();
    await harness.put("b");
    expect(watch.position()).toBe(5n);
    await iterator.return?.();
    await ending;
  });

  test("commits that failed are not in it", async () => {
    await using harness = await openHarness(open);
    const watch = new WatchReader(harness.store);
    await harness.put("key", "one");
    await expectFailure(harness.store.commit([put("key", "no")], [{ key: "key", revision: 0n }]), "CONFLICT");
    const last = await harness.put("key", "two");
    expect(await watch.linesUpTo(last)).toEqual(["put key = one at 1 after 0", `put key = two at ${last} after 1`]);
  });

  test("each watch has a place of its own; a slow one misses nothing and delays nobody", async () => {
    await using harness = await openHarness(open);
    const slow = new WatchReader(harness.store);
    const quick = new WatchReader(harness.store);
    await harness.put("key", "0");
    expect(await slow.next()).toHaveLength(1);
    for (let i = 1; i <= 300; i += 1) {
      const revision = await harness.put("key", `${i}`);
      if (i % 50 === 0) expect(await quick.linesUpTo(revision)).toContain(`put key = ${i} at ${i + 1} after ${i}`);
      if (i % 100 === 0) await harness.clock.advance(10_000);
    }
    const lines = await slow.linesUpTo(301n);
    expect(lines).toEqual(Array.from({ length: 300 }, (_, i) => `put key = ${i + 1} at ${i + 2} after ${i + 1}`));
  });

  test("many watches with many prefixes each get theirs", async () => {
    await using harness = await openHarness(open);
    const watches = Array.from({ length: 20 }, (_, i) => new WatchReader(harness.store, { prefix: `${i % 10}/` }));
    const reading = watches.map((watch) => watch.next());
    for (let i = 9; i >= 0; i -= 1) await harness.put(`${i}/key`);
    const read = await Promise.all(reading);
    expect(read.map((events) => keysOf(events ?? []))).toEqual(watches.map((_, i) => [`${i % 10}/key`]));
  });

  test("an abort ends it without an error: before it began, while it waits, and between events", async () => {
    await using harness = await openHarness(open);
    const early = new AbortController();
    early.abort();
    await harness.put("key");
    expect(await new WatchReader(harness.store, { signal: early.signal }).next()).toBeUndefined();

    const { signal, abort } = newAbort();
    const waiting = new WatchReader(harness.store, { after: 1n, signal });
    const next = waiting.next();
    await harness.clock.advance(1);
    abort(new Error("the reason is nobody's business here"));
    expect(await next).toBeUndefined();
    expect(await waiting.next()).toBeUndefined();

    const between = newAbort();
    const watch = new WatchReader(harness.store, { signal: between.signal });
    expect(await watch.next()).toHaveLength(1);
    await harness.put("key");
    between.abort();
    expect(await watch.next()).toBeUndefined();
  });

  test("return() ends it, also while it waits", async () => {
    await using harness = await openHarness(open);
    const watch = new WatchReader(harness.store);
    const next = watch.next();
    await harness.clock.advance(1);
    await watch.stop();
    expect(await next).toBeUndefined();
    await harness.put("key");
    expect(await watch.next()).toBeUndefined();
  });

  test("it can be left by break, and read by another for-await from its revision on", async () => {
    await using harness = await openHarness(open);
    for (let i = 1; i <= 3; i += 1) await harness.put("key", `${i}`);
    for await (const events of harness.store.watch({ prefix: "", after: 0n })) {
      expect(events[0]?.revision).toBe(1n);
      break;
    }
    expect(await new WatchReader(harness.store, { after: 2n }).linesUpTo(3n)).toEqual(["put key = 3 at 3 after 2"]);
  });

  test("what it handed out can be changed without changing the store", async () => {
    await using harness = await openHarness(open);
    await harness.put("key", "value");
    for (const event of (await new WatchReader(harness.store).next()) ?? []) event.value.fill(0);
    expect(await harness.textOf("key")).toBe("value");
    expect(await new WatchReader(harness.store).linesUpTo(1n)).toEqual(["put key = value at 1 after 0"]);
  });
}

function newAbort(): { signal: AbortSignal; abort: (reason?: unknown) => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: (reason) => controller.abort(reason) };
}
