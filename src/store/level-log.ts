/**
 * Reads files in the format of LevelDB's logs (doc/log_format.md of LevelDB), which its manifest has, too. Its own
 * recovery treats two kinds of damage alike, which are told apart here: a torn tail, as a power cut leaves it behind what
 * was synced, and a hole in what had been written. It skips zeros without a word, and goes on behind a hole as if nothing were.
 *
 * A file is blocks of 32 KiB; a fragment is masked CRC32C(4, little-endian) length(2) type(1) payload, within one block;
 * a record is one fragment (full) or several (first, middle ..., last).
 */
import { crc32c } from "./crc32c.ts";

const blockBytes = 32 * 1024;
const headBytes = 7;
const fragmentTypes = { full: 1, first: 2, middle: 3, last: 4 } as const;

export interface LogScan {
  /** Where the last whole record ends before anything is wrong. */
  readonly soundBytes: number;
  /**
   * A whole record lies behind what is damaged or cut off: what is lost was not the tail. Fragments of the record that
   * is damaged do not count, as the pages of one write reach the disk in any order.
   */
  readonly hasHole: boolean;
}

/** Reads to the end, or to the first record behind damage. `onRecord` gets the records before the damage, and where each ends. */
export function scanLog(log: Buffer, onRecord: (record: Buffer, end: number) => void = () => {}): LogScan {
  let soundBytes = 0;
  let isDamaged = false;
  /** The fragments of the record that is not whole yet. */
  let fragments: Buffer[] | undefined;
  for (let start = 0; start < log.length; start += blockBytes) {
    const end = Math.min(start + blockBytes, log.length);
    for (let at = start; at + headBytes <= end; ) {
      const length = soundLength(log, at, start);
      if (length === undefined) {
        isDamaged = true;
        fragments = undefined;
        // A damaged length hides where the next fragment begins: it may be anywhere in the block.
        at += 1;
        continue;
      }
      const type = log[at + 6]!;
      const payload = log.subarray(at + headBytes, at + length);
      const begins = type === fragmentTypes.full || type === fragmentTypes.first;
      // A piece without its beginning is one of what was damaged, and if nothing was, it is the damage.
      if (begins === (fragments !== undefined)) isDamaged = true;
      if (begins) fragments = [payload];
      else fragments?.push(payload);
      at += length;
      if (type === fragmentTypes.first || type === fragmentTypes.middle || fragments === undefined) continue;
      if (isDamaged) return { soundBytes, hasHole: true };
      onRecord(fragments.length === 1 ? fragments[0]! : Buffer.concat(fragments), at);
      fragments = undefined;
      soundBytes = at;
    }
  }
  return { soundBytes, hasHole: false };
}

/** A piece of a log: a whole record, or bytes that are of none. */
export interface LogPiece {
  /** The record; undefined for what is damaged. */
  readonly record: Buffer | undefined;
  readonly start: number;
  readonly end: number;
}

/** All whole records, also behind damage, and what lies between and behind them. */
export function* salvageLog(log: Buffer): Generator<LogPiece> {
  let fragments: Buffer[] | undefined;
  /** Where what has no record yet begins: fragments, or damage. */
  let openAt: number | undefined;
  for (let start = 0; start < log.length; start += blockBytes) {
    const end = Math.min(start + blockBytes, log.length);
    for (let at = start; at + headBytes <= end; ) {
      const length = soundLength(log, at, start);
      if (length === undefined) {
        fragments = undefined;
        openAt ??= at;
        at += 1;
        continue;
      }
      const type = log[at + 6]!;
      const payload = log.subarray(at + headBytes, at + length);
      if (type === fragmentTypes.full || type === fragmentTypes.first) {
        if (openAt !== undefined) yield { record: undefined, start: openAt, end: at };
        openAt = at;
        fragments = [payload];
      } else {
        openAt ??= at;
        fragments?.push(payload);
      }
      at += length;
      if (fragments === undefined || type === fragmentTypes.first || type === fragmentTypes.middle) continue;
      yield { record: fragments.length === 1 ? fragments[0]! : Buffer.concat(fragments), start: openAt, end: at };
      fragments = undefined;
      openAt = undefined;
    }
  }
  if (openAt !== undefined) yield { record: undefined, start: openAt, end: log.length };
}

/**
 * The length of the fragment at a place in the block from `start`, its head included; undefined if there is no sound one.
 * Which types may lie where is looked at first, as a search tries it at each byte.
 */
function soundLength(log: Buffer, at: number, start: number): number | undefined {
  const type = log[at + 6]!;
  if (type < fragmentTypes.full || type > fragmentTypes.last) return undefined;
  const end = start + blockBytes;
  const length = headBytes + log.readUInt16LE(at + 4);
  if (at + length > Math.min(end, log.length)) return undefined;
  // A record goes on in the next block only where it fills this one.
  const goesOn = type === fragmentTypes.first || type === fragmentTypes.middle;
  const isGoingOn = type === fragmentTypes.middle || type === fragmentTypes.last;
  if ((goesOn && at + length !== end) || (isGoingOn && at !== start)) return undefined;
  return maskedCrc32c(log, at + 6, at + length) === log.readUInt32LE(at) ? length : undefined;
}

/** A CRC32C as LevelDB stores it: of bytes that have CRCs in them one would be of no use. */
export function maskedCrc32c(bytes: Buffer, start: number, end: number): number {
  return maskCrc32c(crc32c(bytes, start, end));
}

export function maskCrc32c(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
