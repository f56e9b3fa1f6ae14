/** Reads the manifest of a LevelDB database: which tables and which log are part of it. */
import { scanLog } from "./level-log.ts";
import { Varints } from "./level-varints.ts";

export interface LevelManifest {
  /** The oldest log whose records are not in tables yet; there may be newer ones. 0 in a database that never was opened. */
  readonly logNumber: number;
  /** No record of that log has a sequence number further on than the next. */
  readonly lastSequence: number;
  /** The bytes of each table, by its number. */
  readonly tables: ReadonlyMap<number, number>;
  /** The keys that each table has its first and last entries of, by its number. */
  readonly ranges: ReadonlyMap<number, KeyRange>;
  /** Its end is torn: what there was is newer than this. */
  readonly isTorn: boolean;
}

export interface KeyRange {
  readonly first: Buffer;
  readonly last: Buffer;
}

/** What stands behind each key in LevelDB's files: type and sequence number. */
const keyTailBytes = 8;

// Tags of a version edit, LevelDB's db/version_edit.cc.
const tags = {
  comparator: 1,
  logNumber: 2,
  nextFileNumber: 3,
  lastSequence: 4,
  compactPointer: 5,
  deletedFile: 6,
  newFile: 7,
  previousLogNumber: 9,
} as const;

/** The manifest in the bytes; undefined where it cannot be read. */
export function decodeManifest(bytes: Buffer): LevelManifest | undefined {
  let logNumber = 0;
  let lastSequence = 0;
  const tables = new Map<string, [number: number, bytes: number]>();
  const ranges = new Map<number, KeyRange>();
  let edits = 0;
  let isTorn = false;
  try {
    const { hasHole, soundBytes } = scanLog(bytes, (record) => {
      edits += 1;
      for (const reader = new Varints(record); !reader.isAtEnd; ) {
        const tag = reader.next();
        if (tag === tags.comparator) reader.nextBytes(reader.next());
        else if (tag === tags.logNumber) logNumber = reader.next();
        else if (tag === tags.lastSequence) lastSequence = reader.next();
        else if (tag === tags.nextFileNumber || tag === tags.previousLogNumber) reader.next();
        else if (tag === tags.compactPointer) {
          reader.next();
          reader.nextBytes(reader.next());
        } else if (tag === tags.deletedFile) tables.delete(`${reader.next()}/${reader.next()}`);
        else if (tag === tags.newFile) {
          const level = reader.next();
          const number = reader.next();
          tables.set(`${level}/${number}`, [number, reader.next()]);
          const first = reader.nextBytes(reader.next()).subarray(0, -keyTailBytes);
          ranges.set(number, { first, last: reader.nextBytes(reader.next()).subarray(0, -keyTailBytes) });
        } else throw new RangeError(`unknown tag ${tag}`);
      }
    });
    if (hasHole || edits === 0) return undefined;
    isTorn = soundBytes < bytes.length;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  return { logNumber, lastSequence, tables: new Map(tables.values()), ranges, isTorn };
}
