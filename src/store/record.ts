/**
 * The bytes of what is stored: a record is the envelope around one change of
 * one key, a journal block is what one group commit wrote. The layout is a
 * format on disk: docs/storage.md says why, and a change of it is a new version.
 *
 * record   magic(1) version(1) type(1) 0(1) keyLength(4) valueLength(4) revision(8) previous(8)
 *          key headCrc(4) value crc(4)
 * block    magic(2) version(1) 0(1) first(8) commits(4) records(4) wallMs(8) recordLength(4)... headCrc(4)
 *          record...
 *
 * 1. Each CRC is over everything of its record (block) before it.
 * 2. A record whose value is damaged still names its key and revision, as headCrc vouches
 *    for them; and the block's head says where each record lies. So damage stays where it is.
 * 3. Numbers are big-endian; revisions are safe integers.
 */
import { crc32c, crc32cOfRanges } from "./crc32c.ts";

export const recordTypes = { put: 1, delete: 2, index: 3, unindex: 4, counter: 5 } as const;
export type RecordType = (typeof recordTypes)[keyof typeof recordTypes];

/** A change that has been given its revision and is still to be encoded. */
export interface RecordDraft {
  type: RecordType;
  key: string;
  revision: number;
  /** The revision of the key's change before; 0 for none, and for index entries. */
  previous: number;
  value: Uint8Array;
}

/** A record where it lies in the bytes of a block or of an entry. */
export interface StoredRecord {
  readonly type: RecordType;
  readonly key: string;
  readonly revision: number;
  readonly previous: number;
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly valueStart: number;
  /** "value": only the value cannot be trusted; "head": nothing of it can. */
  readonly damage: "value" | "head" | undefined;
}

/** What one group commit wrote. Revisions first to last, both included. */
export interface JournalBlock {
  readonly first: number;
  readonly last: number;
  readonly wallMs: number;
  readonly bytes: Buffer;
  readonly records: readonly StoredRecord[];
}

export const noBytes = Buffer.alloc(0);

const recordMagic = 0xe5;
const recordVersion = 1;
const recordHeadBytes = 28;
const blockMagic = 0x5a4a;
const blockVersion = 1;
const blockHeadBytes = 28;
const crcBytes = 4;

/** Whether the record is of an entry that exists, and not of its end. */
export function isLive(type: RecordType): boolean {
  return type !== recordTypes.delete && type !== recordTypes.unindex;
}

/** Whether keys of records of this type have history. */
export function isVersioned(type: RecordType): boolean {
  return type === recordTypes.put || type === recordTypes.delete;
}

/** The value, in place; of no bytes when damaged. */
export function recordValue(record: StoredRecord): Buffer {
  if (record.damage !== undefined) return noBytes;
  return record.bytes.subarray(record.valueStart, record.end - crcBytes);
}

/** The record's own bytes, in place. */
export function recordBytes(record: StoredRecord): Buffer {
  return record.bytes.subarray(record.start, record.end);
}

// Blocks are built here and copied out at their size: one allocation a block.
let scratch = Buffer.allocUnsafeSlow(1 << 16);
const scratchKeepBytes = 8 << 20;

/** The block of the drafts, in their order. */
export function encodeBlock(
  first: number,
  commits: number,
  wallMs: number,
  drafts: readonly RecordDraft[],
): JournalBlock {
  let maxBytes = blockHeadBytes + crcBytes;
  for (const { key, value } of drafts) maxBytes += 4 + recordHeadBytes + key.length * 3 + value.length + 2 * crcBytes;
  if (scratch.length < maxBytes) scratch = Buffer.allocUnsafeSlow(maxBytes * 2);

  scratch.writeUInt16BE(blockMagic, 0);
  scratch[2] = blockVersion;
  scratch[3] = 0;
  writeNumber(scratch, 4, first);
  writeUint32(scratch, 12, commits);
  writeUint32(scratch, 16, drafts.length);
  writeNumber(scratch, 20, wallMs);
  const headEnd = blockHeadBytes + 4 * drafts.length;
  let at = headEnd + crcBytes;
  const layout: { start: number; end: number; valueStart: number }[] = [];
  for (let i = 0; i < drafts.length; i += 1) {
    const start = at;
    const valueStart = encodeHead(drafts[i]!, start);
    at = encodeValue(drafts[i]!, valueStart);
    writeUint32(scratch, blockHeadBytes + 4 * i, at - start);
    layout.push({ start, end: at, valueStart });
  }
  writeUint32(scratch, headEnd, crc32c(scratch, 0, headEnd));

  const bytes = Buffer.allocUnsafeSlow(at);
  scratch.copy(bytes, 0, 0, at);
  if (scratch.length > scratchKeepBytes) scratch = Buffer.allocUnsafeSlow(1 << 16);
  const records = drafts.map(({ type, key, revision, previous }, i): StoredRecord => {
    const { start, end, valueStart } = layout[i]!;
    return { type, key, revision, previous, bytes, start, end, valueStart, damage: undefined };
  });
  return { first, last: first + commits - 1, wallMs, bytes, records };
}

/** One record alone. */
export function encodeRecord(draft: RecordDraft): Buffer {
  const { records } = encodeBlock(draft.revision, 1, 0, [draft]);
  return recordBytes(records[0]!);
}

function encodeHead({ type, key, revision, previous, value }: RecordDraft, start: number): number {
  const keyStart = start + recordHeadBytes;
  const keyEnd = keyStart + writeKey(key, keyStart);
  scratch[start] = recordMagic;
  scratch[start + 1] = recordVersion;
  scratch[start + 2] = type;
  scratch[start + 3] = 0;
  writeUint32(scratch, start + 4, keyEnd - keyStart);
  writeUint32(scratch, start + 8, value.length);
  writeNumber(scratch, start + 12, revision);
  writeNumber(scratch, start + 20, previous);
  writeUint32(scratch, keyEnd, crc32c(scratch, start, keyEnd));
  return keyEnd + crcBytes;
}

function encodeValue({ value }: RecordDraft, valueStart: number): number {
  scratch.set(value, valueStart);
  const valueEnd = valueStart + value.length;
  const headCrcAt = valueStart - crcBytes;
  // The CRC of the head goes on over itself and the value: no byte is read twice.
  writeUint32(scratch, valueEnd, crc32c(scratch, headCrcAt, valueEnd, readUint32(scratch, headCrcAt)));
  return valueEnd + crcBytes;
}

function writeKey(key: string, at: number): number {
  for (let i = 0; i < key.length; i += 1) {
    const unit = key.charCodeAt(i);
    if (unit >= 0x80) return scratch.write(key, at, "utf8");
    scratch[at + i] = unit;
  }
  return key.length;
}

/** The record in bytes[start, end); never throws, whatever the bytes are. */
export function decodeRecord(bytes: Buffer, start = 0, end = bytes.length): StoredRecord {
  const least = recordHeadBytes + 2 * crcBytes;
  const sound = end - start >= least && bytes[start] === recordMagic && bytes[start + 1] === recordVersion;
  const type = sound ? (bytes[start + 2] as RecordType) : 0;
  const keyStart = start + recordHeadBytes;
  const keyEnd = sound ? keyStart + readUint32(bytes, start + 4) : 0;
  const valueStart = keyEnd + crcBytes;
  const headSound =
    sound &&
    type >= recordTypes.put &&
    type <= recordTypes.counter &&
    valueStart + crcBytes <= end &&
    crc32c(bytes, start, keyEnd) === readUint32(bytes, keyEnd);
  if (!headSound) {
    return {
      type: 1,
      key: "",
      revision: 0,
      previous: 0,
      bytes,
      start,
      end,
      valueStart: end - crcBytes,
      damage: "head",
    };
  }
  const valueEnd = end - crcBytes;
  const intact =
    valueStart + readUint32(bytes, start + 8) === valueEnd &&
    crc32c(bytes, keyEnd, valueEnd, readUint32(bytes, keyEnd)) === readUint32(bytes, valueEnd);
  return {
    type: type as RecordType,
    key: bytes.toString("utf8", keyStart, keyEnd),
    revision: readNumber(bytes, start + 12),
    previous: readNumber(bytes, start + 20),
    bytes,
    start,
    end,
    valueStart,
    damage: intact ? undefined : "value",
  };
}

/** What is checked byte by byte wherever it may be a head. */
const shortHeadBytes = 128;

/**
 * The records that can be found in the bytes of a block whose head is damaged. Each byte is looked at so many times at most, also where somebody has made
 * bytes that look like heads with long keys everywhere.
 */
export function salvageRecords(bytes: Buffer): StoredRecord[] {
  const records: StoredRecord[] = [];
  let crcOf: ((start: number, end: number) => number) | undefined;
  const mayBeHead = (start: number, keyEnd: number): boolean => {
    if (keyEnd - start <= shortHeadBytes) return true;
    crcOf ??= crc32cOfRanges(bytes);
    return crcOf(start, keyEnd) === readUint32(bytes, keyEnd);
  };
  for (let at = bytes.indexOf(recordMagic); at >= 0; at = bytes.indexOf(recordMagic, at)) {
    const isHead = at + recordHeadBytes <= bytes.length && bytes[at + 1] === recordVersion;
    const valueBytes = isHead ? readUint32(bytes, at + 8) : 0;
    const keyEnd = at + recordHeadBytes + (isHead ? readUint32(bytes, at + 4) : 0);
    const end = keyEnd + valueBytes + 2 * crcBytes;
    const isFound = isHead && end <= bytes.length && mayBeHead(at, keyEnd);
    const record = isFound ? decodeRecord(bytes, at, end) : undefined;
    if (record === undefined || record.damage === "head") at += 1;
    else {
      records.push(record);
      at = end;
    }
  }
  return records;
}

/** Whether a record whose head can be trusted is as long as that says. */
export function isWhole({ bytes, start, end, valueStart }: StoredRecord): boolean {
  return valueStart + readUint32(bytes, start + 8) + crcBytes === end;
}

/** The block in the bytes; undefined if its head is damaged or it does not begin with the revision `first`. */
export function decodeBlock(bytes: Buffer, first: number): JournalBlock | undefined {
  if (bytes.length < blockHeadBytes + crcBytes || bytes.readUInt16BE(0) !== blockMagic) return undefined;
  const count = readUint32(bytes, 16);
  const headEnd = blockHeadBytes + 4 * count;
  if (bytes[2] !== blockVersion || headEnd + crcBytes > bytes.length) return undefined;
  if (crc32c(bytes, 0, headEnd) !== readUint32(bytes, headEnd) || readNumber(bytes, 4) !== first) return undefined;
  const records: StoredRecord[] = [];
  let at = headEnd + crcBytes;
  for (let i = 0; i < count; i += 1) {
    const end = at + readUint32(bytes, blockHeadBytes + 4 * i);
    // Beyond the end nothing is: such a record comes out as damaged.
    records.push(decodeRecord(bytes, Math.min(at, bytes.length), Math.min(end, bytes.length)));
    at = end;
  }
  return { first, last: first + readUint32(bytes, 12) - 1, wallMs: readNumber(bytes, 20), bytes, records };
}

/** The block's record of this change of the key; no other is decoded. */
export function recordIn({ bytes }: JournalBlock, key: string, revision: number): StoredRecord | undefined {
  const count = readUint32(bytes, 16);
  let start = blockHeadBytes + 4 * count + crcBytes;
  for (let i = 0; i < count && start + recordHeadBytes <= bytes.length; i += 1) {
    const end = start + readUint32(bytes, blockHeadBytes + 4 * i);
    if (readNumber(bytes, start + 12) === revision) {
      const record = decodeRecord(bytes, start, Math.min(end, bytes.length));
      if (record.key === key && record.revision === revision) return record;
    }
    start = end;
  }
  return undefined;
}

function writeUint32(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function readUint32(bytes: Buffer, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** Writes a safe integer that is not negative in eight bytes. */
export function writeNumber(bytes: Buffer, at: number, value: number): void {
  writeUint32(bytes, at, Math.floor(value / 0x1_0000_0000));
  writeUint32(bytes, at + 4, value >>> 0);
}

export function readNumber(bytes: Buffer, at: number): number {
  return readUint32(bytes, at) * 0x1_0000_0000 + readUint32(bytes, at + 4);
}
