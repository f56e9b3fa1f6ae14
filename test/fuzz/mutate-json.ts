/** Ways to change a text of JSON, and its bytes. */
import type { SeededRandom } from "../support/seeded-random.ts";

type Mutate = (text: string, random: SeededRandom) => Buffer;

const spots = /"(?:[^"\\]|\\.)*"(?!\s*:)|-?\d[\d.eE+-]*|true|false|null|\[\]|\{\}/g;
const literals = [
  ...["null", "true", '""', '"x"', "[]", "{}", "[{}]", '{"a":1}', "0", "-0", "-1", "1.5", "1e400", "-1e400", "1e-400"],
  ...[
    "4294967296",
    "9007199254740993",
    "18446744073709551616",
    "123456789012345678901234567890123456789012345678901234567890",
  ],
  ...[
    '"18446744073709551616"',
    '"-1"',
    '"1e3"',
    '"0x10"',
    '"NaN"',
    '"Infinity"',
    '"true"',
    '"1.5s"',
    '"-1s"',
    '"999999999999999s"',
    '"a,b"',
  ],
];
const oddKeys = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "",
  "$typeName",
  "@type",
  "nope",
  "\\u0000",
];
const oddText = ["\\ud800", "\\udc00x", "\\u0000", "\\u202e", "\\ufeff", "\\uffff", "\\u001b[2J", "é😀", "%2e%2e/"];

/** Puts other text in the place of a value that is no key. */
function replaceValue(text: string, random: SeededRandom, by: (old: string) => string): Buffer {
  const all = [...text.matchAll(spots)];
  if (all.length === 0) return Buffer.from(by(text));
  const { index, 0: old } = random.pick(all);
  return Buffer.from(text.slice(0, index) + by(old) + text.slice(index + old.length));
}

/** Puts a member into an object of the text; at its beginning or, where one is nested, somewhere in it. */
function addMember(text: string, random: SeededRandom, member: string): Buffer {
  const all = [...text.matchAll(/\{/g)];
  if (all.length === 0) return Buffer.from(`{${member}}`);
  const at = random.pick(all).index + 1;
  const rest = text.slice(at);
  return Buffer.from(`${text.slice(0, at)}${member}${/^\s*\}/.test(rest) ? "" : ","}${rest}`);
}

function nest(random: SeededRandom): string {
  const depth = random.pick([20, 33, 99, 101, 1_000, 20_000]);
  const [open, close] = random.pick([
    ["[", "]"],
    ['{"a":', "}"],
    ['{"fields":', "}"],
  ] as const);
  return open.repeat(depth) + (random.chance(0.7) ? `1${close.repeat(depth)}` : "");
}

function changeByte(text: string, random: SeededRandom, to: () => readonly number[]): Buffer {
  const bytes = Buffer.from(text);
  const at = random.int(0, Math.max(0, bytes.length - 1));
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(to()), bytes.subarray(at + random.int(0, 1))]);
}

/** By what they do. */
export const jsonMutations = {
  "another type": (text, random) => replaceValue(text, random, () => random.pick(literals)),
  "deeply nested": (text, random) => replaceValue(text, random, () => nest(random)),
  "an unknown key": (text, random) => addMember(text, random, `"${random.pick(oddKeys)}":${random.pick(literals)}`),
  "polluting keys": (text, random) =>
    addMember(text, random, `"${random.pick(["__proto__", "constructor"])}":{"polluted":1,"prototype":{"polluted":1}}`),
  "a key twice": (text, random) => {
    const member = /"[^"]*":(?:"(?:[^"\\]|\\.)*"|[\w.-]+)/.exec(text)?.[0] ?? '"controller":"tests"';
    return addMember(text, random, member);
  },
  "odd text": (text, random) =>
    replaceValue(text, random, (old) => `"${old.startsWith('"') ? old.slice(1, -1) : ""}${random.pick(oddText)}"`),
  "cut short": (text, random) => Buffer.from(text).subarray(0, random.int(0, Buffer.byteLength(text))),
  "a byte": (text, random) => changeByte(text, random, () => [random.int(0, 255)]),
  "bytes that are no UTF-8": (text, random) =>
    changeByte(text, random, () => random.pick([[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]])),
  punctuation: (text, random) =>
    changeByte(text, random, () => [
      ...Buffer.from(random.pick(['"', ",", ":", "{", "}", "[", "]", "\\", "/*", "\n"])),
    ]),
  "white space": (text, random) => Buffer.from(" \r\n\t".repeat(random.int(1, 500)) + text),
  "more behind it": (text, random) => Buffer.from(text + random.pick(["{}", " null", ",", "\0", text])),
  "another encoding": (text, random) =>
    random.chance(0.5)
      ? Buffer.from(text, "utf16le")
      : Buffer.concat([Buffer.from("efbbbf", "hex"), Buffer.from(text)]),
  "no object": (_, random) => Buffer.from(random.pick([...literals, "", " ", "undefined", "NaN", "{]", "'a'"])),
} satisfies Record<string, Mutate>;

export type JsonMutation = keyof typeof jsonMutations;
