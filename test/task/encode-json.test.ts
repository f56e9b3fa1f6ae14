import { expect, test } from "vitest";
import { encodeJson } from "../../src/task/encode-json.ts";

test("a number that JSON has not is refused, and named by its place", () => {
  expect(() => encodeJson({ rows: { from: Number.NaN } })).toThrow(
    new TypeError('JSON has no number NaN, which "from" has'),
  );
  expect(() => encodeJson([1, Number.POSITIVE_INFINITY])).toThrow(
    new TypeError('JSON has no number Infinity, which "1" has'),
  );
  expect(() => encodeJson({ rows: Object(Number.NaN) as unknown })).toThrow(
    new TypeError('JSON has no number NaN, which "rows" has'),
  );
  expect(() => encodeJson(Number.NEGATIVE_INFINITY)).toThrow(new TypeError("JSON has no number -Infinity"));
});

test("all else is as JSON.stringify has it", () => {
  const value = {
    at: new Date(0),
    none: undefined,
    list: [undefined, 1e21, -0],
    text: "ä",
    nested: { flag: true, nothing: null },
  };
  expect(encodeJson(value)).toBe(JSON.stringify(value));
  expect(encodeJson(() => {})).toBeUndefined();
});
