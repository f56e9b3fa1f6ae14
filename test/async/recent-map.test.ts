import { expect, test } from "vitest";
import { RecentMap } from "../../src/async/recent-map.ts";

test("keeps what is used, forgets what is not, and never holds more than it may", () => {
  const map = new RecentMap<number, number>({ maxEntries: 10, maxWeight: 1_000, weigh: () => 1 });
  map.set(-1, -1);
  for (let i = 0; i < 100; i += 1) {
    map.set(i, i);
    expect(map.get(-1)).toBe(-1);
    expect(map.get(i)).toBe(i);
  }
  const kept = Array.from({ length: 100 }, (_, i) => i).filter((i) => map.get(i) !== undefined);
  expect(kept.length).toBeLessThanOrEqual(10);
  expect(map.get(0)).toBeUndefined();
});

test("is bounded by weight as well, and gives the newest value", () => {
  const map = new RecentMap<string, number>({ maxEntries: 100, maxWeight: 100, weigh: (value) => value });
  map.set("a", 10);
  map.set("a", 20);
  expect(map.get("a")).toBe(20);
  map.delete("a");
  expect(map.get("a")).toBeUndefined();
  for (const key of "bcdefgh") map.set(key, 30);
  expect([..."bcdefgh"].filter((key) => map.get(key) !== undefined).length).toBeLessThanOrEqual(4);
});

test("stays full once it is, however much comes by", () => {
  const map = new RecentMap<number, number>({ maxEntries: 10, maxWeight: 10, weigh: () => 1 });
  for (let i = 0; i < 10; i += 1) map.set(i, i);
  for (let i = 10; i < 100; i += 1) {
    map.set(i, i);
    if (i % 3 === 0) map.get(i - 5);
    expect(map.size).toBe(10);
  }
});

test("counts what was set again, used and deleted as often as it is there", () => {
  const map = new RecentMap<string, number>({ maxEntries: 9, maxWeight: 90, weigh: (value) => value });
  for (const key of "abcdefghi") map.set(key, 10);
  for (const key of "abc") expect(map.get(key)).toBe(10);
  expect(map.size).toBe(9);
  for (const key of "aei") map.delete(key);
  for (const key of "bdh") map.set(key, 10);
  expect(map.size).toBe(6);
  for (const key of "jkl") map.set(key, 10);
  expect(map.size).toBe(9);
  map.set("l", 20);
  expect(map.size, "one as heavy as two").toBe(8);
  map.set("l", 91);
  expect(map.size, "one that is heavier than all may be").toBe(0);
  for (const key of "abcdefghi") map.set(key, 10);
  expect(map.size).toBe(9);
});

test("keeps what was used within the last third, whatever is set, used and deleted besides", () => {
  const map = new RecentMap<number, number>({ maxEntries: 30, maxWeight: 1_000, weigh: () => 1 });
  const newest = new Map<number, number>();
  let state = 1;
  const next = (below: number): number => (state = (state * 48_271) % 2_147_483_647) % below;
  for (let i = 0; i < 3_000; i += 1) {
    const key = next(90);
    const known = newest.get(key);
    const isUsed = next(3) > 0;
    const found = isUsed ? map.get(key) : undefined;
    expect([known, undefined], "the value that was set last, or none").toContain(found);
    if (next(20) === 0) map.delete(key);
    else if (found === undefined) map.set(key, i);
    const now = map.get(key);
    newest.delete(key);
    if (now !== undefined) newest.set(key, now);
    expect(map.size).toBeLessThanOrEqual(30);
    const lately = [...newest.keys()].slice(-9);
    for (const each of lately) expect(map.get(each), `the key ${each}`).toBe(newest.get(each));
  }
});
