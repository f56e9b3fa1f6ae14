/**
 * What the backend needs of a LevelDB binding: a seam as narrow as can be, so
 * that tests can put a failing disk in its place.
 */
import { Level } from "level";

export type LevelOperation =
  | { readonly type: "put"; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: "del"; readonly key: Buffer };

export interface LevelRange {
  readonly gte?: Buffer;
  readonly lt?: Buffer;
  readonly lte?: Buffer;
  readonly reverse?: boolean;
  readonly limit?: number;
  readonly values?: boolean;
  readonly highWaterMarkBytes?: number;
}

export interface LevelIterator {
  /** Up to `size` of the next entries; none: the end. */
  nextv(size: number): Promise<[Buffer, Buffer][]>;
  close(): Promise<void>;
}

export interface LevelDatabase {
  open(options: { createIfMissing: boolean }): Promise<void>;
  close(): Promise<void>;
  get(key: Buffer): Promise<Buffer | undefined>;
  /** Which of the keys are there: far less than a get, let alone an iterator, for each. */
  hasMany(keys: Buffer[]): Promise<boolean[]>;
  batch(operations: LevelOperation[], options: { sync: boolean }): Promise<void>;
  /** Sees what was there at the call. */
  iterator(range: LevelRange): LevelIterator;
}

/** Makes a handle that is not open yet, and that is opened once. */
export type CreateLevelDatabase = (location: string, options: { writeBufferBytes: number }) => LevelDatabase;

/**
 * LevelDB maps each table that it has open into memory, and by default has 990 of them: all of a large store that was once walked would
 * count as the process's. With this, the least that it takes (64 and ten others), a seek that needs one which is not open costs 20 to 90 µs of processor time more.
 */
const maxOpenFiles = 74;
/** Half of LevelDB's default, for the same reason. A compaction makes 1.6 times as many files then, and takes no longer. */
const maxFileSize = 1 << 20;

/** LevelDB as the `level` package ships it. */
export const createLevelDatabase: CreateLevelDatabase = (location, { writeBufferBytes }) => {
  const level = new Level<Buffer, Buffer>(location, {
    keyEncoding: "buffer",
    valueEncoding: "buffer",
    writeBufferSize: writeBufferBytes,
    maxOpenFiles,
    maxFileSize,
  });
  return {
    open: (options) => level.open(options),
    close: () => level.close(),
    get: (key) => level.get(key),
    hasMany: (keys) => level.hasMany(keys),
    iterator: (range) => level.iterator(range),
    batch(operations, options) {
      if (operations.length < chainedFrom) return level.batch(operations, options);
      // An array is copied, and its copy read property by property; a chain hands over bytes at once.
      const chain = level.batch();
      for (const operation of operations) {
        if (operation.type === "put") chain.put(operation.key, operation.value);
        else chain.del(operation.key);
      }
      return chain.write(options);
    },
  };
};

const chainedFrom = 16;
