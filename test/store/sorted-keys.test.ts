import fc from "fast-check";
import { expect, test } from "vitest";
import { SortedKeys } from "../../src/store/sorted-keys.ts";
import { compareKeys } from "../../src/store/store.ts";

const key = fc.string({ unit: fc.constantFrom("\0", "a", "b", "\uffff", "\u{1f600}"), minLength: 1, maxLength: 6 });

test("its order is that of compareKeys, whatever was added and deleted, and over many chunks", () => {
  const keys = fc.uniqueArray(key, { minLength: 0, maxLength: 3_000, size: "max" });
  fc.assert(
    fc.property(keys, fc.infiniteStream(fc.boolean()), (added, coins) => {
      const sorted = new SortedKeys();
      for (const each of added) sorted.add(each);
      const left = added.filter(() => coins.next().value);
      const kept = new Set(left);
      for (const each of added) if (!kept.has(each)) sorted.delete(each);
      const order = left.sort(compareKeys);
      expect([...sorted.range("", undefined, false)]).toEqual(order);
      expect([...sorted.range("", undefined, true)]).toEqual(order.toReversed());
    }),
    { numRuns: 10 },
  );
});

test("a range is what filtering all keys by prefix and after gives", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(key, { maxLength: 700, size: "max" }),
      fc.oneof(key, fc.constant("")),
      key,
      (added, prefix, after) => {
        const sorted = new SortedKeys();
        for (const each of added) sorted.add(each);
        const withPrefix = added.filter((each) => each.startsWith(prefix)).sort(compareKeys);
        const above = withPrefix.filter((each) => compareKeys(each, after) > 0);
        const below = withPrefix.filter((each) => compareKeys(each, after) < 0).reverse();
        expect([...sorted.range(prefix, after, false)]).toEqual(above);
        expect([...sorted.range(prefix, after, true)]).toEqual(below);
      },
    ),
    { numRuns: 100 },
  );
});

test("deleting what is not in it, from an empty set, too, does nothing", () => {
  const sorted = new SortedKeys();
  sorted.delete("a");
  sorted.add("b");
  sorted.delete("a");
  sorted.delete("c");
  expect([...sorted.range("", undefined, false)]).toEqual(["b"]);
  sorted.delete("b");
  expect([...sorted.range("", undefined, false)]).toEqual([]);
  sorted.add("a");
  expect([...sorted.range("", undefined, true)]).toEqual(["a"]);
});
