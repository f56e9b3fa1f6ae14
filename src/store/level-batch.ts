/** Reads the records of LevelDB's logs: batches of changes, db/write_batch.cc of LevelDB. */
import type { LevelEntry } from "./level-salvage.ts";
import { Varints } from "./level-varints.ts";

export interface LevelBatch {
  /** The sequence number of its first change; each of the others has the next. */
  readonly first: number;
  readonly count: number;
  readonly entries: readonly LevelEntry[];
}

const headBytes = 12;
const types = { deletion: 0, put: 1 } as const;

/** The batch in a record; undefined where it is none. */
export function decodeBatch(record: Buffer): LevelBatch | undefined {
  if (record.length < headBytes) return undefined;
  const first = Number(record.readBigUInt64LE(0));
  const count = record.readUInt32LE(8);
  const entries: LevelEntry[] = [];
  try {
    for (const reader = new Varints(record.subarray(headBytes)); !reader.isAtEnd; ) {
      const type = reader.next();
      if (type !== types.put && type !== types.deletion) return undefined;
      const key = reader.nextBytes(reader.next());
      const value = type === types.put ? reader.nextBytes(reader.next()) : undefined;
      entries.push({ key, sequence: first + entries.length, value });
    }
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  return entries.length === count ? { first, count, entries } : undefined;
}
