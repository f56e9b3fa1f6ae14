/** Ways to change the bytes of a message. */
import type { SeededRandom } from "../support/seeded-random.ts";

export const byteMutations = [
  "a bit",
  "a byte",
  "cut short",
  "inserted",
  "removed",
  "doubled",
  "another tag",
  "a huge varint",
  "a lying length",
  "an unknown field",
  "groups",
  "deep messages",
  "another's tail",
  "random",
] as const;
export type ByteMutation = (typeof byteMutations)[number];

const interesting = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
const tenBytes = Buffer.from("ffffffffffffffffff01", "hex");

/** Changes the bytes in one way; `other` is of another message. */
export function mutateBytes(kind: ByteMutation, own: Buffer, other: Buffer, random: SeededRandom): Buffer {
  const at = own.length === 0 ? 0 : random.int(0, own.length - 1);
  const splice = (removed: number, added: Uint8Array): Buffer =>
    Buffer.concat([own.subarray(0, at), added, own.subarray(at + removed)]);
  switch (kind) {
    case "a bit":
      return splice(1, Buffer.of((own[at] ?? 0) ^ (1 << random.int(0, 7))));
    case "a byte":
      return splice(1, Buffer.of(random.chance(0.5) ? random.pick(interesting) : random.int(0, 255)));
    case "cut short":
      return own.subarray(0, at);
    case "inserted":
      return splice(0, randomBytes(random, random.int(1, 8)));
    case "removed":
      return splice(random.int(1, 8), Buffer.alloc(0));
    case "doubled":
      return Buffer.concat([own, own]);
    case "another tag":
      return splice(1, Buffer.of((random.int(0, 20) << 3) | random.int(0, 7)));
    case "a huge varint":
      return splice(random.int(0, 1), tenBytes);
    case "a lying length":
      return splice(1, random.pick([Buffer.of(0xff, 0xff, 0xff, 0xff, 0x07), Buffer.of(0x7f), Buffer.of(0)]));
    case "an unknown field":
      return Buffer.concat([own, Buffer.from("a2060178", "hex")]);
    case "groups":
      return Buffer.concat([own, Buffer.alloc(random.int(1, 300), (random.int(1, 15) << 3) | random.pick([3, 4]))]);
    case "deep messages":
      return Buffer.concat([own, deep(random.int(1, 200))]);
    case "another's tail":
      return Buffer.concat([own.subarray(0, at), other.subarray(random.int(0, other.length))]);
    case "random":
      return randomBytes(random, random.int(0, 60));
  }
}

/** metadata {fields {key "a" value {struct_value {fields ...: a google.protobuf.Struct in LaunchTaskRequest, that deep. */
function deep(depth: number): Buffer {
  let inner: Buffer = Buffer.alloc(0);
  const wrap = (tag: number, bytes: Buffer): Buffer => Buffer.concat([Buffer.of(tag), varint(bytes.length), bytes]);
  for (let level = 0; level < depth; level += 1) {
    const value = wrap(0x2a, inner);
    inner = wrap(0x0a, Buffer.concat([Buffer.from("0a0161", "hex"), wrap(0x12, value)]));
  }
  return wrap(0x22, inner);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 0x80);
  }
}

export function randomBytes(random: SeededRandom, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.int(0, 255)));
}
