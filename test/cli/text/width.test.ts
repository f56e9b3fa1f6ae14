import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { displayWidth, padText, truncateText } from "../../../src/cli/text/width.ts";

describe("the width of text", () => {
  test.each([
    ["abc", 3],
    ["", 0],
    ["日本", 4],
    ["한", 2],
    ["e\u0301", 1],
    ["🚀", 2],
    ["\x1b[1mab\x1b[22m", 2],
    ["██░", 3],
  ])("of %j is %d", (text, columns) => {
    expect(displayWidth(text)).toBe(columns);
  });

  test("is kept to when text is cut", () => {
    expect(truncateText("abcdef", 6)).toBe("abcdef");
    expect(truncateText("abcdef", 5)).toBe("abcd…");
    expect(truncateText("日本語", 4)).toBe("日…");
    expect(truncateText("abc", 1)).toBe("…");
    expect(truncateText("abc", 0)).toBe("");
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat(30), (text, columns) => {
        expect(displayWidth(truncateText(text, columns))).toBeLessThanOrEqual(columns);
      }),
    );
  });

  test("is reached when text is padded", () => {
    expect(padText("日", 4)).toBe("日  ");
    expect(padText("abc", 2)).toBe("abc");
  });
});
