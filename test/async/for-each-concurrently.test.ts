import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { forEachConcurrently } from "../../src/async/for-each-concurrently.ts";

test("every item is taken once, in order, and at most so many at a time", async () => {
  const begun: number[] = [];
  let active = 0;
  let most = 0;
  const items = Array.from({ length: 20 }, (_, i) => i);
  await forEachConcurrently(items, 3, async (item) => {
    begun.push(item);
    active += 1;
    most = Math.max(most, active);
    for (let i = 0; i < item % 4; i += 1) await nextTurn();
    active -= 1;
  });
  expect(begun).toEqual(items);
  expect([most, active]).toEqual([3, 0]);
});

test("nothing is nothing, and more hands than items do no harm", async () => {
  await forEachConcurrently([], 5, () => Promise.reject(new Error("never")));
  let count = 0;
  await forEachConcurrently([1, 2], 50, async () => {
    count += 1;
  });
  expect(count).toBe(2);
});

test("no more are begun when one has failed", async () => {
  const begun: number[] = [];
  const all = forEachConcurrently([1, 2, 3, 4, 5, 6], 2, async (item) => {
    begun.push(item);
    await nextTurn();
    if (item === 2) throw new Error("two");
  });
  await expect(all).rejects.toThrow("two");
  await nextTurn();
  await nextTurn();
  expect(begun.length).toBeLessThan(5);
});
