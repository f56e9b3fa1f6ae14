import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { escapeLines, escapeOnOneLine, escapeText } from "../../../src/cli/text/escape.ts";

describe("text from a server", () => {
  test.each([
    ["an escape sequence", "\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"],
    ["line breaks and tabs", "a\r\nb\tc", "a\\r\\nb\\tc"],
    ["NUL and DEL", "\0\x7f", "\\x00\\x7f"],
    ["C1 controls", "\x9b31m", "\\x9b31m"],
    ["bidirectional overrides", "a\u202etxt\u2066b\u200f", "a\\u202etxt\\u2066b\\u200f"],
    ["line and paragraph separators", "\u2028\u2029", "\\u2028\\u2029"],
    ["invisible tags", "a\u{e0041}", "a\\u{e0041}"],
    ["a lone surrogate", "a\ud800b", "a\\ud800b"],
    ["a byte order mark", "\ufeffa", "\\ufeffa"],
  ])("has %s escaped", (_name, text, escaped) => {
    expect(escapeText(text)).toBe(escaped);
  });

  test.each(["naïve Ünïcödé", "日本語", "👩‍👩‍👧", "می‌خواهم", "C:\\x", ""])("keeps %j", (text) => {
    expect(escapeText(text)).toBe(text);
  });

  test("has nothing left that a terminal obeys, whatever it was", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 50 }), (text) => {
        expect(escapeText(text)).not.toMatch(
          // oxlint-disable-next-line no-control-regex -- control characters are what this is about
          /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u2028\u2029\u200e\u200f\u061c]/,
        );
      }),
    );
  });

  test("keeps its line breaks where lines are wanted", () => {
    expect(escapeLines("a\r\nb\x1b\n")).toEqual(["a", "b\\x1b", ""]);
  });

  test("has spaces for its line breaks where one line is wanted", () => {
    expect(escapeOnOneLine("a:\r\n  b\x1b\n\n")).toBe("a: b\\x1b");
  });
});
