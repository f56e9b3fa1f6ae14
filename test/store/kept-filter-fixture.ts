/** Stores that keep the filter of their keys, and what is asked of them. */
import { expect } from "vitest";
import type { CreateLevelDatabase, LevelOperation, LevelRange } from "../../src/store/level-database.ts";
import { type BackedUpStore, openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock, type FakeClock } from "../support/fake-clock.ts";
import {
  bytes,
  entriesOf,
  eventually,
  FaultyDisk,
  letGoUpTo,
  makeScratch,
  type Scratch,
  untilFilled,
  withDatabase,
} from "./level-fixture.ts";

export const historyMs = 80_000;

export interface Opened {
  readonly store: BackedUpStore;
  readonly clock: FakeClock;
  readonly disk: FaultyDisk;
  /** How many walks over all keys have begun. */
  readonly walks: () => number;
}

/** A store whose filter is kept however few keys it has (or not at all), and which has none of its keys in a cache. */
export async function openKept(
  path: string,
  filterKeptMinKeys = 1,
  {
    beforeKeeping = async () => {},
    whileReading = async () => {},
    filterKeptEveryMs = 900_000,
    beforeIterator = (_: LevelRange): void => {},
  } = {},
): Promise<Opened> {
  const disk = new FaultyDisk();
  let walks = 0;
  const createDatabase: CreateLevelDatabase = (location, options) => {
    const db = disk.create(location, options);
    const iterator: typeof db.iterator = (range) => {
      beforeIterator(range);
      if (range.values === false && range.gte?.length === 1) walks += 1;
      const opened = db.iterator(range);
      if (range.gte?.[0] !== 0x42 || range.values === false) return opened;
      return {
        close: () => opened.close(),
        nextv: async (size) => {
          await whileReading();
          return opened.nextv(size);
        },
      };
    };
    const batch: typeof db.batch = async (operations, given) => {
      if (isOfFilter(operations)) await beforeKeeping();
      await db.batch(operations, given);
    };
    return { ...db, iterator, batch };
  };
  const clock = createFakeClock();
  const store = await openLevelStore(path, {
    clock,
    historyMs,
    cacheMaxEntries: 1,
    filterKeptEveryMs,
    filterKeptMinKeys,
    createDatabase,
  });
  return { store, clock, disk, walks: () => walks };
}

export const isOfFilter = (operations: readonly LevelOperation[]): boolean =>
  operations.some(({ key }) => key[0] === 0x42);

/** Puts the keys, and waits until they are in LevelDB and nowhere else, and the filter is kept if it is to be. */
export async function putAll({ store, clock, disk }: Opened, keys: readonly string[]): Promise<void> {
  const since = disk.written.length;
  await store.commit(keys.map((key) => ({ type: "put", key, value: bytes(key) })));
  await clock.advance(1_000);
  await eventually(() => disk.written.slice(since).some((letters) => letters.includes("W")));
  // A timer is set when what the last one started is through.
  await eventually(() => clock.pending() > 0);
}

/** Opens the store, and finds the keys, and no others. Returns whether all keys were walked over. */
export async function walksAndFinds(path: string, keys: readonly string[]): Promise<boolean> {
  const opened = await openKept(path);
  const { store, disk, walks } = opened;
  await untilFilled(store, disk);
  const walked = walks() > 0;
  // What an opening has from the journal is in the overlay until a round.
  await putAll(opened, ["/later"]);
  for (const key of keys) expect(await store.get(key), key).toBeDefined();
  const before = disk.iterators;
  for (let i = 0; i < 300; i += 1) expect(await store.get(`/other/${i}`)).toBeUndefined();
  expect(disk.iterators - before).toBeLessThan(30);
  await store.close();
  return walked;
}

export const keysOf = (name: string): string[] => Array.from({ length: 100 }, (_, i) => `/${name}/${i}`);

/** Closed, with a filter that was kept behind the keys of "a". */
export async function makeKept(): Promise<Scratch> {
  const scratch = await makeScratch();
  const opened = await openKept(scratch.path);
  await putAll(opened, keysOf("a"));
  await opened.store.close();
  return scratch;
}

/** The numbers of the filters that the store has something of, and of those that are whole. */
export async function filtersIn(path: string): Promise<{ all: number[]; whole: number[] }> {
  const keys = (await withDatabase(path, (db) => entriesOf(db, "B"))).map(([key]) => key);
  const numbers = keys.map((key) => Number(key.readBigUInt64BE(1)));
  const whole = numbers.filter((_, i) => keys[i]!.readUInt32BE(9) === 0);
  return { all: [...new Set(numbers)], whole };
}

/** Until the filter that was kept has to be written anew. */
export async function passHistory(opened: Opened): Promise<void> {
  await putAll(opened, ["/one"]);
  await letGoUpTo(opened.store, opened.clock, historyMs, opened.store.revision());
}

/** The number of the only filter that the store has anything of, which is whole. */
export async function onlyFilter(path: string): Promise<number> {
  const { all, whole } = await filtersIn(path);
  expect(all).toEqual(whole);
  expect(all).toHaveLength(1);
  return all[0]!;
}
