/**
 * Reads LevelDB's log files (doc/log_format.md of LevelDB), to tell the two
 * kinds of damage apart that its recovery treats alike: a torn tail, as a power cut leaves it behind
 * what was synced, and a hole in what had been written.
 *
 * A file is blocks of 32 KiB; a record is masked CRC32C(4, little-endian) length(2) type(1) payload, within one block.
 */
import { crc32c } from "./crc32c.ts";

const blockBytes = 32 * 1024;
const headBytes = 7;
const lastType = 4;

/** Whether a sound record lies behind one that is not: what is lost then was not the tail. */
export function hasHole(log: Buffer): boolean {
  let isDamaged = false;
  for (let start = 0; start < log.length; start += blockBytes) {
    const end = Math.min(start + blockBytes, log.length);
    let at = start;
    while (!isDamaged && at + headBytes <= end && !isZero(log, at)) {
      const length = soundLength(log, at, end);
      if (length === undefined) isDamaged = true;
      else at += length;
    }
    if (!isDamaged) continue;
    // A damaged length hides where the next record begins: it may be anywhere.
    for (; at + headBytes <= end; at += 1) if (soundLength(log, at, end) !== undefined) return true;
  }
  return false;
}

function isZero(log: Buffer, at: number): boolean {
  for (let i = 0; i < headBytes; i += 1) if (log[at + i] !== 0) return false;
  return true;
}

/** The length of the record at a place, its head included; undefined if there is no sound one. */
function soundLength(log: Buffer, at: number, end: number): number | undefined {
  const type = log[at + 6]!;
  const length = headBytes + log.readUInt16LE(at + 4);
  if (type === 0 || type > lastType || at + length > end) return undefined;
  return unmask(log.readUInt32LE(at)) === crc32c(log, at + 6, at + length) ? length : undefined;
}

function unmask(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}
