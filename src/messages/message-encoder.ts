/**
 * Encodes messages to the bytes that toBinary of @bufbuild/protobuf makes of them, at a fraction of its cost: a status is
 * encoded with each change of its task, and reflection was half of all that a change left to the garbage collector.
 *
 * What is to be written of a message is worked out once, from its descriptor. All messages are written into one buffer,
 * which grows as needed, and copied out of it; nothing here waits, so one is under way at a time.
 */
import {
  type DescField,
  type DescMessage,
  type Message,
  type MessageShape,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

/** Writes a value, or the fields of a message. */
type Write = (value: unknown) => void;

interface ValuePlan {
  readonly wireType: WireType;
  /** The value that a field without presence is not written with. */
  readonly zero: unknown;
  readonly write: Write;
}

interface UnknownField {
  readonly no: number;
  readonly wireType: WireType;
  readonly data: Uint8Array;
}

type Fields = Readonly<Record<string, unknown>>;

const keptBytes = 64 * 1024;
const shortUnits = 64;
const plans = new Map<DescMessage, Write>();
let buffer = Buffer.allocUnsafeSlow(keptBytes);
let end = 0;

/** An encoder of messages, each of its schema, one behind the other. It throws as toBinary does. */
export function createEncoder<const D extends readonly DescMessage[]>(
  ...schemas: D
): (...messages: { [I in keyof D]: MessageShape<D[I] & DescMessage> }) => Buffer {
  const writes = schemas.map(plan);
  return (...messages) => {
    end = 0;
    try {
      for (let i = 0; i < writes.length; i += 1) writes[i]?.(messages[i]);
    } catch {
      // Some field has a value of another type: toBinary says which, or knows what to make of it.
      return Buffer.concat(schemas.map((schema, i) => toBinary(schema, messages[i] as Message)));
    }
    const bytes = Buffer.allocUnsafe(end);
    buffer.copy(bytes, 0, 0, end);
    if (buffer.length > keptBytes) buffer = Buffer.allocUnsafeSlow(keptBytes);
    return bytes;
  };
}

/** A plan that could not be made whole, or has one that could not, must not be there for the next. */
function plan(desc: DescMessage): Write {
  try {
    return messagePlan(desc);
  } catch (error) {
    plans.clear();
    throw error;
  }
}

function messagePlan(desc: DescMessage): Write {
  const known = plans.get(desc);
  if (known !== undefined) return known;
  const fields: Write[] = [];
  const write: Write = (message) => {
    for (const field of fields) field(message);
    for (const { no, wireType, data } of ((message as Fields)["$unknown"] as readonly UnknownField[] | undefined) ??
      []) {
      writeVarint(((no << 3) | wireType) >>> 0);
      writeRaw(data);
    }
  };
  // Before its fields, as a message may have itself as a field.
  plans.set(desc, write);
  fields.push(...desc.fields.toSorted((a, b) => a.number - b.number).map(fieldPlan));
  return write;
}

function fieldPlan(field: DescField): Write {
  const { localName, number } = field;
  const { wireType, zero, write } = valuePlan(field);
  const tag = ((number << 3) | wireType) >>> 0;
  if (field.fieldKind === "map") return mapPlan(field, wireType, write);
  if (field.fieldKind === "list") {
    return (message) => {
      for (const item of (message as Fields)[localName] as readonly unknown[]) {
        writeVarint(tag);
        write(item);
      }
    };
  }
  if (field.oneof !== undefined) {
    const choiceName = field.oneof.localName;
    return (message) => {
      const choice = (message as Fields)[choiceName] as { readonly case?: string; readonly value?: unknown };
      if (choice.case !== localName) return;
      writeVarint(tag);
      write(choice.value);
    };
  }
  const hasPresence = field.presence !== FeatureSet_FieldPresence.IMPLICIT;
  return (message) => {
    const value = (message as Fields)[localName];
    if (value === undefined || (!hasPresence && (value === zero || isNoBytes(value)))) return;
    writeVarint(tag);
    write(value);
  };
}

/** A map is a list of messages with a key and a value. */
function mapPlan({ localName, number }: DescField, wireType: WireType, write: Write): Write {
  const tag = ((number << 3) | WireType.LengthDelimited) >>> 0;
  const keyTag = (1 << 3) | WireType.LengthDelimited;
  const valueTag = (2 << 3) | wireType;
  return (message) => {
    const map = (message as Fields)[localName] as Fields;
    for (const key of Object.keys(map)) {
      writeVarint(tag);
      const start = beginLength();
      writeVarint(keyTag);
      writeText(key);
      writeVarint(valueTag);
      write(map[key]);
      endLength(start);
    }
  };
}

function valuePlan(field: DescField): ValuePlan {
  const isPacked = field.fieldKind === "list" && field.packed;
  const isOtherMap = field.fieldKind === "map" && field.mapKey !== ScalarType.STRING;
  if (isPacked || isOtherMap) throw notEncodable(field);
  if (field.message !== undefined) return delimited(undefined, nested(messagePlan(field.message)));
  switch (field.scalar ?? ScalarType.INT32) {
    case ScalarType.STRING:
      return delimited("", writeText);
    case ScalarType.BYTES:
      return delimited(undefined, writeBytes);
    case ScalarType.BOOL:
      return varint(false, (value) => writeVarint(value === true ? 1 : 0));
    case ScalarType.INT32:
      return varint(0, writeInt32);
    case ScalarType.UINT32:
      return varint(0, writeUint32);
    case ScalarType.INT64:
      return varint(0n, writeInt64);
    case ScalarType.UINT64:
      return varint(0n, writeUint64);
    default:
      throw notEncodable(field);
  }
}

function delimited(zero: unknown, write: Write): ValuePlan {
  return { wireType: WireType.LengthDelimited, zero, write };
}

function varint(zero: unknown, write: Write): ValuePlan {
  return { wireType: WireType.Varint, zero, write };
}

function nested(write: Write): Write {
  return (message) => {
    const start = beginLength();
    write(message);
    endLength(start);
  };
}

function isNoBytes(value: unknown): boolean {
  return value instanceof Uint8Array && value.length === 0;
}

/** Leaves one byte for the length of what follows, which is enough for most. Returns where that begins. */
function beginLength(): number {
  reserve(1);
  end += 1;
  return end;
}

function endLength(start: number): void {
  const length = end - start;
  const more = varintBytes(length) - 1;
  if (more > 0) {
    reserve(more);
    buffer.copyWithin(start + more, start, end);
  }
  end = start - 1;
  writeVarint(length);
  end += length;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) bytes += 1;
  return bytes;
}

function writeText(value: unknown): void {
  if (typeof value !== "string") throw unlike("text", value);
  const start = beginLength();
  if (value.length > shortUnits || !writeAscii(value)) {
    reserve(value.length * 3);
    end += buffer.write(value, end);
  }
  endLength(start);
}

/** Whether it was ASCII; else nothing was written. */
function writeAscii(value: string): boolean {
  reserve(value.length);
  for (let i = 0; i < value.length; i += 1) {
    const unit = value.charCodeAt(i);
    if (unit > 0x7f) return false;
    buffer[end + i] = unit;
  }
  end += value.length;
  return true;
}

function writeBytes(value: unknown): void {
  if (!(value instanceof Uint8Array)) throw unlike("bytes", value);
  const start = beginLength();
  writeRaw(value);
  endLength(start);
}

function writeRaw(bytes: Uint8Array): void {
  reserve(bytes.length);
  buffer.set(bytes, end);
  end += bytes.length;
}

function writeInt32(value: unknown): void {
  if (!Number.isInteger(value) || (value as number) !== ((value as number) | 0)) throw unlike("int32", value);
  if ((value as number) >= 0) writeVarint(value as number);
  else writeInt64(BigInt(value as number));
}

function writeUint32(value: unknown): void {
  if (!Number.isInteger(value) || (value as number) !== (value as number) >>> 0) throw unlike("uint32", value);
  writeVarint(value as number);
}

function writeInt64(value: unknown): void {
  if (typeof value !== "bigint" || value !== BigInt.asIntN(64, value)) throw unlike("int64", value);
  writeUint64(BigInt.asUintN(64, value));
}

function writeUint64(value: unknown): void {
  if (typeof value !== "bigint" || value !== BigInt.asUintN(64, value)) throw unlike("uint64", value);
  if (value <= Number.MAX_SAFE_INTEGER) return writeVarint(Number(value));
  reserve(10);
  let rest = value;
  for (; rest > 0x7fn; rest >>= 7n) buffer[end++] = Number(rest & 0x7fn) | 0x80;
  buffer[end++] = Number(rest);
}

/** Writes a whole number from 0 to 2^53. */
function writeVarint(value: number): void {
  reserve(8);
  let rest = value;
  for (; rest > 0x7fffffff; rest = Math.floor(rest / 128)) buffer[end++] = (rest % 128) | 0x80;
  for (; rest > 0x7f; rest >>>= 7) buffer[end++] = (rest & 0x7f) | 0x80;
  buffer[end++] = rest;
}

function reserve(bytes: number): void {
  if (end + bytes <= buffer.length) return;
  const grown = Buffer.allocUnsafeSlow(Math.max(buffer.length * 2, end + bytes));
  // All of it, as the length of what is behind may be what is written.
  buffer.copy(grown);
  buffer = grown;
}

function unlike(type: string, value: unknown): TypeError {
  return new TypeError(`a field of ${type} cannot have the value ${String(value)}`);
}

function notEncodable(field: DescField): Error {
  return new Error(`${String(field)} is of a kind that no message that is encoded here has had`);
}
