import { describe, expect, test } from "vitest";
import type { LevelIterator, LevelRange } from "../../src/store/level-database.ts";
import { valueKey } from "../../src/store/level-keys.ts";
import { NewestSeeks, type SeekSource } from "../../src/store/level-seeks.ts";
import { type BackedUpStore, openLevelStore } from "../../src/store/level-store.ts";
import { encodeBlock, type StoredRecord } from "../../src/store/record.ts";
import { bytes, FaultyDisk, makeScratch, type Scratch, untilFilled } from "./level-fixture.ts";

const count = 600;
const keyOf = (n: number): string => `/k/${String(n).padStart(4, "0")}`;

/** A store whose keys are all in LevelDB, three versions of each fifth one; its cache keeps one. */
async function openFilled(scratch: Scratch, disk: FaultyDisk): Promise<BackedUpStore> {
  const first = await openLevelStore(scratch.path);
  const putAll = (value: string, isPut: (n: number) => boolean): Promise<bigint> =>
    first.commit(
      Array.from({ length: count }, (_, n) => n)
        .filter(isPut)
        .map((n) => ({ type: "put", key: keyOf(n), value: bytes(`${value} ${n}`) })),
    );
  await putAll("one", () => true);
  await first.close();
  for (const value of ["two", "three"]) {
    const again = await openLevelStore(scratch.path);
    await again.commit(
      Array.from({ length: count / 5 }, (_, n) => ({
        type: "put",
        key: keyOf(5 * n),
        value: bytes(`${value} ${5 * n}`),
      })),
    );
    await again.close();
  }
  const store = await openLevelStore(scratch.path, { cacheMaxEntries: 1, createDatabase: disk.create });
  await untilFilled(store, disk);
  return store;
}

/** What is read of the keys, all in one tick, and how many iterators that took. */
async function readAll(
  store: BackedUpStore,
  disk: FaultyDisk,
  numbers: readonly number[],
): Promise<{ found: (string | undefined)[]; iterators: number }> {
  const before = disk.iterators;
  const entries = await Promise.all(numbers.map((n) => store.get(keyOf(n))));
  const found = entries.map((entry) => entry && Buffer.from(entry.value).toString());
  return { found, iterators: disk.iterators - before };
}

const valueOf = (n: number): string | undefined => (n >= count ? undefined : `${n % 5 === 0 ? "three" : "one"} ${n}`);

const orders: Record<string, { numbers: number[]; atMost: number }> = {
  "that lie side by side take few iterators": { numbers: range(100, 200), atMost: 4 },
  "in the other order do, too": { numbers: range(100, 200).reverse(), atMost: 4 },
  "that lie far apart take hardly more than one each": { numbers: range(0, 100).map((n) => 6 * n), atMost: 110 },
  "of two stretches, and some between": {
    numbers: [...range(0, 60), ...range(100, 500).filter((n) => n % 50 === 0), ...range(500, 560)],
    atMost: 45,
  },
  "that are sought twice are found twice": { numbers: [...range(0, 40), ...range(0, 40)], atMost: 3 },
  "behind the last are absent": { numbers: range(550, 650), atMost: 10 },
};

test.each(Object.keys(orders))("the newest versions of keys %s", async (name) => {
  await using scratch = await makeScratch();
  const disk = new FaultyDisk();
  const store = await openFilled(scratch, disk);
  const { numbers, atMost } = orders[name]!;
  const { found, iterators } = await readAll(store, disk, numbers);
  expect(found).toEqual(numbers.map(valueOf));
  expect(iterators).toBeLessThanOrEqual(atMost);
  await store.close();
});

test("keys that have changed since are read from memory, and those that are gone are absent, in the middle of others", async () => {
  await using scratch = await makeScratch();
  const disk = new FaultyDisk();
  const store = await openFilled(scratch, disk);
  await store.commit([
    { type: "put", key: keyOf(120), value: bytes("four") },
    { type: "delete", key: keyOf(121) },
  ]);
  const { found } = await readAll(store, disk, range(110, 130));
  const expected = range(110, 130).map((n) => (n === 120 ? "four" : n === 121 ? undefined : valueOf(n)));
  expect(found).toEqual(expected);
  await store.close();
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

describe("seeks of one tick", () => {
  const record = (key: string, revision: number): StoredRecord =>
    encodeBlock(revision, 1, 0, [{ type: 1, key, revision, previous: 0, value: bytes(key) }]).records[0]!;
  const entry = (key: string, revision: number): [Buffer, Buffer] => {
    const { bytes, start, end } = record(key, revision);
    return [valueKey(key, revision), bytes.subarray(start, end)];
  };

  /** What has the entries; `opening` is called when an iterator is opened, `reading` before it reads. */
  function sourceOf(entries: [Buffer, Buffer][], hooks: { opening?: () => void; reading?: () => void } = {}) {
    const cached: string[] = [];
    const known = new Map<string, StoredRecord>();
    const source = {
      rounds: 0,
      known: (key: string) => known.get(key),
      cacheNewest: (key: string) => void cached.push(key),
      iterate: async <T>(range: LevelRange, use: (iterator: LevelIterator) => Promise<T>): Promise<T> => {
        hooks.opening?.();
        const inRange = entries.filter(([key]) => key.compare(range.gte!) >= 0 && key.compare(range.lt!) < 0);
        const left = inRange.slice(0, range.limit);
        return use({
          nextv: async (size) => {
            hooks.reading?.();
            return left.splice(0, size);
          },
          close: async () => {},
        });
      },
    };
    return { source, cached, known };
  }

  const revisionsOf = async (source: SeekSource, keys: string[]): Promise<number[]> => {
    const seeks = new NewestSeeks(source);
    return (await Promise.all(keys.map((key) => seeks.seek(key)))).map(({ revision }) => revision);
  };

  test("find what memory knows by the time that they can read", async () => {
    const { source, known } = sourceOf([entry("a", 1), entry("b", 2)], {
      opening: () => void known.set("b", record("b", 9)),
    });
    expect(await revisionsOf(source, ["a", "b"])).toEqual([1, 9]);
    expect(await revisionsOf(source, ["b"])).toEqual([9]);
  });

  test("put into the cache what they have read, unless a round is through since", async () => {
    const entries = [entry("a", 1), entry("b", 2)];
    const quiet = sourceOf(entries);
    expect(await revisionsOf(quiet.source, ["a", "b", "c"])).toEqual([1, 2, 0]);
    expect(quiet.cached).toEqual(["a", "b", "c"]);
    const busy = sourceOf(entries, { reading: () => void (busy.source.rounds += 1) });
    expect(await revisionsOf(busy.source, ["a", "b"])).toEqual([1, 2]);
    expect(await revisionsOf(busy.source, ["b"])).toEqual([2]);
    expect(busy.cached).toEqual([]);
  });

  test("all fail where the reading does, each with what it failed with", async () => {
    const fail = (): never => {
      throw new Error("unreadable");
    };
    for (const hooks of [{ opening: fail }, { reading: fail }]) {
      const seeks = new NewestSeeks(sourceOf([entry("a", 1)], hooks).source);
      const settled = await Promise.allSettled(["a", "b"].map((key) => seeks.seek(key)));
      expect(settled.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    }
  });

  test("are found one by one behind an entry that is nobody's", async () => {
    // It is where versions of "b" are, and its key has lost its end.
    const nobodys: [Buffer, Buffer] = [Buffer.from("Vb\0\0\u0001"), Buffer.alloc(0)];
    const seeks = new NewestSeeks(sourceOf([entry("a", 1), nobodys, entry("c", 3)]).source);
    const found = await Promise.all(["a", "b", "c"].map((key) => seeks.seek(key)));
    expect(found.map(({ revision, damage }) => [revision, damage])).toEqual([
      [1, undefined],
      [0, "head"],
      [3, undefined],
    ]);
  });

  test("are read in the order of their bytes", async () => {
    // In UTF-16 the last two are the other way round.
    const keys = ["k", "k\0", "k\0\0", "k\u0001", "k\ue000", "k\uffff", "k\u{10000}"];
    const { source } = sourceOf(keys.map((key, i) => entry(key, i + 1)));
    expect(await revisionsOf(source, keys.toReversed())).toEqual([7, 6, 5, 4, 3, 2, 1]);
  });
});
