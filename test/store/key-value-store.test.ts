import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { createKeyValueStore, type KeyValueStore } from "../../src/store/key-value-store.ts";
import type { Store } from "../../src/store/store.ts";
import { createKVStore } from "../../src/store/task-store.ts";
import { backends, eventLine, expectError, KeyValueReader, openView } from "./key-value-fixture.ts";

/** A status that is told from others by its metadata. */
function status(metadata: string): TaskStatus {
  return create(TaskStatusSchema, { metadata });
}

const metadataOf = (value: TaskStatus) => value.metadata;

describe.each(backends)("on the %s store", (backend) => {
  const openStatuses = () =>
    openView(backend, (store: Store): KeyValueStore<TaskStatus> => {
      return createKeyValueStore(store, {
        encode: (value: TaskStatus) => toBinary(TaskStatusSchema, value),
        decode: (bytes) => fromBinary(TaskStatusSchema, bytes),
      });
    });

  describe("put", () => {
    test("answers the revision, under which get has the value", async () => {
      await using view = await openStatuses();
      const first = await view.kv.put("key", status("one"));
      const second = await view.kv.put("key", status("two"));
      expect(second).toBeGreaterThan(first);
      expect(await view.kv.get("key")).toEqual({ value: status("two"), revision: second });
    });

    test("with a revision it succeeds only if the latest is that", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      const first = await kv.put("key", status("one"));
      const second = await kv.put("key", status("two"), { revision: first });
      const other = await kv.put("other", status("other"));
      for (const revision of [first, other, other + 1n, other + 1_000n, 0n]) {
        await expectError(kv.put("key", status("no"), { revision }), "CONFLICT");
      }
      expect(await kv.get("key")).toEqual({ value: status("two"), revision: second });
      expect(view.store.revision()).toBe(other);
    });

    test("with revision 0 it succeeds only if the key is absent, which a deleted one is", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      await kv.put("key", status("one"), { revision: 0n });
      await expectError(kv.put("key", status("two"), { revision: 0n }), "CONFLICT");
      await kv.delete("key");
      const again = await kv.put("key", status("three"), { revision: 0n });
      expect(await kv.get("key")).toEqual({ value: status("three"), revision: again });
    });

    test("the revision of a deletion is a conflict, and so is any of an absent key", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      const created = await kv.put("key", status("one"));
      await kv.delete("key");
      const tombstone = view.store.revision();
      await expectError(kv.put("key", status("two"), { revision: tombstone }), "CONFLICT");
      await expectError(kv.put("key", status("two"), { revision: created }), "CONFLICT");
      await expectError(kv.put("never", status("two"), { revision: tombstone }), "CONFLICT");
      expect(await kv.listKeys("")).toEqual([]);
    });

    test("an empty or ill-formed key, a revision below 0 and no value are INVALID_ARGUMENT", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      await expectError(kv.put("", status("one")), "INVALID_ARGUMENT");
      await expectError(kv.put("\ud800", status("one")), "INVALID_ARGUMENT");
      await expectError(kv.put("key", status("one"), { revision: -1n }), "INVALID_ARGUMENT");
      await expectError(kv.put("key", undefined as unknown as TaskStatus), "INVALID_ARGUMENT");
      await expectError(kv.put("key", create(TaskStatusSchema, { attempt: -1 })), "INVALID_ARGUMENT");
      expect(view.store.revision()).toBe(0n);
    });

    test("many without a revision at once all succeed, each under its own", async () => {
      await using view = await openStatuses();
      const puts = Array.from({ length: 20 }, (_, i) => view.kv.put("key", status(`${i}`)));
      const revisions = await Promise.all(puts);
      expect(new Set(revisions).size).toBe(20);
      for (const [i, revision] of revisions.entries()) {
        expect(await view.kv.get("key", { revision })).toEqual({ value: status(`${i}`), revision });
      }
    });

    test("of many with the same revision at once exactly one succeeds", async () => {
      await using view = await openStatuses();
      const revision = await view.kv.put("key", status("one"));
      const puts = Array.from({ length: 20 }, (_, i) => view.kv.put("key", status(`${i}`), { revision }));
      const outcomes = await Promise.allSettled(puts);
      expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected")
          expect(outcome.reason).toMatchObject({ name: "KeyValueError", code: "CONFLICT" });
      }
    });
  });

  describe("get", () => {
    test("answers as of a revision, and 0 means now", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      const first = await kv.put("key", status("one"));
      const other = await kv.put("other", status("other"));
      const second = await kv.put("key", status("two"));
      expect(await kv.get("key", { revision: first })).toEqual({ value: status("one"), revision: first });
      expect(await kv.get("key", { revision: other })).toEqual({ value: status("one"), revision: first });
      expect(await kv.get("key", { revision: second })).toEqual({ value: status("two"), revision: second });
      expect(await kv.get("key", { revision: 0n })).toEqual({ value: status("two"), revision: second });
    });

    test("is undefined before the creation and after the deletion", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      const before = await kv.put("other", status("other"));
      await kv.put("key", status("one"));
      await kv.delete("key");
      const deleted = view.store.revision();
      await kv.put("key", status("two"));
      expect(await kv.get("key", { revision: before })).toBeUndefined();
      expect(await kv.get("key", { revision: deleted })).toBeUndefined();
      expect(await kv.get("never")).toBeUndefined();
    });

    test("a revision to come is OUT_OF_RANGE, even the next: nothing but a commit raises the store's", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      await expectError(kv.get("key", { revision: 1n }), "OUT_OF_RANGE");
      const revision = await kv.put("key", status("one"));
      await expectError(kv.put("key", status("no"), { revision: revision + 1n }), "CONFLICT");
      await expectError(kv.delete("never"), "NOT_FOUND");
      await kv.listKeys("");
      expect(
        (await expectError(kv.get("key", { revision: revision + 1n }), "OUT_OF_RANGE")).firstRevision,
      ).toBeUndefined();
      expect(view.store.revision()).toBe(revision);
    });

    test("a value of no bytes is a value", async () => {
      await using view = await openStatuses();
      const revision = await view.kv.put("key", create(TaskStatusSchema));
      expect((await view.store.get("key"))?.value).toHaveLength(0);
      expect(await view.kv.get("key")).toEqual({ value: create(TaskStatusSchema), revision });
    });

    test("keys are kept as given", async () => {
      await using view = await openStatuses();
      const keys = ["/tasks/c/t", "/tasks//t/", "..", "a\0b", " ", "\u00e9", "e\u0301", "%2F", "\u{1f600}"];
      for (const key of keys) await view.kv.put(key, status(key));
      for (const key of keys) expect(metadataOf((await view.kv.get(key))?.value as TaskStatus)).toBe(key);
      expect([...(await view.kv.listKeys(""))].sort()).toEqual([...keys].sort());
    });

    test("history that is gone is OUT_OF_RANGE, and names the first revision there is", async () => {
      await using view = await openStatuses();
      const first = await view.kv.put("key", status("one"));
      await view.kv.put("key", status("two"));
      await view.letHistoryGo();
      const error = await expectError(view.kv.get("key", { revision: first }), "OUT_OF_RANGE");
      expect(error.firstRevision).toBe(2n);
      expect(await view.kv.get("key", { revision: 2n })).toEqual({ value: status("two"), revision: 2n });
      expect(await view.kv.get("key")).toEqual({ value: status("two"), revision: 2n });
    });
  });

  describe("delete", () => {
    test("makes the key absent", async () => {
      await using view = await openStatuses();
      await view.kv.put("key", status("one"));
      await view.kv.delete("key");
      expect(await view.kv.get("key")).toBeUndefined();
    });

    test("of an absent key is NOT_FOUND, of a deleted one, too", async () => {
      await using view = await openStatuses();
      await expectError(view.kv.delete("key"), "NOT_FOUND");
      await view.kv.put("key", status("one"));
      await view.kv.delete("key");
      await expectError(view.kv.delete("key"), "NOT_FOUND");
    });

    test("with a revision it succeeds only if the latest is that", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      const first = await kv.put("key", status("one"));
      const second = await kv.put("key", status("two"));
      await expectError(kv.delete("key", { revision: first }), "CONFLICT");
      await expectError(kv.delete("key", { revision: second + 1n }), "CONFLICT");
      expect(await kv.get("key")).toEqual({ value: status("two"), revision: second });
      await kv.delete("key", { revision: second });
      await expectError(kv.delete("key", { revision: second }), "CONFLICT");
      await expectError(kv.delete("key", { revision: view.store.revision() }), "CONFLICT");
    });

    test("with revision 0 and with an empty key it is INVALID_ARGUMENT", async () => {
      await using view = await openStatuses();
      await view.kv.put("key", status("one"));
      await expectError(view.kv.delete("key", { revision: 0n }), "INVALID_ARGUMENT");
      await expectError(view.kv.delete("never", { revision: 0n }), "INVALID_ARGUMENT");
      await expectError(view.kv.delete(""), "INVALID_ARGUMENT");
    });

    test("of many at once exactly one succeeds", async () => {
      await using view = await openStatuses();
      await view.kv.put("key", status("one"));
      const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => view.kv.delete("key")));
      expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
    });
  });

  describe("listKeys", () => {
    test("has the keys with a plain prefix in byte order; '' is all; deleted ones are not in it", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      for (const key of ["b", "a/2", "a", "a/1", "\u{1f600}", "\uffff", "a0"]) await kv.put(key, status(key));
      await kv.put("a/3", status("gone"));
      await kv.delete("a/3");
      expect(await kv.listKeys("")).toEqual(["a", "a/1", "a/2", "a0", "b", "\uffff", "\u{1f600}"]);
      expect(await kv.listKeys("a/")).toEqual(["a/1", "a/2"]);
      expect(await kv.listKeys("a")).toEqual(["a", "a/1", "a/2", "a0"]);
      expect(await kv.listKeys("c")).toEqual([]);
    });

    test("is of one moment, however many pages it takes and whatever is committed meanwhile", async () => {
      await using view = await openStatuses();
      const { kv, store } = view;
      const fillers = Array.from({ length: 600 }, (_, i) => `m ${String(i).padStart(3, "0")}`);
      await store.commit(fillers.map((key) => ({ type: "put", key, value: new Uint8Array(0) })));
      // Both come and go together: one of the first page, one of the last.
      const pair = ["a", "z"];
      let listing = true;
      const moving = (async () => {
        for (let i = 0; listing; i += 1) {
          const value = new Uint8Array(0);
          await store.commit(pair.map((key) => (i % 2 === 0 ? { type: "put", key, value } : { type: "delete", key })));
        }
      })();
      for (let i = 0; i < 30; i += 1) {
        const found = (await kv.listKeys("")).filter((key) => pair.includes(key));
        expect([0, 2]).toContain(found.length);
      }
      listing = false;
      await moving;
    });

    test("of more keys than there is time for is finished, with what there is later", async () => {
      await using view = await openStatuses();
      const { store } = view;
      const keys = Array.from({ length: 600 }, (_, i) => `key ${String(i).padStart(3, "0")}`);
      await store.commit(keys.map((key) => ({ type: "put", key, value: new Uint8Array(0) })));
      let scans = 0;
      const kv = createKVStore({
        ...storeMethods(store),
        scan: async (options) => {
          scans += 1;
          if (scans === 2) {
            await store.commit([{ type: "delete", key: "key 599" }]);
            await view.letHistoryGo();
          }
          return store.scan(options);
        },
      });
      expect(await kv.listKeys("key")).toEqual(keys.slice(0, -1));
    });

    test("has at most `limit` keys, and no limit or 0 is all", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      const keys = Array.from({ length: 600 }, (_, i) => `key ${String(i).padStart(3, "0")}`);
      for (const key of keys) await kv.put(key, status(key));
      for (const limit of [1, 255, 256, 257, 599, 600, 601]) {
        expect(await kv.listKeys("key", { limit })).toEqual(keys.slice(0, limit));
      }
      expect(await kv.listKeys("key")).toEqual(keys);
      expect(await kv.listKeys("key", { limit: 0 })).toEqual(keys);
      await expectError(kv.listKeys("", { limit: -1 }), "INVALID_ARGUMENT");
      await expectError(kv.listKeys("", { limit: 1.5 }), "INVALID_ARGUMENT");
      await expectError(kv.listKeys("\ud800"), "INVALID_ARGUMENT");
    });
  });

  describe("history", () => {
    test("is oldest first, up to the revision given, with values only when asked", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      const revisions: bigint[] = [];
      for (let i = 0; i < 5; i += 1) {
        revisions.push(await kv.put("key", status(`${i}`)));
        await kv.put("other", status(`${i}`));
      }
      for (const [i, revision] of revisions.entries()) {
        const upTo = revisions.slice(0, i + 1);
        const plain = await kv.history("key", { revision });
        expect(plain).toEqual(upTo.map((each) => ({ key: "key", revision: each })));
        expect(plain.every((entry) => !("value" in entry))).toBe(true);
        expect(await kv.history("key", { revision: revision + 1n, includeValues: true })).toEqual(
          upTo.map((each, at) => ({ key: "key", revision: each, value: status(`${at}`) })),
        );
      }
      expect(await kv.history("key", { revision: 0n })).toEqual(await kv.history("key"));
      expect(await kv.history("key")).toHaveLength(5);
    });

    test("begins at the latest creation, while an older revision shows the generation before", async () => {
      await using view = await openStatuses();
      const { kv } = view;
      await kv.put("key", status("one"));
      const two = await kv.put("key", status("two"));
      await kv.delete("key");
      const deleted = view.store.revision();
      await expectError(kv.history("key"), "NOT_FOUND");
      await expectError(kv.history("key", { revision: deleted }), "NOT_FOUND");
      const valuesOf = async (revision?: bigint) =>
        (await kv.history("key", { revision, includeValues: true })).map((entry) => entry.value?.metadata);
      expect(await valuesOf(two)).toEqual(["one", "two"]);
      await kv.put("key", status("three"));
      await kv.put("key", status("four"));
      expect(await valuesOf()).toEqual(["three", "four"]);
      expect(await valuesOf(two)).toEqual(["one", "two"]);
    });

    test("of an absent key is NOT_FOUND, of an empty one INVALID_ARGUMENT, at a revision to come OUT_OF_RANGE", async () => {
      await using view = await openStatuses();
      await view.kv.put("other", status("one"));
      await expectError(view.kv.history("key"), "NOT_FOUND");
      await expectError(view.kv.history(""), "INVALID_ARGUMENT");
      await expectError(view.kv.history("key", { revision: 2n }), "OUT_OF_RANGE");
      await expectError(view.kv.history("other", { revision: 2n }), "OUT_OF_RANGE");
    });

    test("goes back as far as there is history", async () => {
      await using view = await openStatuses();
      await view.kv.put("key", status("one"));
      await view.kv.put("key", status("two"));
      await view.letHistoryGo();
      await view.kv.put("key", status("three"));
      expect((await view.kv.history("key")).map((entry) => entry.revision)).toEqual([2n, 3n]);
      const error = await expectError(view.kv.history("key", { revision: 1n }), "OUT_OF_RANGE");
      expect(error.firstRevision).toBe(2n);
    });
  });

  test("once the store is closed all are UNAVAILABLE, and watches end", async () => {
    await using view = await openStatuses();
    const { kv, store } = view;
    await kv.put("key", status("one"));
    const watch = new KeyValueReader(kv, "key", {});
    const next = watch.next();
    await store.close();
    expect(await next).toBeUndefined();
    for (const call of [
      kv.put("key", status("two")),
      kv.get("key"),
      kv.delete("key"),
      kv.listKeys(""),
      kv.history("key"),
    ]) {
      await expectError(call, "UNAVAILABLE");
    }
  });

  test("bytes that are not those of a value are DATA_LOSS, and can be deleted or replaced", async () => {
    await using view = await openStatuses();
    const { kv, store } = view;
    await store.commit([{ type: "put", key: "key", value: new Uint8Array([0xff]) }]);
    await expectError(kv.get("key"), "DATA_LOSS");
    await expectError(kv.history("key", { includeValues: true }), "DATA_LOSS");
    expect(await kv.listKeys("")).toEqual(["key"]);
    const watch = new KeyValueReader(kv, "key", { revision: 0n });
    expect(eventLine(await watch.next(), metadataOf)).toBe("put key at 1, damaged");
    await kv.put("key", status("two"));
    expect(eventLine(await watch.next(), metadataOf)).toBe("put key at 2: two at 2, damaged");
    await kv.delete("key");
    expect(eventLine(await watch.next(), metadataOf)).toBe("delete key at 3 after two at 2");
  });
});

/** The methods of a store, for one that does some of them otherwise. */
function storeMethods(store: Store): Store {
  return {
    kind: store.kind,
    durability: store.durability,
    revision: () => store.revision(),
    firstRevision: () => store.firstRevision(),
    get: (key, options) => store.get(key, options),
    scan: (options) => store.scan(options),
    commit: (changes, conditions, next) => store.commit(changes, conditions, next),
    watch: (options) => store.watch(options),
    reopen: () => store.reopen(),
    close: () => store.close(),
  };
}
