import { expect, test } from "vitest";
import { type BackedUpStore, openLevelStore } from "../../src/store/level-store.ts";
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
