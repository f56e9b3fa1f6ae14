import { describe, expect, test } from "vitest";
import type { FoldingCodec } from "../../src/store/key-value-codec.ts";
import { KeyValueError } from "../../src/store/key-value-error.ts";
import { createKeyValueStore } from "../../src/store/key-value-store.ts";
import { type Change, type Entry, type Store, StoreError } from "../../src/store/store.ts";
import { backends, expectError, KeyValueReader, openView } from "./key-value-fixture.ts";

/** A value whose body is a key of its own when it is long, and that is indexed by its title. */
interface Note {
  readonly title: string;
  readonly body: string;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (value: Uint8Array) => new TextDecoder().decode(value);
const titleOf = (entry: Entry) => text(entry.value).split("|")[0] ?? "";
const bodyKey = (key: string) => `/bodies${key.slice("/notes".length)}`;
const indexKey = (key: string, title: string) => `/titles/${title}${key.slice("/notes".length)}`;

const notes: FoldingCodec<Note> = {
  root: "/notes/",
  async load(entry, store, revision) {
    const [title = "", body = ""] = text(entry.value).split("|");
    if (body !== "*") return { title, body };
    const stored = await store.get(bodyKey(entry.key), { revision });
    if (stored === undefined) throw new Error("the body is missing");
    return { title, body: text(stored.value) };
  },
  changes(key, before, note) {
    const changes: Change[] = [];
    const hadBody = before !== undefined && !before.corrupt && text(before.value).endsWith("|*");
    const hasBody = note !== undefined && note.body.length > 5;
    if (note?.title === "") throw new Error("a note has a title");
    if (note?.title === "forbidden") throw new KeyValueError("OUT_OF_RANGE", "of the codec's own");
    if (note === undefined) changes.push({ type: "delete", key });
    else changes.push({ type: "put", key, value: bytes(`${note.title}|${hasBody ? "*" : note.body}`) });
    if (hasBody) changes.push({ type: "put", key: bodyKey(key), value: bytes(note.body) });
    else if (hadBody) changes.push({ type: "delete", key: bodyKey(key) });
    if (before && !before.corrupt) changes.push({ type: "unindex", key: indexKey(key, titleOf(before)) });
    if (note) changes.push({ type: "index", key: indexKey(key, note.title), value: new Uint8Array(0) });
    return changes;
  },
};

const long = (word: string) => `a long ${word}`;
const bodyOf = (note: Note) => note.body;

async function keysIn(store: Store): Promise<string[]> {
  return (await store.scan({ prefix: "", limit: 100 })).map((entry) => entry.key);
}

describe.each(backends)("on the %s store", (backend) => {
  const openNotes = () => openView(backend, (store: Store) => createKeyValueStore(store, notes));

  test("a put writes what belongs to the key in the same commit, and a delete takes it away", async () => {
    await using view = await openNotes();
    const { kv, store } = view;
    const revision = await kv.put("/notes/1", { title: "t", body: long("one") });
    expect(store.revision()).toBe(revision);
    expect(await keysIn(store)).toEqual(["/bodies/1", "/notes/1", "/titles/t/1"]);
    await kv.put("/notes/1", { title: "u", body: "short" });
    expect(await keysIn(store)).toEqual(["/notes/1", "/titles/u/1"]);
    await kv.put("/notes/1", { title: "u", body: long("two") });
    await kv.delete("/notes/1");
    expect(await keysIn(store)).toEqual([]);
    expect(store.revision()).toBe(4n);
  });

  test("writers that race leave the index as the value says", async () => {
    await using view = await openNotes();
    const { kv, store } = view;
    const puts = Array.from({ length: 15 }, (_, i) => kv.put("/notes/1", { title: `t${i}`, body: long(`${i}`) }));
    await Promise.all(puts);
    const title = (await kv.get("/notes/1"))?.value.title;
    expect(await keysIn(store)).toEqual(["/bodies/1", "/notes/1", `/titles/${title}/1`]);
  });

  test("every read folds it in, as it was at the revision", async () => {
    await using view = await openNotes();
    const { kv } = view;
    const live = new KeyValueReader(kv, "/notes/1", {});
    const bodies = [long("one"), "two", long("three"), long("four")];
    for (const body of bodies) await kv.put("/notes/1", { title: "t", body });
    for (const [i, body] of bodies.entries()) {
      const revision = BigInt(i + 1);
      expect(await kv.get("/notes/1", { revision })).toEqual({ value: { title: "t", body }, revision });
    }
    const history = await kv.history("/notes/1", { includeValues: true });
    expect(history.map((entry) => entry.value?.body)).toEqual(bodies);
    const lines = [
      "put /notes/1 at 1: a long one at 1",
      "put /notes/1 at 2: two at 2 after a long one at 1",
      "put /notes/1 at 3: a long three at 3 after two at 2",
      "put /notes/1 at 4: a long four at 4 after a long three at 3",
    ];
    expect(await live.lines(4, bodyOf)).toEqual(lines);
    const late = new KeyValueReader(kv, "/notes/", { prefix: true, revision: 3n });
    expect(await late.lines(2, bodyOf)).toEqual(lines.slice(2));
  });

  describe("what is not under the root", () => {
    test("is not in the view, whatever the prefix", async () => {
      await using view = await openNotes();
      const { kv, store } = view;
      const watches = ["", "/", "/notes/", "/notes/1"].map(
        (key) => new KeyValueReader(kv, key, { prefix: true, revision: 0n }),
      );
      const nothing = new KeyValueReader(kv, "/bodies/", { prefix: true, revision: 0n });
      await store.commit([{ type: "put", key: "/other", value: new Uint8Array(0) }]);
      await kv.put("/notes/1", { title: "t", body: long("one") });
      for (const prefix of ["", "/", "/n", "/notes/"]) expect(await kv.listKeys(prefix)).toEqual(["/notes/1"]);
      for (const prefix of ["/bodies", "/o", "/notes/2", "x"]) expect(await kv.listKeys(prefix)).toEqual([]);
      for (const watch of watches) expect(await watch.next()).toMatchObject({ key: "/notes/1", revision: 2n });
      for (const prefix of ["", "/notes"]) {
        const late = new KeyValueReader(kv, prefix, { prefix: true, revision: 0n });
        expect(await late.next()).toMatchObject({ key: "/notes/1", revision: 2n });
      }
      const next = nothing.next();
      await store.close();
      expect(await next).toBeUndefined();
    });

    test("reads as absent, and cannot be put", async () => {
      await using view = await openNotes();
      const { kv, store } = view;
      await kv.put("/notes/1", { title: "t", body: long("one") });
      for (const key of ["/bodies/1", "/titles/t/1", "/notes"]) {
        expect(await kv.get(key)).toBeUndefined();
        await expectError(kv.delete(key), "NOT_FOUND");
        await expectError(kv.history(key), "NOT_FOUND");
        await expectError(kv.put(key, { title: "t", body: "b" }), "INVALID_ARGUMENT");
      }
      expect(store.revision()).toBe(1n);
    });
  });

  test("what the codec says of a value is INVALID_ARGUMENT, unless it says it itself", async () => {
    await using view = await openNotes();
    const error = await expectError(view.kv.put("/notes/1", { title: "", body: "" }), "INVALID_ARGUMENT");
    expect((error.cause as Error).message).toBe("a note has a title");
    await expectError(view.kv.put("/notes/1", { title: "forbidden", body: "" }), "OUT_OF_RANGE");
  });

  test("a part that is missing is DATA_LOSS for that key, and the watch of all goes on", async () => {
    await using view = await openNotes();
    const { kv, store } = view;
    await kv.put("/notes/1", { title: "t", body: long("one") });
    await store.commit([{ type: "delete", key: "/bodies/1" }]);
    await kv.put("/notes/2", { title: "t", body: long("two") });
    await expectError(kv.get("/notes/1"), "DATA_LOSS");
    const watch = new KeyValueReader(kv, "", { prefix: true, revision: 0n });
    expect(await watch.lines(2, bodyOf)).toEqual(["put /notes/1 at 1, damaged", "put /notes/2 at 3: a long two at 3"]);
  });

  describe("a damaged entry", () => {
    const openDamaged = async () => {
      const view = await openNotes();
      await view.kv.put("/notes/1", { title: "t", body: "one" });
      await view.kv.put("/notes/2", { title: "t", body: "two" });
      return { ...view, kv: createKeyValueStore(damage(view.store, "/notes/1"), notes) };
    };

    test("is DATA_LOSS to reads and puts until it is deleted", async () => {
      await using view = await openDamaged();
      const { kv } = view;
      await expectError(kv.get("/notes/1"), "DATA_LOSS");
      await expectError(kv.put("/notes/1", { title: "t", body: "new" }), "DATA_LOSS");
      await expectError(kv.put("/notes/1", { title: "t", body: "new" }, { revision: 1n }), "DATA_LOSS");
      await expectError(kv.delete("/notes/1", { revision: 2n }), "CONFLICT");
      expect(await kv.listKeys("")).toEqual(["/notes/1", "/notes/2"]);
      await kv.delete("/notes/1");
      expect(await kv.listKeys("")).toEqual(["/notes/2"]);
    });

    test("is marked in watches, which go on", async () => {
      await using view = await openDamaged();
      const watch = new KeyValueReader(view.kv, "", { prefix: true, revision: 2n });
      await view.kv.delete("/notes/1");
      expect(await watch.lines(3, bodyOf)).toEqual([
        "put /notes/1 at 1, damaged",
        "put /notes/2 at 2: two at 2",
        "delete /notes/1 at 3, damaged",
      ]);
    });
  });

  test("a read that history overtakes is made again at a newer revision", async () => {
    await using view = await openNotes();
    const { store } = view;
    await view.kv.put("/notes/1", { title: "t", body: long("one") });
    let overtaken = 0;
    const kv = createKeyValueStore(store, {
      ...notes,
      async load(entry, from, revision) {
        if (overtaken < 2) {
          overtaken += 1;
          await view.kv.put("/notes/1", { title: "t", body: long(`body ${overtaken}`) });
          await view.letHistoryGo();
        }
        return notes.load(entry, from, revision);
      },
    });
    expect(await kv.get("/notes/1")).toEqual({ value: { title: "t", body: "a long body 2" }, revision: 3n });
  });

  /** The store as it were if the stored bytes of the key were damaged. */
  function damage(store: Store, damagedKey: string): Store {
    const mark = <E extends Entry>(entry: E): E =>
      entry.key === damagedKey ? { ...entry, value: new Uint8Array(0), corrupt: true } : entry;
    return {
      kind: store.kind,
      durability: store.durability,
      revision: () => store.revision(),
      firstRevision: () => store.firstRevision(),
      commit: (changes, conditions, next) => store.commit(changes, conditions, next),
      watch: (options) => store.watch(options),
      reopen: () => store.reopen(),
      close: () => store.close(),
      scan: async (options) => (await store.scan(options)).map(mark),
      async get(key, options) {
        const entry = await store.get(key, options);
        if (entry !== undefined && key === damagedKey) throw new StoreError("CORRUPT", "damaged", { key });
        return entry;
      },
    };
  }
});
