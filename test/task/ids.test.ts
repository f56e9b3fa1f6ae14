import { describe, expect, test } from "vitest";
import { checkControllerName, checkLabels, checkRequestId, checkTaskId } from "../../src/task/ids.ts";
import { defaultTaskLimits } from "../../src/task/limits.ts";

const badIds = ["", "../x", "-a", ".a", "a/b", "a b", "a\u0000", "a\n", "\u202ea", "%2e", "ä", "a".repeat(129)];

describe("a task id", () => {
  test.each(["a", "A9", "a.b_c:d@e-f", "0", "a".repeat(128), "constructor"])("may be %j", (id) => {
    expect(checkTaskId(id)).toBeUndefined();
  });
  test.each(badIds)("may not be %j", (id) => {
    expect(checkTaskId(id)).toMatch(/^must be [\P{C}]{1,200}$/u);
  });
});

describe("a controller's name", () => {
  test.each(["a", "0-a", "a".repeat(63)])("may be %j", (name) => {
    expect(checkControllerName(name)).toBeUndefined();
  });
  test.each([...badIds, "A", "a_b", "a".repeat(64)])("may not be %j", (name) => {
    expect(checkControllerName(name)).toMatch(/^must be /);
  });
});

describe("a request id", () => {
  test.each(["", "a b", "é", "x".repeat(128)])("may be %j", (id) => {
    expect(checkRequestId(id, 128)).toBeUndefined();
  });
  test.each(["a\u0007", "a\u2028", "a\u202e", "\ud800", "x".repeat(129), "é".repeat(65)])("may not be %j", (id) => {
    expect(checkRequestId(id, 128)).toMatch(/^must be /);
  });
});

describe("labels", () => {
  const check = (labels: Record<string, string>) => checkLabels(labels, defaultTaskLimits);

  test("of 64 with the longest keys and values are fine", () => {
    const labels = Object.fromEntries(
      Array.from({ length: 64 }, (_, i) => [String(i).padEnd(63, "k"), "v".repeat(256)]),
    );
    expect(check(labels)).toEqual([]);
  });
  test("more than 64 are one complaint", () => {
    const labels = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, ""]));
    expect(check(labels)).toEqual([{ field: "labels", description: "must be at most 64 labels, and are 65" }]);
  });
  test("are complained about one by one, by key and by value", () => {
    const labels = Object.fromEntries([
      ["", "v"],
      ["k".repeat(64), "v"],
      ["a\nb", "v"],
      ["__proto__", "v"],
      ["env", "v".repeat(257)],
    ]);
    expect(check(labels).map((complaint) => complaint.field)).toEqual([
      'labels[""]',
      expect.stringMatching(/^labels\["k+.*"\]$/),
      'labels["a\\nb"]',
      'labels["__proto__"]',
      "labels[env]",
    ]);
  });
});
