import { describe, expect, test } from "vitest";
import { defaultTaskLimits } from "../../src/task/limits.ts";
import { checkMetadataText } from "../../src/task/metadata.ts";

function nested(depth: number): string {
  return `{"a":`.repeat(depth - 1) + "{}" + "}".repeat(depth - 1);
}

describe("metadata is accepted", () => {
  test.each([
    ["none", ""],
    ["blank", " \t\r\n "],
    ["an empty object", "{}"],
    ["an object between blanks", ' {"a": 1} '],
    ["brackets inside strings", `{"a": "${"[".repeat(100)}\\"{"}`],
    ["an escaped half of a surrogate pair", '{"a": "\\ud800"}'],
    ["names that mean something to JavaScript", '{"__proto__": 1, "constructor": {}}'],
    ["32 levels", nested(32)],
    ["256 KiB", `{"a":"${"x".repeat(256 * 1024 - 8)}"}`],
  ])("%s", (_, text) => {
    expect(checkMetadataText(text, defaultTaskLimits)).toBeUndefined();
  });
});

describe("metadata is refused", () => {
  test.each([
    ["text that is no JSON", "{", /^must be valid JSON: /],
    ["text with something after the object", "{} x", /^must be valid JSON: /],
    ["an array", "[]", "must be a JSON object, and is an array"],
    ["null", "null", "must be a JSON object, and is null"],
    ["a number", "1", "must be a JSON object, and is a number"],
    ["a string", '"{}"', "must be a JSON object, and is a string"],
    ["33 levels", nested(33), "must be nested at most 32 levels deep, and is 33"],
    ["levels of arrays", `{"a":${"[".repeat(32)}${"]".repeat(32)}}`, /at most 32 levels deep, and is 33/],
    ["100,000 levels", "[".repeat(100_000), /at most 32 levels deep, and is 100000/],
    ["one byte more than 256 KiB", `{"a":"${"x".repeat(256 * 1024 - 7)}"}`, /at most 262144 bytes, and has 262145/],
    ["bytes, not characters, counted", `{"a":"${"é".repeat(128 * 1024)}"}`, /and has 262152$/],
    ["half of a surrogate pair", '{"a": "\ud800"}', /well-formed/],
  ])("%s", (_, text, complaint) => {
    expect(checkMetadataText(text, defaultTaskLimits)).toMatch(complaint);
  });

  test("with what the text has in it escaped and cut", () => {
    const complaint = checkMetadataText(`\u202e\u001b[2J${"x".repeat(1_000)}`, defaultTaskLimits);
    expect(complaint).toMatch(/^[\x20-\x7e…]{1,300}$/);
    expect(checkMetadataText("nope", defaultTaskLimits)).toBe(
      `must be valid JSON: Unexpected token 'o', "nope" is not valid JSON`,
    );
  });
});
