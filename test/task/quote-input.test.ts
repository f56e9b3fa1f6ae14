import fc from "fast-check";
import { expect, test } from "vitest";
import { quoteInput } from "../../src/task/quote-input.ts";

test.each([
  ["quotes and backslashes stay", `Unexpected token 'o', "no\\pe"`, `"Unexpected token 'o', "no\\pe""`],
  ["letters of all scripts stay", "né 日本語 😀", '"né 日本語 😀"'],
  ["line breaks and tabs are escaped", "a\r\n\tb\u2028", '"a\\r\\n\\tb\\u2028"'],
  ["escape sequences are escaped", "\x1b[2J\x9b", '"\\u001b[2J\\u009b"'],
  ["what turns the direction of writing is escaped", "a\u202eb\u2066\u200f", '"a\\u202eb\\u2066\\u200f"'],
  ["invisible tags are escaped", "a\u{e0041}", '"a\\udb40\\udc41"'],
  ["what is long is cut", "x".repeat(100), `"${"x".repeat(55)}… (cut)"`],
])("of what a caller sent, %s", (_what, text, quoted) => {
  expect(quoteInput(text)).toBe(quoted);
});

test("nothing that a caller sends breaks a line or moves a cursor", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 50 }), (text) => {
      expect(quoteInput(text)).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    }),
  );
});
