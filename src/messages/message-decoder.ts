/**
 * Decodes messages to what fromBinary of @bufbuild/protobuf makes of their bytes, at a fraction of its cost: a status is decoded for
 * each task of a page, and for each that is resumed or launched again. Fields that the schema does not have are left out.
 *
 * What is to be read of a message is worked out once, from its descriptor. Whatever is unusual is left to fromBinary, which
 * says what is wrong with it, or knows what to make of it: bytes that are no message, a field that comes twice where
 * the two are merged, a number of 2^53 and above, and kinds of fields that are seldom. So what is read here is right, or not read here.
 */
import { type DescField, type DescMessage, fromBinary, type MessageShape, ScalarType } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { wholeMessages } from "./whole-messages.ts";
import { strictUtf8 } from "./whole-text.ts";

type Fields = Record<string, unknown>;
type ReadValue = () => unknown;
/** Reads a field into what has it. */
type ReadField<T = Fields> = (into: T) => void;

/** How fields are read, by their tags. */
interface FieldsPlan<T = Fields> {
  readonly fields: Map<number, ReadField<T>>;
  /** The numbers of all there are, also of those that are not read here. */
  readonly numbers: ReadonlySet<number>;
}

interface MessagePlan extends FieldsPlan {
  readonly make: () => Fields;
}

interface ValuePlan {
  readonly wireType: WireType;
  readonly zero: () => unknown;
  readonly read: ReadValue;
}

/** Thrown where fromBinary is to say, or to know: always the same one, as making one costs more than all that is read of most messages. */
const unusual = new Error("it is left to fromBinary");
const readOptions = { readUnknownFields: false };
const asciiMax = 64;
const plainWellKnown: ReadonlySet<string> = new Set(["Timestamp", "Duration", "FieldMask", "Any", "Empty"]);
const plans = new Map<DescMessage, MessagePlan>();
const noBytes = Buffer.alloc(0);
/** What is being read, and where; nothing here waits, so one is under way at a time. */
let input: Buffer = noBytes;
let at = 0;

type Decoded<D extends readonly DescMessage[]> = { [I in keyof D]: MessageShape<D[I] & DescMessage> };

/** A decoder of bytes that are messages of these schemas, one behind the other, which have no field number in common. It throws as fromBinary does. */
export function createDecoder<const D extends readonly DescMessage[]>(
  ...schemas: D
): (bytes: Uint8Array) => Decoded<D> {
  const decode = createQuickDecoder(...schemas);
  return (bytes) =>
    decode(bytes) ?? (schemas.map((schema) => fromBinary(schema, bytes, readOptions)) as unknown as Decoded<D>);
}

/** The same, which answers undefined for what is left to fromBinary. */
export function createQuickDecoder<const D extends readonly DescMessage[]>(
  ...schemas: D
): (bytes: Uint8Array) => Decoded<D> | undefined {
  const all = schemas.map(messagePlan);
  const together: FieldsPlan<readonly Fields[]> = {
    fields: new Map(
      all.flatMap(({ fields }, i) => [...fields].map(([tag, read]) => [tag, (into) => read(into[i] as Fields)])),
    ),
    numbers: new Set(all.flatMap(({ numbers }) => [...numbers])),
  };
  return (bytes) => {
    input = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    at = 0;
    try {
      const messages = all.map(({ make }) => make());
      readFields(messages, together, input.length);
      return messages as unknown as Decoded<D>;
    } catch {
      return undefined;
    } finally {
      input = noBytes;
    }
  };
}

function messagePlan(desc: DescMessage): MessagePlan {
  const known = plans.get(desc);
  if (known !== undefined) return known;
  const numbers = new Set(desc.fields.map(({ number }) => number));
  const plan: MessagePlan = { make: wholeMessages(desc), fields: new Map(), numbers };
  // Before its fields, as a message may have itself as a field.
  plans.set(desc, plan);
  for (const field of desc.fields) {
    const value = valuePlan(field);
    if (value === undefined) continue;
    const isWhole = field.fieldKind === "map" || (field.fieldKind === "list" && field.packed);
    const wireType = isWhole ? WireType.LengthDelimited : value.wireType;
    plan.fields.set(((field.number << 3) | wireType) >>> 0, fieldReader(field, value));
  }
  return plan;
}

function fieldReader(field: DescField, { wireType, zero, read }: ValuePlan): ReadField {
  const { localName, message } = field;
  if (field.fieldKind === "map") return mapReader(localName, ((2 << 3) | wireType) >>> 0, { zero, read });
  if (field.fieldKind === "list" && field.packed) return packedReader(localName, read);
  if (field.fieldKind === "list") return (into) => void (into[localName] as unknown[]).push(read());
  if (field.oneof !== undefined) {
    const choiceName = field.oneof.localName;
    return (into) => {
      const choice = into[choiceName] as { readonly case?: string };
      if (message !== undefined && choice.case === localName) throw unusual;
      into[choiceName] = { case: localName, value: read() };
    };
  }
  if (message === undefined) return (into) => void (into[localName] = read());
  return (into) => {
    if (into[localName] !== undefined) throw unusual;
    into[localName] = read();
  };
}

/** Values one behind the other. */
function packedReader(localName: string, read: ReadValue): ReadField {
  return (into) => {
    const end = readEnd();
    while (at < end) (into[localName] as unknown[]).push(read());
    checkEnd(end);
  };
}

/** A map is a list of messages with a key and a value, of which what is not there is zero. */
function mapReader(localName: string, valueTag: number, { zero, read }: Omit<ValuePlan, "wireType">): ReadField {
  const keyTag = (1 << 3) | WireType.LengthDelimited;
  return (into) => {
    let key = "";
    let value = zero();
    const end = readEnd();
    while (at < end) {
      const tag = readTag();
      if (tag === keyTag) key = readText();
      else if (tag === valueTag) value = read();
      else throw unusual;
    }
    checkEnd(end);
    (into[localName] as Fields)[key] = value;
  };
}

/** How a value of the field is read; undefined for what is left to fromBinary. */
function valuePlan(field: DescField): ValuePlan | undefined {
  const isOtherMap = field.fieldKind === "map" && field.mapKey !== ScalarType.STRING;
  if (isOtherMap || field.enum?.open === false || ("delimitedEncoding" in field && field.delimitedEncoding))
    return undefined;
  if (field.message !== undefined) return nestedPlan(field.message);
  switch (field.scalar ?? ScalarType.INT32) {
    case ScalarType.STRING:
      return { wireType: WireType.LengthDelimited, zero: () => "", read: readText };
    case ScalarType.BYTES:
      return { wireType: WireType.LengthDelimited, zero: () => new Uint8Array(0), read: readBytes };
    case ScalarType.BOOL:
      return { wireType: WireType.Varint, zero: () => false, read: () => readVarint() !== 0 };
    case ScalarType.INT32:
      return { wireType: WireType.Varint, zero: () => 0, read: readInt32 };
    case ScalarType.UINT32:
      return { wireType: WireType.Varint, zero: () => 0, read: () => readInt32() >>> 0 };
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return { wireType: WireType.Varint, zero: () => 0n, read: readBigInt };
    default:
      return undefined;
  }
}

/** Of the messages that protobuf itself has, some are no messages in JavaScript. */
function nestedPlan(desc: DescMessage): ValuePlan | undefined {
  const [, name = ""] = /^google\.protobuf\.(\w+)$/.exec(desc.typeName) ?? [];
  if (name !== "" && !plainWellKnown.has(name)) return undefined;
  const plan = messagePlan(desc);
  return { wireType: WireType.LengthDelimited, zero: plan.make, read: () => readMessage(plan) };
}

function readMessage(plan: MessagePlan): Fields {
  const message = plan.make();
  readFields(message, plan, readEnd());
  return message;
}

function readFields<T>(into: T, { fields, numbers }: FieldsPlan<T>, end: number): void {
  while (at < end) {
    const tag = readTag();
    const read = fields.get(tag);
    if (read === undefined) skip(tag, numbers);
    else read(into);
  }
  checkEnd(end);
}

/** Passes over a field that the schema does not have. */
function skip(tag: number, numbers: ReadonlySet<number>): void {
  const number = Math.floor(tag / 8);
  if (number === 0 || numbers.has(number)) throw unusual;
  switch (tag % 8) {
    case WireType.Varint:
      readVarint();
      return;
    case WireType.LengthDelimited:
      at = readEnd();
      return;
    default:
      throw unusual;
  }
}

/** Where that ends whose length comes next. */
function readEnd(): number {
  const length = readVarint();
  const end = at + length;
  if (end > input.length) throw unusual;
  return end;
}

function checkEnd(end: number): void {
  if (at !== end) throw unusual;
}

function readText(): string {
  const end = readEnd();
  const start = at;
  at = end;
  if (end - start <= asciiMax && isAscii(start, end)) return input.toString("latin1", start, end);
  return strictUtf8.decode(input.subarray(start, end));
}

function isAscii(start: number, end: number): boolean {
  for (let i = start; i < end; i += 1) if ((input[i] as number) > 0x7f) return false;
  return true;
}

function readBytes(): Uint8Array {
  const end = readEnd();
  const start = at;
  at = end;
  return new Uint8Array(input.buffer, input.byteOffset + start, end - start);
}

function readBigInt(): bigint {
  const value = readVarint();
  return value === 0 ? 0n : BigInt(value);
}

/** The lowest 32 bits of what may have 64, as numbers below zero have. */
function readInt32(): number {
  let bits = 0;
  for (let byte = 0; byte < 10; byte += 1) {
    const next = readByte();
    if (byte < 5) bits |= (next & 0x7f) << (byte * 7);
    if (next < 0x80) return bits;
  }
  throw unusual;
}

/** A tag, which has five bytes at most. */
function readTag(): number {
  const start = at;
  const tag = readVarint();
  if (tag > 0xffffffff || at - start > 5) throw unusual;
  return tag;
}

/** A number below 2^53. */
function readVarint(): number {
  const first = input[at];
  if (first !== undefined && first < 0x80) {
    at += 1;
    return first;
  }
  let value = 0;
  for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
    const next = readByte();
    value += (next & 0x7f) * factor;
    if (next >= 0x80) continue;
    if (value > Number.MAX_SAFE_INTEGER) break;
    return value;
  }
  throw unusual;
}

function readByte(): number {
  if (at >= input.length) throw unusual;
  const byte = input[at] as number;
  at += 1;
  return byte;
}
