import { expect, test } from "vitest";
import { RecentMap } from "../../src/async/recent-map.ts";
import { SeededRandom } from "../support/seeded-random.ts";

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

test("lets the next go that was used neither in this age nor in the one before", () => {
  const map = new RecentMap<string, string>({ maxEntries: 9, maxWeight: 9, weigh: () => 1 });
  for (const key of "abcdefghi") map.set(key, key);
  for (const key of "def") map.get(key);
  for (const key of "jkl") map.set(key, key); // In the places of a, b and c.
  map.set("m", "m");
  // Looking is using: only now. Older than d is g, but the round comes to d first.
  expect([..."abcdefghijklm"].filter((key) => map.get(key) !== undefined).join("")).toBe("efghijklm");
});

test("keeps what was used within the last third, and gives what was set last, whatever is set, used and deleted", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = new SeededRandom(seed);
    const maxEntries = random.int(3, 42);
    const maxWeight = random.int(30, 429);
    const heaviest = random.int(1, Math.floor(maxWeight / 3));
    const map = new RecentMap<number, { weight: number }>({ maxEntries, maxWeight, weigh: ({ weight }) => weight });
    /** What was set and not deleted, in the order of its last use. */
    const used = new Map<number, { weight: number }>();
    for (let steps = random.int(0, 400); steps > 0; steps -= 1) {
      const key = random.int(1, maxEntries * 3);
      const what = random.int(0, 9);
      const value = what < 4 ? map.get(key) : { weight: random.int(1, heaviest) };
      if (what < 4 && value === undefined) continue;
      if (what < 4 && value !== used.get(key)) expect.fail(`seed ${seed}: ${key} is not what was set last`);
      used.delete(key);
      if (what === 9) map.delete(key);
      else if (value !== undefined) used.set(key, value);
      if (what >= 4 && what < 9 && value !== undefined) map.set(key, value);
      if (map.size > maxEntries) expect.fail(`seed ${seed}: there are ${map.size} of ${maxEntries}`);
    }
    // Once, and at the end: looking is using.
    const newestFirst = [...used].reverse();
    const kept = newestFirst.map(([key]) => map.get(key));
    const sum = { entries: 0, weight: 0, kept: 0 };
    for (const [i, [key, value]] of newestFirst.entries()) {
      sum.entries += 1;
      sum.weight += value.weight;
      sum.kept += kept[i]?.weight ?? 0;
      const isOfTheThird = sum.entries * 3 < maxEntries && sum.weight * 3 < maxWeight;
      expect(isOfTheThird ? [value] : [value, undefined], `seed ${seed}: ${key}`).toContain(kept[i]);
    }
    expect(sum.kept, `seed ${seed}`).toBeLessThanOrEqual(maxWeight);
  }
});
