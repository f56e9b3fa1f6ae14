import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LineSplitter } from "../../src/runner/line-splitter.ts";

const options = { maxBytes: 8, long: { prefix: "::r ", maxBytes: 16 } };

/** The lines of a stream that comes in these chunks. */
function split(chunks: ReadonlyArray<string | Uint8Array>, splitterOptions = options): string[] {
  const splitter = new LineSplitter(splitterOptions);
  const lines = chunks.flatMap((chunk) => [...splitter.push(Buffer.from(chunk as string))]);
  const last = splitter.end();
  return last === undefined ? lines : [...lines, last];
}

describe("bytes are split into lines", () => {
  test.each<[string, Array<string | Uint8Array>, string[]]>([
    ["nothing", [], []],
    ["an empty chunk", [""], []],
    ["lines", ["a\nb\n"], ["a", "b"]],
    ["a last line without an end", ["a\nb"], ["a", "b"]],
    ["empty lines", ["\n\na\n\n"], ["", "", "a", ""]],
    ["CR LF", ["a\r\nb\r\n"], ["a", "b"]],
    ["CR and LF in two chunks", ["a\r", "\nb"], ["a", "b"]],
    ["a CR that ends no line", ["a\rb\r\r\n"], ["a\rb\r"]],
    ["a CR at the very end", ["a\r"], ["a"]],
    ["a line over many chunks", ["a", "b", "c\nd"], ["abc", "d"]],
    ["a character over two chunks", [Buffer.from([0xc3]), Buffer.from([0xa4, 0x0a])], ["ä"]],
    ["a byte order mark", [Buffer.from([0xef, 0xbb, 0xbf, 0x61])], ["\ufeffa"]],
    ["bytes that are not UTF-8", [Buffer.from([0xff, 0x61, 0xc3, 0x0a])], ["\ufffda\ufffd"]],
    ["NUL", [Buffer.from([0, 1, 0x0a])], ["\0\x01"]],
  ])("%s", (_, chunks, lines) => {
    expect(split(chunks)).toEqual(lines);
  });

  test.each<[string, string[], string[]]>([
    ["as long as it may be", ["12345678\nb"], ["12345678", "b"]],
    ["as long as it may be, with CR LF", ["12345678\r\nb"], ["12345678", "b"]],
    ["longer", ["123456789\nb"], ["123456789", "b"]],
    ["much longer", ["123456789abc", "def", "g\nb"], ["123456789a", "b"]],
    ["longer, without an end", ["123456789abc", "def"], ["123456789a"]],
    ["of the long kind", ["::r 56789abc\nb"], ["::r 56789abc", "b"]],
    ["of the long kind, byte by byte", [..."::r 56789abc\nb"], ["::r 56789abc", "b"]],
    ["of the long kind, too long", ["::r 56789abcdefghijklm", "nop\nb"], ["::r 56789abcdefghi", "b"]],
    ["of a kind that is almost that", ["::r_56789abcdefghijklm\nb"], ["::r_56789a", "b"]],
  ])("a line %s", (_, chunks, lines) => {
    expect(split(chunks)).toEqual(lines);
  });

  test("whatever the chunks are", () => {
    const byte = fc.oneof(fc.constantFrom(0x0a, 0x0d, 0x61), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 60 }), fc.array(fc.nat(60), { maxLength: 6 }), (bytes, cuts) => {
        const whole = Buffer.from(bytes);
        const at = [...cuts.map((cut) => Math.min(cut, whole.length)), 0, whole.length].sort((a, b) => a - b);
        const chunks = at.slice(1).map((end, index) => whole.subarray(at[index], end));
        const large = { maxBytes: 1_000, long: { prefix: "x", maxBytes: 1_000 } };
        expect(split(chunks, large)).toEqual(split([whole], large));
        expect(split(chunks)).toEqual(split([whole]));
        const expected = whole.toString("latin1").split("\n");
        if (expected.at(-1) === "") expected.pop();
        const simple = expected.map((line) => Buffer.from(line.replace(/\r$/, ""), "latin1"));
        const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
        expect(split([whole], large)).toEqual(simple.map((line) => decoder.decode(line)));
      }),
    );
  });

  test("a line of 100 MB keeps no more than its limit", () => {
    const splitter = new LineSplitter({ maxBytes: 16_384, long: { prefix: "::result ", maxBytes: 262_144 } });
    const chunk = Buffer.alloc(1024 * 1024, "x");
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 100; i += 1) expect([...splitter.push(chunk)]).toEqual([]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
    expect(splitter.end()).toHaveLength(16_386);
  });
});
