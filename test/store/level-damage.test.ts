import { describe, expect, test } from "vitest";
import type { LevelDatabase } from "../../src/store/level-database.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { decodeBlock, type StoredRecord } from "../../src/store/record.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { expectFailure, WatchReader } from "../../src/store-conformance/harness.ts";
import { bytes, crashCopy, entriesOf, makeScratch, type Scratch, withDatabase } from "./level-fixture.ts";

const keys = ["a", "b", "c"];

/** A store whose keys were each written twice; as a crash leaves it, or closed. */
async function makeStore(how: "closed" | "crashed"): Promise<Scratch> {
  const scratch = await makeScratch();
  const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
  for (const generation of [1, 2]) {
    await Promise.all(keys.map((key) => store.commit([{ type: "put", key, value: bytes(`${key} ${generation}`) }])));
  }
  await store.commit([
    { type: "add", key: "n", delta: 5n },
    { type: "index", key: "i", value: bytes("old") },
  ]);
  const crashed = await crashCopy(scratch.path);
  await store.close();
  const [kept, dropped] = how === "closed" ? [scratch, crashed] : [crashed, scratch];
  await dropped[Symbol.asyncDispose]();
  return kept;
}

/** Flips a bit of the byte at `at` of an entry whose LevelDB key begins so. */
async function flip(db: LevelDatabase, prefix: string, at: (value: Buffer) => number): Promise<void> {
  const [key, value] = (await entriesOf(db, prefix))[0]!;
  value[at(value)]! ^= 4;
  await db.batch([{ type: "put", key, value }], { sync: true });
}

const places = [
  { where: "magic", at: () => 0 },
  { where: "revision", at: () => 19 },
  { where: "key", at: () => 28 },
  { where: "value", at: (value: Buffer) => value.length - 5 },
  { where: "CRC", at: (value: Buffer) => value.length - 1 },
];

describe("a damaged entry", () => {
  test.each(places)("($where) is CORRUPT, marked in scans, and hurts no other key", async ({ at }) => {
    await using scratch = await makeStore("closed");
    await withDatabase(scratch.path, (db) => flip(db, "Vb", at));
    const store = await openLevelStore(scratch.path);
    expect(await expectFailure(store.get("b"), "CORRUPT")).toMatchObject({ key: "b" });
    for (const key of ["a", "c"]) expect(Buffer.from((await store.get(key))!.value).toString()).toBe(`${key} 2`);
    for (const reverse of [false, true]) {
      const entries = await store.scan({ prefix: "", limit: 9, reverse });
      expect(entries.filter((entry) => entry.corrupt).map((entry) => entry.key)).toEqual(["b"]);
      expect(entries).toHaveLength(5);
    }
    // It can be written over, under the condition on the revision that it has by its place.
    const [damaged] = await store.scan({ prefix: "b", limit: 1 });
    await store.commit([{ type: "put", key: "b", value: bytes("new") }], [{ key: "b", revision: damaged!.revision }]);
    expect(Buffer.from((await store.get("b"))!.value).toString()).toBe("new");
    await store.close();
  });

  test("that lies under the key of another is not taken for it", async () => {
    await using scratch = await makeStore("closed");
    await withDatabase(scratch.path, async (db) => {
      const [, foreign] = (await entriesOf(db, "Va"))[0]!;
      const [key] = (await entriesOf(db, "Vb"))[0]!;
      await db.batch([{ type: "put", key, value: foreign }], { sync: true });
    });
    const store = await openLevelStore(scratch.path);
    await expectFailure(store.get("b"), "CORRUPT");
    expect(await store.get("a")).toBeDefined();
    await store.close();
  });

  test.each(places)("($where) of a counter stays damaged, and commits that add to it go on", async ({ at }) => {
    await using scratch = await makeStore("closed");
    await withDatabase(scratch.path, (db) => flip(db, "Vn", at));
    for (let opening = 0; opening < 2; opening += 1) {
      const store = await openLevelStore(scratch.path);
      await store.commit([
        { type: "add", key: "n", delta: 1n },
        { type: "put", key: "d", value: bytes("d") },
      ]);
      await expectFailure(store.get("n"), "CORRUPT");
      expect(await store.get("d")).toBeDefined();
      // What was added since is known.
      await store.commit([{ type: "add", key: "n", delta: -3n }]);
      const [counter] = await store.scan({ prefix: "n", limit: 1 });
      expect(counter).toMatchObject({ key: "n", corrupt: true });
      expect(Buffer.from(counter!.value).readBigInt64BE()).toBe(-2n * BigInt(opening + 1));
      await store.close();
    }
  });

  test.each(places)("($where) of an index entry can be taken out, and put in again", async ({ at }) => {
    await using scratch = await makeStore("closed");
    await withDatabase(scratch.path, (db) => flip(db, "Vi", at));
    const store = await openLevelStore(scratch.path);
    const [damaged] = await store.scan({ prefix: "i", limit: 1 });
    expect(damaged).toMatchObject({ key: "i", corrupt: true });
    await store.commit([{ type: "unindex", key: "i" }], [{ key: "i", revision: damaged!.revision }]);
    expect(await store.get("i")).toBeUndefined();
    await store.commit([{ type: "index", key: "i", value: bytes("new") }], [{ key: "i", revision: 0n }]);
    await store.close();
    const again = await openLevelStore(scratch.path);
    expect(Buffer.from((await again.get("i"))!.value).toString()).toBe("new");
    await again.close();
    await withDatabase(scratch.path, async (db) => expect(await entriesOf(db, "Vi")).toHaveLength(1));
  });
});

describe("a damaged record of the journal", () => {
  test("that is not materialized yet hurts only its key", async () => {
    await using scratch = await makeStore("crashed");
    await withDatabase(scratch.path, (db) => damageRecord(db, 4, "b", (record) => record.end - 5));
    for (let opening = 0; opening < 2; opening += 1) {
      const store = await openLevelStore(scratch.path);
      await expectFailure(store.get("b"), "CORRUPT");
      for (const key of ["a", "c"]) expect(Buffer.from((await store.get(key))!.value).toString()).toBe(`${key} 2`);
      await store.close();
    }
  });

  test("that is history hurts only reads of it, and is marked in watches", async () => {
    await using scratch = await makeStore("closed");
    await withDatabase(scratch.path, (db) => damageRecord(db, 1, "b", (record) => record.end - 5));
    const store = await openLevelStore(scratch.path);
    await expectFailure(store.get("b", { revision: 3n }), "CORRUPT");
    expect(await store.get("a", { revision: 3n })).toMatchObject({ revision: 1n });
    expect(await store.get("b")).toMatchObject({ revision: 5n });
    const entries = await store.scan({ prefix: "", limit: 9, revision: 3n });
    expect(entries.map(({ key, corrupt }) => [key, corrupt])).toEqual([
      ["a", undefined],
      ["b", true],
      ["c", undefined],
    ]);
    expect((await new WatchReader(store).next())?.map(({ key, corrupt }) => [key, corrupt])).toEqual([
      ["a", undefined],
      ["b", true],
      ["c", undefined],
    ]);
    await store.close();
  });

  test("whose key is lost with it stops watches that pass it, since it may be theirs", async () => {
    await using scratch = await makeStore("closed");
    await withDatabase(scratch.path, (db) => damageRecord(db, 1, "b", (record) => record.start + 28));
    const store = await openLevelStore(scratch.path);
    await expectFailure(new WatchReader(store).next(), "CORRUPT");
    expect(await new WatchReader(store, { after: 3n }).next()).toHaveLength(3);
    await expectFailure(store.get("b", { revision: 3n }), "CORRUPT");
    expect(await store.get("a", { revision: 3n })).toMatchObject({ revision: 1n });
    await store.close();
  });
});

async function damageRecord(
  db: LevelDatabase,
  first: number,
  key: string,
  at: (record: StoredRecord) => number,
): Promise<void> {
  const entry = (await entriesOf(db, "J")).find(([levelKey]) => levelKey.readUInt32BE(5) === first)!;
  const record = decodeBlock(entry[1], first)!.records.find((candidate) => candidate.key === key)!;
  entry[1][at(record)]! ^= 4;
  await db.batch([{ type: "put", key: entry[0], value: entry[1] }], { sync: true });
}
