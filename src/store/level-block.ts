/**
 * The blocks of LevelDB's tables. Behind each: compression(1) masked CRC32C of both(4). In it: entries in order, whose keys leave out what they
 * share with the one before, and where they are written in full.
 */
import { maskedCrc32c } from "./level-log.ts";
import { Varints } from "./level-varints.ts";

export const footerBytes = 48;
export const trailerBytes = 5;
export const tableMagic = Buffer.from("57fb808b247547db", "hex");
export const compressions = { none: 0, snappy: 1 } as const;
/** Each so many entries of a block a key is written in full, and where is noted at the block's end: LevelDB's default. */
export const restartInterval = 16;
/** Snappy makes no more than 64 bytes of three. */
const unsnappedMaxRatio = 22;

export interface TableChecks {
  /** No entry has a sequence number above it. */
  readonly lastSequence: number;
  /** Whether an entry can be one that was written, its value aside. The value is empty for the deletion of a key. */
  readonly isPlausible: (key: Buffer, value: Buffer) => boolean;
}

/** Whether LevelDB finds in a block of data, changed as it is, the entries that were in it. */
export function isReadable(
  block: Buffer,
  { above, upTo }: { above: Buffer; upTo: Buffer },
  { lastSequence, isPlausible }: TableChecks,
): boolean {
  let last = above;
  for (const { key, value } of entriesIn(block, restartInterval)) {
    const { userKey, sequence, type } = parseInternalKey(key);
    if (last.length > 0 && compareInternalKeys(last, key) >= 0) return false;
    if (type > 1 || (type === 0) !== (value.length === 0) || sequence > lastSequence) return false;
    if (!isPlausible(userKey, value)) return false;
    last = key;
  }
  return compareInternalKeys(last, upTo) <= 0;
}

/** A key, and behind it the type of the entry(1, 0 for a deletion) and its sequence number(7), little-endian. */
export function parseInternalKey(key: Buffer): { userKey: Buffer; sequence: number; type: number } {
  const end = key.length - 8;
  const sequence = key.readUIntLE(end + 1, 6) + key.readUInt8(end + 7) * 2 ** 48;
  return { userKey: key.subarray(0, end), sequence, type: key.readUInt8(end) };
}

/** By their keys, and then the newest first. */
function compareInternalKeys(a: Buffer, b: Buffer): number {
  const [left, right] = [parseInternalKey(a), parseInternalKey(b)];
  return left.userKey.compare(right.userKey) || right.sequence - left.sequence || right.type - left.type;
}

/**
 * The entries of a block: of each the lengths of what its key shares with the one before, of the rest and of the value,
 * and these two. Each so many, nothing is shared, and where that is stands at the block's end, with the number of such places. Throws RangeError.
 */
export function* entriesIn(block: Buffer, interval: number): Generator<{ key: Buffer; value: Buffer }> {
  const restarts = block.readUInt32LE(block.length - 4);
  const end = block.length - 4 * (restarts + 1);
  if (end < 0) throw new RangeError("too many restarts");
  const reader = new Varints(block.subarray(0, end));
  let key: Buffer = Buffer.alloc(0);
  let count = 0;
  for (; !reader.isAtEnd; count += 1) {
    const isRestart = count % interval === 0;
    if (isRestart && reader.position !== block.readUInt32LE(end + (4 * count) / interval)) {
      throw new RangeError("a restart elsewhere");
    }
    const shared = reader.next();
    if (shared > (isRestart ? 0 : key.length)) throw new RangeError("a key that shares more than there is");
    const unsharedBytes = reader.next();
    const valueBytes = reader.next();
    key = Buffer.concat([key.subarray(0, shared), reader.nextBytes(unsharedBytes)]);
    yield { key, value: reader.nextBytes(valueBytes) };
  }
  // A block without entries has a restart all the same.
  if (restarts !== Math.max(1, Math.ceil(count / interval))) throw new RangeError("another number of restarts");
}

export interface Block {
  readonly stored: Buffer;
  readonly compression: number;
  readonly isSound: boolean;
}

/** The block to which the reader's next two numbers point. */
export function blockAt(table: Buffer, reader: Varints): Block {
  const offset = reader.next();
  const end = offset + reader.next();
  if (end + trailerBytes > table.length - footerBytes) throw new RangeError("a block beyond the end");
  return {
    stored: table.subarray(offset, end),
    compression: table.readUInt8(end),
    isSound: maskedCrc32c(table, offset, end + 1) === table.readUInt32LE(end + 1),
  };
}

export function decompress({ stored, compression }: Block): Buffer {
  if (compression === compressions.none) return stored;
  if (compression === compressions.snappy) return unsnap(stored);
  throw new RangeError(`unknown compression ${compression}`);
}

/** Undoes Snappy (format_description.txt of Snappy). Throws RangeError where the bytes are none of its. */
export function unsnap(bytes: Buffer): Buffer {
  const reader = new Varints(bytes);
  const length = reader.next();
  if (length > bytes.length * unsnappedMaxRatio) throw new RangeError("too large for a block");
  const out = Buffer.alloc(length);
  let at = 0;
  while (!reader.isAtEnd) {
    const tag = reader.nextBytes(1)[0]!;
    const kind = tag & 3;
    if (kind === 0) {
      const short = tag >> 2;
      const count = 1 + (short < 60 ? short : reader.nextBytes(short - 59).readUIntLE(0, short - 59));
      if (at + count > out.length) throw new RangeError("too many bytes");
      at += reader.nextBytes(count).copy(out, at);
      continue;
    }
    const count = kind === 1 ? 4 + ((tag >> 2) & 7) : 1 + (tag >> 2);
    const tail = reader.nextBytes(kind === 3 ? 4 : kind);
    const distance = kind === 1 ? ((tag >> 5) << 8) + tail[0]! : tail.readUIntLE(0, tail.length);
    if (distance === 0 || distance > at || at + count > out.length) throw new RangeError("a copy from nowhere");
    // Byte by byte: what is copied may be what this copy writes.
    for (let i = 0; i < count; i += 1, at += 1) out[at] = out[at - distance]!;
  }
  if (at !== out.length) throw new RangeError("too few bytes");
  return out;
}
