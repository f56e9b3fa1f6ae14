/**
 * Every LevelDB key is built and parsed here; docs/storage.md has the table.
 * The small values of the numbered cells (F, W, C, G, B) are here too.
 */
import { crc32c } from "./crc32c.ts";
import { readNumber, writeNumber } from "./record.ts";

const spaces = {
  journal: 0x4a,
  value: 0x56,
  watermark: 0x57,
  checkpoint: 0x43,
  garbage: 0x47,
  floor: 0x46,
  filter: 0x42,
} as const;
export type NumberedSpace = "journal" | "watermark" | "checkpoint" | "floor";

const spaceNames = new Map(Object.entries(spaces).map(([name, letter]) => [letter, name as keyof typeof spaces]));
const maxNumber = Number.MAX_SAFE_INTEGER;

/** Which space a key is of; undefined where it is of none, or too short or too long for it. */
export function spaceOf(key: Buffer): keyof typeof spaces | undefined {
  const name = spaceNames.get(key[0] as (typeof spaces)[keyof typeof spaces]);
  if (name === "value") return key.length > 11 ? name : undefined;
  return key.length === (name === "garbage" || name === "filter" ? 13 : 9) ? name : undefined;
}

/** The key of a number in one of the spaces that are keyed by a number alone. */
export function numberedKey(space: NumberedSpace, number: number): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = spaces[space];
  writeNumber(key, 1, number);
  return key;
}

export function keyNumber(key: Buffer): number {
  return readNumber(key, 1);
}

/** The bounds of the numbers from `first` to `last`, both included. */
export function numberedRange(space: NumberedSpace, first = 0, last = maxNumber): { gte: Buffer; lte: Buffer } {
  return { gte: numberedKey(space, first), lte: numberedKey(space, last) };
}

/** The key of part `part` of what goes once history starts at `watermark` or later. */
export function garbageKey(watermark: number, part: number): Buffer {
  return partKey(spaces.garbage, watermark, part);
}

/** The key of part `part` of the filter of keys that was kept as the `number`th. */
export function filterKey(number: number, part: number): Buffer {
  return partKey(spaces.filter, number, part);
}

function partKey(letter: number, number: number, part: number): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = letter;
  writeNumber(key, 1, number);
  key.writeUInt32BE(part, 9);
  return key;
}

export function garbageRange(lastWatermark: number): { gte: Buffer; lte: Buffer } {
  return { gte: garbageKey(0, 0), lte: garbageKey(lastWatermark, 0xffff_ffff) };
}

/** Where the versions of `key` begin; with the revision inverted behind it, the newest is first. */
function valueStem(key: string, terminator: readonly number[], tailBytes: number): Buffer {
  const nuls = key.includes("\0") ? key.split("\0").length - 1 : 0;
  const stem = Buffer.allocUnsafe(1 + Buffer.byteLength(key) + nuls + terminator.length + tailBytes);
  stem[0] = spaces.value;
  let at = 1;
  if (nuls === 0) {
    at += stem.write(key, 1);
  } else {
    for (const byte of Buffer.from(key)) {
      stem[at++] = byte;
      if (byte === 0) stem[at++] = 0xff;
    }
  }
  for (let i = 0; i < terminator.length; i += 1) stem[at + i] = terminator[i]!;
  return stem;
}

export function valueKey(key: string, revision: number): Buffer {
  const bytes = valueStem(key, [0, 0], 8);
  writeNumber(bytes, bytes.length - 8, maxNumber - revision);
  return bytes;
}

/** The bounds of all versions of `key`. */
export function versionsRange(key: string): { gte: Buffer; lt: Buffer } {
  return { gte: valueStem(key, [0, 0], 0), lt: valueStem(key, [0, 1], 0) };
}

/** The bounds of all versions of all keys that begin with `prefix` and come after (reverse: before) `after`. */
export function prefixRange(prefix: string, after?: string, reverse = false): { gte: Buffer; lt: Buffer } {
  const gte = valueStem(prefix, [], 0);
  const lt = successor(gte);
  if (after === undefined) return { gte, lt };
  if (reverse) return { gte, lt: least(lt, valueStem(after, [0, 0], 0)) };
  return { gte: greatest(gte, valueStem(after, [0, 1], 0)), lt };
}

/** The bounds of all versions of all keys. */
export function valueSpace(): { gte: Buffer; lt: Buffer } {
  return { gte: Buffer.of(spaces.value), lt: Buffer.of(spaces.value + 1) };
}

/** The first LevelDB key that can come after this one. */
export function keyBehind(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.of(0)]);
}

/** The user's key and the revision in the key of a version; undefined if it is no such key. */
export function parseValueKey(bytes: Buffer): { key: string; revision: number } | undefined {
  const end = bytes.length - 10;
  if (end < 1 || bytes[end] !== 0 || bytes[end + 1] !== 0) return undefined;
  return { key: keyBytes(bytes).toString("utf8"), revision: maxNumber - readNumber(bytes, end + 2) };
}

/** The UTF-8 bytes of the user's key in the key of a version. */
export function keyBytes(bytes: Buffer): Buffer {
  const text = bytes.subarray(1, bytes.length - 10);
  if (!text.includes(0)) return text;
  const plain = Buffer.allocUnsafe(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i += 1) {
    plain[length++] = text[i]!;
    if (text[i] === 0) i += 1;
  }
  return plain.subarray(0, length);
}

/** Whether two keys of versions are of the same key. */
export function sameStem(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && a.compare(b, 0, b.length - 8, 0, a.length - 8) === 0;
}

function successor(bytes: Buffer): Buffer {
  // Only the escape of a NUL has 0xff, and it follows a zero: what comes after both is that zero raised.
  let length = bytes.length;
  while (bytes[length - 1] === 0xff) length -= 1;
  const next = Buffer.from(bytes.subarray(0, length));
  next[length - 1]! += 1;
  return next;
}

function least(a: Buffer, b: Buffer): Buffer {
  return a.compare(b) <= 0 ? a : b;
}

function greatest(a: Buffer, b: Buffer): Buffer {
  return a.compare(b) >= 0 ? a : b;
}

/** A cell: numbers and a CRC over key and numbers. */
function encodeCell(key: Buffer, numbers: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(8 * numbers.length + 4);
  for (let i = 0; i < numbers.length; i += 1) writeNumber(bytes, 8 * i, numbers[i]!);
  bytes.writeUInt32BE(crc32c(bytes, 0, bytes.length - 4, crc32c(key, 0, key.length)), bytes.length - 4);
  return bytes;
}

/** What writes a cell. */
export function putCell(key: Buffer, numbers: readonly number[]): { type: "put"; key: Buffer; value: Buffer } {
  return { type: "put", key, value: encodeCell(key, numbers) };
}

/** The numbers of a cell; undefined if it is damaged. */
export function decodeCell(key: Buffer, bytes: Buffer): number[] | undefined {
  const end = bytes.length - 4;
  if (end < 0 || end % 8 !== 0) return undefined;
  if (crc32c(bytes, 0, end, crc32c(key, 0, key.length)) !== bytes.readUInt32BE(end)) return undefined;
  return Array.from({ length: end / 8 }, (_, i) => readNumber(bytes, 8 * i));
}

/** A list of LevelDB keys and a CRC over them. */
export function encodeKeyList(keys: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [];
  for (const key of keys) {
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32BE(key.length);
    parts.push(length, key);
  }
  const list = Buffer.concat(parts);
  const crc = Buffer.allocUnsafe(4);
  crc.writeUInt32BE(crc32c(list, 0, list.length));
  return Buffer.concat([list, crc]);
}

/** The keys of a list; undefined if it is damaged. */
export function decodeKeyList(bytes: Buffer): Buffer[] | undefined {
  const end = bytes.length - 4;
  if (end < 0 || crc32c(bytes, 0, end) !== bytes.readUInt32BE(end)) return undefined;
  const keys: Buffer[] = [];
  for (let at = 0; at < end; ) {
    const length = bytes.readUInt32BE(at);
    keys.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return keys;
}
