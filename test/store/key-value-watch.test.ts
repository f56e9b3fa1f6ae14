import { describe, expect, test } from "vitest";
import { createKeyValueStore } from "../../src/store/key-value-store.ts";
import type { Store } from "../../src/store/store.ts";
import { backends, expectError, KeyValueReader, openView } from "./key-value-fixture.ts";

const texts = {
  encode: (value: string) => new TextEncoder().encode(value),
  decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes),
};
const same = (value: string) => value;
const all = { prefix: true };

describe.each(backends)("on the %s store", (backend) => {
  const openTexts = () => openView(backend, (store: Store) => createKeyValueStore(store, texts));

  test("without a revision it has only what is new, and is registered when watch() returns", async () => {
    await using view = await openTexts();
    await view.kv.put("key", "old");
    const watch = new KeyValueReader(view.kv, "key", {});
    await view.kv.put("key", "new");
    await view.kv.put("key", "newer");
    expect(await watch.lines(2, same)).toEqual([
      "put key at 2: new at 2 after old at 1",
      "put key at 3: newer at 3 after new at 2",
    ]);
  });

  test("puts over a value and deletes carry `previous`, the first put of a generation has none", async () => {
    await using view = await openTexts();
    const watch = new KeyValueReader(view.kv, "key", {});
    await view.kv.put("key", "one");
    await view.kv.put("other", "other");
    await view.kv.put("key", "");
    await view.kv.delete("key");
    await view.kv.put("key", "two");
    expect(await watch.lines(4, same)).toEqual([
      "put key at 1: one at 1",
      "put key at 3:  at 3 after one at 1",
      "delete key at 4 after  at 3",
      "put key at 5: two at 5",
    ]);
  });

  test("without `prefix` it is about that key, and no key that begins with it", async () => {
    await using view = await openTexts();
    const watch = new KeyValueReader(view.kv, "key", { revision: 0n });
    for (const key of ["keys", "ke", "key/", "key"]) await view.kv.put(key, "value");
    expect(await watch.lines(1, same)).toEqual(["put key at 4: value at 4"]);
  });

  test("with `prefix` it is about all keys that begin so, the key itself included, and '' is all", async () => {
    await using view = await openTexts();
    const some = new KeyValueReader(view.kv, "a/", { ...all, revision: 0n });
    const every = new KeyValueReader(view.kv, "", all);
    for (const key of ["a", "a/", "b", "a/1"]) await view.kv.put(key, key);
    await view.kv.delete("a/");
    expect(await some.lines(3, same)).toEqual([
      "put a/ at 2: a/ at 2",
      "put a/1 at 4: a/1 at 4",
      "delete a/ at 5 after a/ at 2",
    ]);
    expect(await every.lines(5, same)).toHaveLength(5);
  });

  describe("with a revision", () => {
    test("it begins with what exists at it, ordered by revision, and goes on with every later change", async () => {
      await using view = await openTexts();
      const { kv } = view;
      await kv.put("c", "c1");
      await kv.put("b", "b1");
      await kv.put("a", "a1");
      await kv.put("c", "c2");
      await kv.put("d", "d1");
      await kv.delete("d");
      await kv.put("b", "b2");
      const watch = new KeyValueReader(kv, "", { ...all, revision: 6n });
      await kv.put("d", "d2");
      await kv.delete("a");
      expect(await watch.lines(6, same)).toEqual([
        "put b at 2: b1 at 2",
        "put a at 3: a1 at 3",
        "put c at 4: c2 at 4 after c1 at 1",
        "put b at 7: b2 at 7 after b1 at 2",
        "put d at 8: d2 at 8",
        "delete a at 9 after a1 at 3",
      ]);
    });

    test("0 means now", async () => {
      await using view = await openTexts();
      await view.kv.put("key", "one");
      await view.kv.put("key", "two");
      const watch = new KeyValueReader(view.kv, "key", { revision: 0n });
      await view.kv.put("key", "three");
      expect(await watch.lines(2, same)).toEqual([
        "put key at 2: two at 2 after one at 1",
        "put key at 3: three at 3 after two at 2",
      ]);
    });

    test("what is deleted at it is not shown, and what is deleted later is, in its place", async () => {
      await using view = await openTexts();
      await view.kv.put("gone", "value");
      await view.kv.delete("gone");
      await view.kv.put("a", "value");
      const revision = await view.kv.put("b", "value");
      await view.kv.delete("a");
      await view.kv.put("c", "value");
      const watch = new KeyValueReader(view.kv, "", { ...all, revision });
      expect(await watch.lines(4, same)).toEqual([
        "put a at 3: value at 3",
        "put b at 4: value at 4",
        "delete a at 5 after value at 3",
        "put c at 6: value at 6",
      ]);
    });

    test("from every revision it is the state then and the changes since, each once and in order", async () => {
      await using view = await openTexts();
      const { kv } = view;
      for (let i = 1; i <= 30; i += 1) {
        if (i % 7 === 0) await kv.delete(`key ${(i - 1) % 3}`);
        else await kv.put(`key ${i % 3}`, `${i}`);
      }
      for (let revision = 1n; revision <= 30n; revision += 1n) {
        const watch = new KeyValueReader(kv, "", { ...all, revision });
        const live = await kv.listKeys("");
        const state = new Map<string, bigint>();
        let newest = 0n;
        while (newest < 30n) {
          const event = await watch.next();
          if (event === undefined) break;
          expect(event.revision).toBeGreaterThan(newest);
          newest = event.revision;
          if (newest > revision) expect(event.previous?.revision).toBe(state.get(event.key));
          const before = await kv.get(event.key, { revision: event.revision - 1n || undefined });
          if (event.revision > 1n) expect(event.previous).toEqual(before);
          if (event.type === "delete") state.delete(event.key);
          else state.set(event.key, event.revision);
        }
        expect([...state.keys()].sort()).toEqual(live);
      }
    });

    test("more than a page of keys are in order, too", async () => {
      await using view = await openTexts();
      const keys = Array.from({ length: 600 }, (_, i) => `key ${(i * 7) % 600}`);
      for (const key of keys) await view.kv.put(key, "value");
      const watch = new KeyValueReader(view.kv, "", { ...all, revision: 0n });
      await view.kv.put("last", "value");
      const lines = await watch.lines(601, same);
      expect(lines).toEqual([...keys, "last"].map((key, i) => `put ${key} at ${i + 1}: value at ${i + 1}`));
    });

    test("one to come is OUT_OF_RANGE, even the next, and whatever is committed later", async () => {
      await using view = await openTexts();
      const early = new KeyValueReader(view.kv, "key", { revision: 1n });
      await view.kv.put("key", "one");
      await expectError(early.next(), "OUT_OF_RANGE");
      await expectError(new KeyValueReader(view.kv, "", { ...all, revision: 2n }).next(), "OUT_OF_RANGE");
      expect(view.store.revision()).toBe(1n);
    });

    test("one whose history is gone is OUT_OF_RANGE, and names the first revision there is", async () => {
      await using view = await openTexts();
      await view.kv.put("key", "one");
      await view.kv.put("key", "two");
      await view.letHistoryGo();
      const error = await expectError(new KeyValueReader(view.kv, "key", { revision: 1n }).next(), "OUT_OF_RANGE");
      expect(error.firstRevision).toBe(2n);
      const watch = new KeyValueReader(view.kv, "key", { revision: 2n });
      await view.kv.put("key", "three");
      // The value before the first is gone with its history.
      expect(await watch.lines(2, same)).toEqual(["put key at 2: two at 2", "put key at 3: three at 3 after two at 2"]);
    });
  });

  test("a consumer past which history is pruned gets OUT_OF_RANGE, and no gap", async () => {
    await using view = await openTexts();
    const watch = new KeyValueReader(view.kv, "key", {});
    await view.kv.put("key", "one");
    expect(await watch.lines(1, same)).toEqual(["put key at 1: one at 1"]);
    await view.kv.put("key", "two");
    await view.letHistoryGo();
    const error = await expectError(watch.next(), "OUT_OF_RANGE");
    expect(error.firstRevision).toBe(2n);
  });

  test("an abort ends it without an error: before it began, while it waits, between events", async () => {
    await using view = await openTexts();
    const { kv } = view;
    const aborted = AbortSignal.abort(new Error("no"));
    expect(await new KeyValueReader(kv, "key", { revision: 0n, signal: aborted }).next()).toBeUndefined();
    expect(await new KeyValueReader(kv, "key", { revision: 9n, signal: aborted }).next()).toBeUndefined();

    const controller = new AbortController();
    const waiting = new KeyValueReader(kv, "key", { signal: controller.signal });
    const between = new KeyValueReader(kv, "", { ...all, revision: 0n, signal: controller.signal });
    await kv.put("a", "value");
    await kv.put("b", "value");
    expect(await between.lines(1, same)).toEqual(["put a at 1: value at 1"]);
    const next = waiting.next();
    await view.clock.advance(1);
    controller.abort(new Error("the reason is nobody's business here"));
    expect(await next).toBeUndefined();
    expect(await between.next()).toBeUndefined();
  });

  test("break, and return() while it waits, end it", async () => {
    await using view = await openTexts();
    await view.kv.put("key", "value");
    for await (const event of view.kv.watch("key", { revision: 0n })) {
      expect(event.key).toBe("key");
      break;
    }
    const watch = new KeyValueReader(view.kv, "key", {});
    const next = watch.next();
    await view.clock.advance(1);
    await watch.stop();
    expect(await next).toBeUndefined();
  });

  test("an empty key without `prefix` is INVALID_ARGUMENT", async () => {
    await using view = await openTexts();
    await expectError(new KeyValueReader(view.kv, "", {}).next(), "INVALID_ARGUMENT");
    await expectError(new KeyValueReader(view.kv, "\ud800", all).next(), "INVALID_ARGUMENT");
    await expectError(new KeyValueReader(view.kv, "key", { revision: -1n }).next(), "INVALID_ARGUMENT");
  });
});
