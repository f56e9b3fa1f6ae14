import { describe, expect, test } from "vitest";
import type { LevelDatabase } from "../../src/store/level-database.ts";
import { decodeCell, filterKey, putCell } from "../../src/store/level-keys.ts";
import { onlyFilter, historyMs, keysOf, makeKept, openKept, putAll, walksAndFinds } from "./kept-filter-fixture.ts";
import { letGoUpTo, untilFilled, withDatabase } from "./level-fixture.ts";

describe("a filter that is of no use is made anew:", () => {
  const head = filterKey(1, 0);
  const part = filterKey(1, 2);
  const changeHead = async (db: LevelDatabase, change: (numbers: number[]) => void): Promise<void> => {
    const numbers = decodeCell(head, (await db.get(head))!)!;
    change(numbers);
    await db.batch([putCell(head, numbers)], { sync: true });
  };
  const spoils: Record<string, (db: LevelDatabase) => Promise<void>> = {
    "one without a head": (db) => db.batch([{ type: "del", key: head }], { sync: true }),
    "one without a part": (db) => db.batch([{ type: "del", key: part }], { sync: true }),
    "one with a bit that is gone": async (db) => {
      const value = (await db.get(part))!;
      value[value.findIndex((byte) => byte !== 0)] = 0;
      await db.batch([{ type: "put", key: part, value }], { sync: true });
    },
    "one with a part of another": async (db) => {
      const value = (await db.get(filterKey(1, 1)))!;
      await db.batch([{ type: "put", key: part, value }], { sync: true });
    },
    "one with a part that was cut short": async (db) => {
      const value = (await db.get(part))!.subarray(0, 2);
      await db.batch([{ type: "put", key: part, value }], { sync: true });
    },
    "one with a head that is damaged": async (db) => {
      const value = (await db.get(head))!;
      value[15]! ^= 1;
      await db.batch([{ type: "put", key: head, value }], { sync: true });
    },
    "one of another format": (db) =>
      changeHead(db, (numbers) => {
        numbers[0] = 2;
      }),
    "one that is ahead of the watermark": (db) =>
      changeHead(db, (numbers) => {
        numbers[1] = 1_000;
      }),
    "one with more layers than there are": (db) =>
      changeHead(db, (numbers) => {
        numbers.push(...Array(20).fill(1));
      }),
    "one with layers that have no parts": (db) =>
      changeHead(db, (numbers) => {
        numbers.push(1);
      }),
    "one without layers": (db) =>
      changeHead(db, (numbers) => {
        numbers.length = 4;
      }),
  };
  test.each(Object.keys(spoils))("%s", async (what) => {
    await using scratch = await makeKept();
    await withDatabase(scratch.path, spoils[what]!);
    expect(await walksAndFinds(scratch.path, keysOf("a"))).toBe(true);
    // And is there again.
    expect(await walksAndFinds(scratch.path, keysOf("a"))).toBe(false);
    await onlyFilter(scratch.path);
  });

  test.each([
    ["", []],
    [", behind which the journal goes on", keysOf("c")],
  ])("one of before the history, which somebody has let go who keeps none%s", async (_, more) => {
    await using scratch = await makeKept();
    const other = await openKept(scratch.path, 1_000);
    await putAll(other, keysOf("b"));
    await letGoUpTo(other.store, other.clock, historyMs, 2n);
    if (more.length > 0) await putAll(other, more);
    await other.store.close();
    let reads = 0;
    const whileReading = async (): Promise<void> => void (reads += 1);
    const opened = await openKept(scratch.path, 1_000, { whileReading });
    await untilFilled(opened.store, opened.disk);
    await opened.store.close();
    expect([opened.walks(), reads]).toEqual([1, 0]);
    expect(await walksAndFinds(scratch.path, [...keysOf("a"), ...keysOf("b"), ...more])).toBe(true);
  });
});
