/** Reads what can be read of a table of LevelDB that may be damaged, or is no more than a piece of one. */
import { crc32c } from "./crc32c.ts";
import {
  type Block,
  blockAt,
  compressions,
  decompress,
  entriesIn,
  footerBytes,
  isReadable,
  parseInternalKey,
  restartInterval,
  type TableChecks,
  tableMagic,
  trailerBytes,
} from "./level-block.ts";
import { maskCrc32c, maskedCrc32c } from "./level-log.ts";
import { Varints } from "./level-varints.ts";

/** An entry of a table or a log. */
export interface LevelEntry {
  readonly key: Buffer;
  readonly sequence: number;
  /** Undefined for the deletion of the key. */
  readonly value: Buffer | undefined;
}

export interface TableContents {
  readonly entries: readonly LevelEntry[];
  /** What is not as it was written, and whether entries are lost with it. */
  readonly damages: readonly { readonly start: number; readonly end: number; readonly losesEntries: boolean }[];
}

/** Reads all that can be read of a table, whatever its state: by its index or, without one, block after block. */
export function readTable(table: Buffer, checks: TableChecks): TableContents {
  const entries: LevelEntry[] = [];
  const damages: { start: number; end: number; losesEntries: boolean }[] = [];
  const handles = indexOf(table);
  if (handles === undefined) {
    const end = readBlocksInARow(table, entries);
    const isWhole = end === table.length - footerBytes;
    damages.push({ start: end, end: table.length, losesEntries: !isWhole });
    return { entries, damages };
  }
  let above: Buffer = Buffer.alloc(0);
  for (const { start, end, key } of handles) {
    const block = blockBetween(table, start, end);
    if (block?.isSound && takeEntries(block, entries)) {
      above = key;
      continue;
    }
    damages.push({ start, end, losesEntries: !takeDoubtful(block, entries, { above, upTo: key }, checks) });
    above = key;
  }
  return { entries, damages };
}

/** Where the blocks of data are, each with a key that none of its keys is above; undefined where that cannot be told. */
function indexOf(table: Buffer): { start: number; end: number; key: Buffer }[] | undefined {
  const footerAt = table.length - footerBytes;
  if (footerAt < 0 || !table.subarray(-tableMagic.length).equals(tableMagic)) return undefined;
  try {
    const footer = new Varints(table.subarray(footerAt, -tableMagic.length));
    // The metaindex is of no use here.
    footer.next();
    footer.next();
    const index = blockAt(table, footer);
    if (!index.isSound) return undefined;
    return [...entriesIn(decompress(index), 1)].map(({ key, value }) => {
      const handle = new Varints(value);
      const start = handle.next();
      return { start, end: start + handle.next(), key };
    });
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/**
 * The blocks from the beginning on, as they follow each other; where a block ends is told by its checksum. Returns where the first begins
 * that is not sound. Those of the index and filters have no entries of ours.
 */
function readBlocksInARow(table: Buffer, entries: LevelEntry[]): number {
  let start = 0;
  for (;;) {
    const end = endOfBlock(table, start);
    if (end === undefined) return start;
    takeEntries({ stored: table.subarray(start, end), compression: table[end]!, isSound: true }, entries);
    start = end + trailerBytes;
  }
}

function endOfBlock(table: Buffer, start: number): number | undefined {
  let crc = 0;
  for (let at = start; at + trailerBytes <= table.length; at += 1) {
    crc = crc32c(table, at, at + 1, crc);
    // The shortest block has one restart and how many those are.
    if (table[at]! <= compressions.snappy && at >= start + 8 && maskCrc32c(crc) === table.readUInt32LE(at + 1))
      return at;
  }
  return undefined;
}

function blockBetween(table: Buffer, start: number, end: number): Block | undefined {
  if (!(end >= start && end + trailerBytes <= table.length)) return undefined;
  const isSound = maskedCrc32c(table, start, end + 1) === table.readUInt32LE(end + 1);
  return { stored: table.subarray(start, end), compression: table.readUInt8(end), isSound };
}

/** Takes the entries of a block that is sound; false, and none, where it is none of data. */
function takeEntries(block: Block, entries: LevelEntry[]): boolean {
  const taken: LevelEntry[] = [];
  try {
    for (const entry of entriesIn(decompress(block), restartInterval)) taken.push(toLevelEntry(entry));
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
  for (const entry of taken) entries.push(entry);
  return true;
}

/** Takes of a block that has changed what can have been written so; whether that is all that was in it. */
function takeDoubtful(
  block: Block | undefined,
  entries: LevelEntry[],
  bounds: { above: Buffer; upTo: Buffer },
  checks: TableChecks,
): boolean {
  if (block === undefined) return false;
  try {
    const content = decompress(block);
    if (isReadable(content, bounds, checks)) return takeEntries({ ...block, stored: content, compression: 0 }, entries);
    for (const entry of entriesIn(content, restartInterval)) {
      const taken = toLevelEntry(entry);
      // A deletion has nothing that vouches for its key.
      if (taken.value !== undefined && taken.value.length > 0 && checks.isPlausible(taken.key, taken.value)) {
        entries.push(taken);
      }
    }
  } catch (error) {
    // What came before the first that is out of place is taken.
    if (!(error instanceof RangeError)) throw error;
  }
  return false;
}

function toLevelEntry({ key, value }: { key: Buffer; value: Buffer }): LevelEntry {
  const { userKey, sequence, type } = parseInternalKey(key);
  return { key: userKey, sequence, value: type === 0 ? undefined : value };
}
