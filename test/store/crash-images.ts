/** Images of what a crash may leave of a store: at each write to its log, with the write there, not there and torn. */
import { link, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type CreateLevelDatabase, createLevelDatabase } from "../../src/store/level-database.ts";
import type { LevelStoreOptions } from "../../src/store/level-options.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { crashHistoryMs, workOn } from "./crash-workload.ts";
import { crashCopy, lettersOf, makeScratch, type Scratch } from "./level-fixture.ts";

export const sectorBytes = 512;
const pageBytes = 4_096;

/** A write to the log: the directory as it was before, and the log before and after it. */
export interface Write {
  readonly base: Scratch;
  readonly logName: string;
  /** What the log had before; undefined where the write began it. */
  readonly before: Buffer | undefined;
  readonly after: Buffer;
  /** What was acknowledged when it began. */
  readonly acknowledged: number;
  /** What it writes, by the first letters of the LevelDB keys. */
  readonly letters: string;
  readonly sync: boolean;
}

/** Does all the work, and keeps each of its writes. */
export async function recordWrites(commits: number, options: LevelStoreOptions): Promise<Write[]> {
  await using scratch = await makeScratch();
  const clock = createFakeClock();
  const writes: Write[] = [];
  let acknowledged = (): number => 0;
  const createDatabase: CreateLevelDatabase = (location, handle) => {
    const db = createLevelDatabase(location, handle);
    return {
      ...db,
      async batch(operations, given) {
        const base = await crashCopy(scratch.path);
        const isAcknowledged = acknowledged();
        const old = await readLog(base.path);
        await db.batch(operations, given);
        const [logName, after] = await readLog(scratch.path);
        const before = old[0] === logName ? old[1] : undefined;
        const write = { base, logName, before, after, acknowledged: isAcknowledged };
        writes.push({ ...write, letters: lettersOf(operations), sync: given.sync });
      },
    };
  };
  const given = {
    clock,
    historyMs: crashHistoryMs,
    roundKeys: 30,
    filterKeptMinKeys: 1,
    filterKeptEveryMs: 1,
    createDatabase,
    ...options,
  };
  const store = await openLevelStore(scratch.path, given);
  acknowledged = () => Number(store.revision());
  await workOn(store, clock, commits);
  await store.close();
  return writes;
}

async function readLog(path: string): Promise<[name: string, content: Buffer]> {
  // The one before is there until what it has is in a table.
  const names = (await readdir(join(path, "db"))).filter((each) => each.endsWith(".log")).sort();
  const name = names.at(-1) ?? "";
  return [name, await readFile(join(path, "db", name))];
}

/** A directory with the files of `base`, but for the log. LevelDB changes no file that is there, so links to them will do. */
export async function makeImage({ base, logName }: Write, log: Buffer | undefined): Promise<Scratch> {
  const image = await makeScratch();
  for (const entry of await readdir(base.path, { recursive: true, withFileTypes: true })) {
    const from = join(entry.parentPath, entry.name);
    const to = join(image.path, from.slice(base.path.length));
    if (entry.isDirectory()) await mkdir(to, { recursive: true });
    else if (entry.name !== logName) await link(from, to);
  }
  if (log !== undefined) await writeFile(join(image.path, "db", logName), log);
  return image;
}

function syncedBytes({ before }: Write): number {
  return before?.length ?? 0;
}

export function tailBytes(write: Write): number {
  return write.after.length - syncedBytes(write);
}

/** Each way in which a log may end that was being written to, as far as the write's bytes go; undefined: there is no such file. */
const tears: Record<string, (write: Write, at: number, random: SeededRandom) => Buffer | undefined> = {
  cut: (write, at) => write.after.subarray(0, syncedBytes(write) + at),
  zeros: (write, at) => Buffer.from(write.after).fill(0, syncedBytes(write) + at),
  noise: (write, at, random) => {
    const log = Buffer.from(write.after);
    for (let i = syncedBytes(write) + at; i < log.length; i += 1) log[i] = random.int(0, 255);
    return log;
  },
  // Only that of a log that is new can be missing.
  "without its entry": (write, at) =>
    write.before === undefined ? undefined : write.after.subarray(0, syncedBytes(write) + at),
  "without a sector": (write, at) => without(write, at, sectorBytes),
  "without a page": (write, at) => without(write, at, pageBytes),
  "without every other sector": (write, at) => {
    const log = Buffer.from(write.after);
    const synced = syncedBytes(write);
    const first = Math.floor((synced + at) / sectorBytes) * sectorBytes;
    for (let from = first; from < log.length; from += 2 * sectorBytes) {
      log.fill(0, Math.max(from, synced), Math.min(from + sectorBytes, log.length));
    }
    return log;
  },
};

function without(write: Write, at: number, unitBytes: number): Buffer {
  const log = Buffer.from(write.after);
  const synced = syncedBytes(write);
  const from = Math.floor((synced + at) / unitBytes) * unitBytes;
  return log.fill(0, Math.max(from, synced), Math.min(from + unitBytes, log.length));
}

/**
 * The images that are made of a write: all there are, or as many as asked for. Where that suffices it is cut at each byte; the rest is
 * spread over the tears and the bytes.
 */
export function* tearsOf(
  write: Write,
  { count, number, random }: { count: number; number: number; random: SeededRandom },
): Generator<[tear: string, at: number]> {
  const length = tailBytes(write);
  const names = Object.keys(tears);
  if (count >= names.length * (length + 1)) {
    for (const name of names) for (let at = 0; at <= length; at += 1) yield [name, at];
    return;
  }
  let left = count;
  if (count > length) for (let at = 0; at <= length; at += 1, left -= 1) yield ["cut", at];
  else yield ["cut", number % 2 === 0 ? 0 : length];
  if (write.before === undefined) yield ["without its entry", 0];
  const start = random.fraction();
  for (let i = 1; i < left; i += 1) {
    const fraction = (start + (number * 7 + i) * 0.618_034) % 1;
    yield [names[(number + i) % names.length]!, Math.floor(fraction * (length + 1))];
  }
}

/** The log of an image. */
export function tear(write: Write, [name, at]: [tear: string, at: number], random: SeededRandom): Buffer | undefined {
  return tears[name]!(write, at, random);
}
