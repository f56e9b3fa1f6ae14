/**
 * CRC32C (Castagnoli, RFC 3720 appendix B.4), four bytes a step.
 */

const polynomial = 0x82f63b78;
const [table0, table1, table2, table3] = createTables();

/** The CRC32C of bytes[start, end); to go on from the CRC of the bytes before, pass it as `seed`. */
export function crc32c(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  let crc = ~seed;
  let at = start;
  for (const last = end - 3; at < last; at += 4) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      table3[crc & 0xff]! ^ table2[(crc >>> 8) & 0xff]! ^ table1[(crc >>> 16) & 0xff]! ^ table0[(crc >>> 24) & 0xff]!;
  }
  for (; at < end; at += 1) crc = table0[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/**
 * The CRC32C of any range of the bytes, in a time that does not depend on its length: from those of the bytes up to its start and up to its end, which are all taken
 * in one pass. They take eight times the room of the bytes.
 */
export function crc32cOfRanges(bytes: Uint8Array): (start: number, end: number) => number {
  // Without the two inversions it is linear: the CRC of the start is moved to the end, and taken out of the one there.
  const upTo = new Int32Array(bytes.length + 1);
  // What moves one by so many bytes: x to the power of eight times as many.
  const moves = new Int32Array(bytes.length + 1);
  moves[0] = 1 << 31;
  for (let at = 0; at < bytes.length; at += 1) {
    upTo[at + 1] = table0[(upTo[at]! ^ bytes[at]!) & 0xff]! ^ (upTo[at]! >>> 8);
    moves[at + 1] = table0[moves[at]! & 0xff]! ^ (moves[at]! >>> 8);
  }
  return (start, end) => ~(upTo[end]! ^ multiply(~upTo[start]!, moves[end - start]!)) >>> 0;
}

/** The product of two polynomials modulo that of the CRC; the highest bit is the coefficient of 1. */
function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bits = a; bits !== 0; bits <<= 1) {
    if (bits < 0) product ^= factor;
    factor = factor & 1 ? (factor >>> 1) ^ polynomial : factor >>> 1;
  }
  return product;
}

function createTables(): [Int32Array, Int32Array, Int32Array, Int32Array] {
  const tables = [0, 1, 2, 3].map(() => new Int32Array(256)) as [Int32Array, Int32Array, Int32Array, Int32Array];
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let byte = 0; byte < 256; byte += 1) {
    for (let i = 1; i < 4; i += 1) {
      const before = tables[i - 1]![byte]!;
      tables[i]![byte] = (before >>> 8) ^ tables[0][before & 0xff]!;
    }
  }
  return tables;
}
