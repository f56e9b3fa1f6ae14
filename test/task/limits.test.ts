import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { answerByteLength, byteLength, cutText } from "../../src/task/limits.ts";

// Every kind of code unit: ASCII, two and three bytes, pairs, halves of pairs, the byte order mark.
const unit = fc.constantFrom("a", "é", "€", "\ud83d\ude00", "\ud83d", "\ude00", "\ufeff", "\u0800", "\u0000");
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.array(unit).map((units) => units.join("")),
);

test("the bytes in an answer are those in UTF-8 or in JSON, whichever is more", () => {
  for (const text of ["", "abc", 'a"b\\c', "\u0000\u0001", "é€😀", "x\ny", '{"a":"\\u0001"}']) {
    const json = Buffer.byteLength(JSON.stringify(text)) - 2;
    expect(answerByteLength(text)).toBeGreaterThanOrEqual(Math.max(json, Buffer.byteLength(text)));
    expect(answerByteLength(text)).toBeLessThanOrEqual(Math.max(json, Buffer.byteLength(text)) + 4);
  }
});

describe("byteLength", () => {
  test("counts what an encoder makes, halves of pairs included", () => {
    fc.assert(
      fc.property(anyText, (text) => byteLength(text) === Buffer.byteLength(text, "utf8")),
      { numRuns: 2_000 },
    );
  });
});

describe("cutText", () => {
  test("gives text that fits back as it is", () => {
    const fits = anyText.filter((text) => text.isWellFormed());
    fc.assert(
      fc.property(fits, (text) => cutText(text, Buffer.byteLength(text)) === text),
      { numRuns: 1_000 },
    );
  });
  test("never gives more bytes than asked for, nor half a character", () => {
    fc.assert(
      fc.property(anyText, fc.nat({ max: 40 }), (text, maxBytes) => {
        const cut = cutText(text, maxBytes);
        expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(maxBytes);
        expect(cut.isWellFormed()).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });
  test("says that it cut, and keeps as much of the beginning as there is room for", () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 12, max: 40 }), (text, maxBytes) => {
        const wellFormed = text.toWellFormed();
        if (Buffer.byteLength(wellFormed) <= maxBytes) return;
        const cut = cutText(text, maxBytes);
        expect(cut).toMatch(/… \(cut\)$/);
        const kept = cut.slice(0, -"… (cut)".length);
        expect(wellFormed.startsWith(kept)).toBe(true);
        expect(Buffer.byteLength(cut)).toBeGreaterThan(maxBytes - 4);
      }),
      { numRuns: 2_000 },
    );
  });
  test("replaces halves of surrogate pairs", () => {
    expect(cutText("a\ud800b", 100)).toBe("a\ufffdb");
  });
});
