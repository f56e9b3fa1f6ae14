/** What the tests of the LevelDB backend share: directories of their own, a look into them, a disk that fails. */
import { createHash } from "node:crypto";
import { statfsSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import {
  type CreateLevelDatabase,
  createLevelDatabase,
  type LevelDatabase,
  type LevelOperation,
} from "../../src/store/level-database.ts";
import type { Store } from "../../src/store/store.ts";
import type { FakeClock } from "../support/fake-clock.ts";

/** A directory of the test's own, gone at the end of its scope. */
export interface Scratch extends AsyncDisposable {
  readonly path: string;
}

/**
 * Where: in memory if there is room. A crash is a copy of the files here, so nothing of what is tested asks for a disk,
 * and syncing one is most of the time that these tests would take. STINT_TEST_DIR names another place.
 */
const root = process.env["STINT_TEST_DIR"] ?? (hasRoom("/dev/shm") ? "/dev/shm" : tmpdir());

function hasRoom(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize > 2 ** 30;
  } catch {
    return false;
  }
}

export async function makeScratch(): Promise<Scratch> {
  const path = await mkdtemp(join(root, "stint-level-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** The directory as a crash at this moment would leave it; made again if it changes meanwhile, so that it is of one moment. */
export async function crashCopy(path: string): Promise<Scratch> {
  for (;;) {
    const scratch = await makeScratch();
    try {
      const before = await statusOf(path);
      await cp(path, scratch.path, { recursive: true });
      if (before === (await statusOf(path))) return scratch;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    await scratch[Symbol.asyncDispose]();
  }
}

async function statusOf(path: string): Promise<string> {
  const entries = await readdir(path, { recursive: true });
  const lines = entries.map(async (name) => {
    const { size, mtimeNs } = await stat(join(path, name), { bigint: true });
    return `${name} ${size} ${mtimeNs}`;
  });
  return (await Promise.all(lines)).join("\n");
}

/** The names and contents of everything in a directory but the lock of a store, in which there is nothing. */
export async function contentsOf(path: string): Promise<Record<string, string>> {
  const names = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
  const contents: Record<string, string> = {};
  for (const entry of names) {
    const file = join(entry.parentPath, entry.name);
    if (`${file}/`.startsWith(join(path, "lock/"))) continue;
    if (!entry.isFile()) contents[file] = "not a file";
    else
      contents[file] = createHash("sha256")
        .update(await readFile(file))
        .digest("hex");
  }
  return contents;
}

/** Runs `use` on the database of a store that nobody has open. */
export async function withDatabase<T>(path: string, use: (db: LevelDatabase) => Promise<T>): Promise<T> {
  const db = createLevelDatabase(join(path, "db"), { writeBufferBytes: 1 << 20 });
  await db.open({ createIfMissing: false });
  try {
    return await use(db);
  } finally {
    await db.close();
  }
}

/** All entries whose LevelDB key begins with the letter; all for none. */
export async function entriesOf(db: LevelDatabase, letter = ""): Promise<[Buffer, Buffer][]> {
  const iterator = db.iterator({});
  try {
    const entries = [];
    for (;;) {
      const page = await iterator.nextv(1_000);
      if (page.length === 0) return entries;
      entries.push(...page.filter(([key]) => key.toString("latin1").startsWith(letter)));
    }
  } finally {
    await iterator.close();
  }
}

/** What happens to a batch: written, failed before or after it was written, or left hanging till released, and then either. */
export type Fate = "write" | "fail before" | "fail after" | "hang" | "hang and fail";

/** A disk that fails on demand; as LevelDB does, a handle that failed once fails until it is opened anew. */
export class FaultyDisk {
  /** Asked before each batch. */
  fateOf: (operations: LevelOperation[], sync: boolean) => Fate = () => "write";
  /** Asked before each opening. */
  opens: () => boolean = () => true;
  release: () => void = () => {};
  /** How many batches have failed. */
  failures = 0;
  /** How many iterators and values were asked for. */
  iterators = 0;
  gets = 0;
  /** The letters of the batches that were written, see lettersOf. */
  readonly written: string[] = [];

  readonly create: CreateLevelDatabase = (location, options) => {
    // Made when it is opened: a handle of `level` opens by itself otherwise.
    let db!: LevelDatabase;
    let failed = false;
    return {
      open: async (given) => {
        if (!this.opens()) throw new Error("the disk does not open");
        db = createLevelDatabase(location, options);
        await db.open(given);
      },
      close: () => db.close(),
      get: (key) => {
        this.gets += 1;
        return db.get(key);
      },
      hasMany: (keys) => db.hasMany(keys),
      iterator: (range) => {
        this.iterators += 1;
        return db.iterator(range);
      },
      batch: async (operations, given) => {
        if (failed) throw new Error("the disk has failed before");
        const fate = this.fateOf(operations, given.sync);
        if (fate === "hang" || fate === "hang and fail") {
          await new Promise<void>((resolve) => {
            this.release = resolve;
          });
        }
        if (fate !== "fail before" && fate !== "hang and fail") {
          await db.batch(operations, given);
          this.written.push(lettersOf(operations));
        }
        if (fate !== "write" && fate !== "hang") {
          failed = true;
          this.failures += 1;
          throw new Error("the disk failed");
        }
      },
    };
  };
}

/** The first letters of the LevelDB keys of a batch: those that are put in upper case, those that are deleted in lower case. */
export function lettersOf(operations: readonly LevelOperation[]): string {
  const letters = operations.map(({ type, key }) => {
    const letter = String.fromCharCode(key[0] ?? 0);
    return type === "put" ? letter : letter.toLowerCase();
  });
  return letters.join("");
}

/** Waits until the filter of keys is filled: before that, each read of an absent key costs an iterator. */
export async function untilFilled(store: Store, disk: FaultyDisk): Promise<void> {
  for (let i = 0, before = -1; before !== disk.iterators; i += 1) {
    expect(i, "the filter is not filled").toBeLessThan(10_000);
    before = disk.iterators;
    expect(await store.get(`probe ${i}`)).toBeUndefined();
  }
}

/** Lets the clock of a store pass checkpoints until history starts at `revision` or later. */
export async function letGoUpTo(store: Store, clock: FakeClock, historyMs: number, revision: bigint): Promise<void> {
  for (let i = 0; store.firstRevision() < revision; i += 1) {
    expect(i, "history is not let go of").toBeLessThan(100);
    await clock.advance(historyMs / 8);
    // A timer is set again when what the last one started is through.
    await eventually(() => clock.pending() > 0 || store.firstRevision() >= revision);
  }
}

/** Lets the event loop turn until the condition holds. */
export async function eventually(condition: () => boolean): Promise<void> {
  const since = performance.now();
  while (!condition()) {
    if (performance.now() - since > 15_000) throw new Error("what was waited for has not come");
    await new Promise(setImmediate);
  }
}

export function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}
