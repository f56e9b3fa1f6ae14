/**
 * What a crash may leave of a store, file by file: images of it are made at each write, with the write there, not there and
 * torn, and opened. CRASH_IMAGES: how many (default 100; from about four million on, each byte in each way).
 */
import { cp, link, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Log } from "../../src/log.ts";
import { silentLog } from "../../src/log.ts";
import { type CreateLevelDatabase, createLevelDatabase } from "../../src/store/level-database.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { changesOf, checkCrashed, crashHistoryMs, workOn } from "./crash-workload.ts";
import { crashCopy, lettersOf, makeScratch, type Scratch, withDatabase } from "./level-fixture.ts";

const dose = Number(process.env["CRASH_IMAGES"] ?? 100);
const commits = 45;
const sectorBytes = 512;
const pageBytes = 4_096;

/** A write to the log: the directory as it was before, and the log before and after it. */
interface Write {
  readonly base: Scratch;
  readonly logName: string;
  readonly before: Buffer;
  readonly after: Buffer;
  /** What was acknowledged when it began. */
  readonly acknowledged: number;
  /** What it writes, by the first letters of the LevelDB keys. */
  readonly letters: string;
  readonly sync: boolean;
}

/** Does all the work, and keeps each of its writes. */
async function recordWrites(durability: "sync" | "async" = "sync"): Promise<Write[]> {
  await using scratch = await makeScratch();
  const clock = createFakeClock();
  const writes: Write[] = [];
  let acknowledged = (): number => 0;
  const createDatabase: CreateLevelDatabase = (location, options) => {
    const db = createLevelDatabase(location, options);
    return {
      ...db,
      async batch(operations, given) {
        const base = await crashCopy(scratch.path);
        const [logName, before] = await readLog(base.path);
        await db.batch(operations, given);
        const [, after] = await readLog(scratch.path);
        const write = { base, logName, before, after, acknowledged: acknowledged() };
        writes.push({ ...write, letters: lettersOf(operations), sync: given.sync });
      },
    };
  };
  const options = { clock, durability, historyMs: crashHistoryMs, roundKeys: 30, createDatabase };
  const store = await openLevelStore(scratch.path, options);
  acknowledged = () => Number(store.revision());
  await workOn(store, clock, commits);
  await store.close();
  return writes;
}

async function readLog(path: string): Promise<[name: string, content: Buffer]> {
  const names = await readdir(join(path, "db"));
  const name = names.find((each) => each.endsWith(".log")) ?? "";
  return [name, await readFile(join(path, "db", name))];
}

/** A directory with the files of `base`, but for the log. LevelDB changes no file that is there, so links to them will do. */
async function makeImage({ base, logName }: Write, log: Buffer): Promise<Scratch> {
  const image = await makeScratch();
  for (const entry of await readdir(base.path, { recursive: true, withFileTypes: true })) {
    const from = join(entry.parentPath, entry.name);
    const to = join(image.path, from.slice(base.path.length));
    if (entry.isDirectory()) await mkdir(to, { recursive: true });
    else if (entry.name !== logName) await link(from, to);
  }
  await writeFile(join(image.path, "db", logName), log);
  return image;
}

/** Each way in which a log may end that was being written to, as far as the write's bytes go. */
const tears: Record<string, (write: Write, at: number) => Buffer> = {
  cut: ({ before, after }, at) => after.subarray(0, before.length + at),
  zeros: ({ before, after }, at) => Buffer.from(after).fill(0, before.length + at),
  noise: ({ before, after }, at) => {
    const log = Buffer.from(after);
    for (let i = before.length + at; i < log.length; i += 1) log[i] = (i * 167 + 13) & 0xff;
    return log;
  },
  "without a sector": (write, at) => without(write, at, sectorBytes),
  "without a page": (write, at) => without(write, at, pageBytes),
  "without every other sector": ({ before, after }, at) => {
    const log = Buffer.from(after);
    const first = Math.floor((before.length + at) / sectorBytes) * sectorBytes;
    for (let from = first; from < log.length; from += 2 * sectorBytes) {
      log.fill(0, Math.max(from, before.length), Math.min(from + sectorBytes, log.length));
    }
    return log;
  },
};

function without({ before, after }: Write, at: number, unitBytes: number): Buffer {
  const log = Buffer.from(after);
  const from = Math.floor((before.length + at) / unitBytes) * unitBytes;
  return log.fill(0, Math.max(from, before.length), Math.min(from + unitBytes, log.length));
}

/** The images that are made of a write: all there are, or as many as asked for, spread over the tears and the bytes. */
function* imagesOf({ before, after }: Write, count: number, seed: number): Generator<[tear: string, at: number]> {
  const length = after.length - before.length;
  const names = Object.keys(tears);
  if (count >= names.length * (length + 1)) {
    for (const name of names) for (let at = 0; at <= length; at += 1) yield [name, at];
    return;
  }
  yield ["cut", seed % 2 === 0 ? 0 : length];
  for (let i = 1; i < count; i += 1) {
    const fraction = ((seed * 7 + i) * 0.618_034) % 1;
    yield [names[(seed + i) % names.length]!, Math.floor(fraction * (length + 1))];
  }
}

describe("after a power cut", () => {
  test(`at any write, torn in any way, all that was acknowledged is there, and nothing else by halves (${dose} images)`, {
    timeout: 120_000 + dose * 500,
  }, async () => {
    const writes = await recordWrites();
    const seen = { images: 0, lost: 0, kept: 0, torn: 0 };
    const log: Log = { ...silentLog, warn: () => (seen.torn += 1) };
    for (const [i, write] of writes.entries()) {
      const isCommit = write.letters.startsWith("J");
      // A round's records say what is committed already; what a group adds may be there, as a whole, or not.
      const most = isCommit ? (writes[i + 1]?.acknowledged ?? commits) : write.acknowledged;
      for (const [name, at] of imagesOf(write, Math.ceil(dose / writes.length), i)) {
        await using image = await makeImage(write, tears[name]!(write, at));
        const between = { least: write.acknowledged, most };
        const revision = await checkCrashed(image.path, between, { log }).catch((error: unknown) => {
          throw new Error(`${name} at ${at} of write ${i} (${write.letters})`, { cause: error });
        });
        if (isCommit) expect([write.acknowledged, most]).toContain(revision);
        seen.images += 1;
        if (isCommit) seen[revision > write.acknowledged ? "kept" : "lost"] += 1;
      }
    }
    for (const { base } of writes) await base[Symbol.asyncDispose]();
    expect(writes.every(({ sync }) => sync)).toBe(true);
    const kinds = new Set(writes.flatMap(({ letters }) => [...letters]));
    expect([...kinds].sort()).toEqual([..."CFGJVWcfgjvw"]);
    expect(seen.images).toBeGreaterThanOrEqual(dose);
    // Each second commit is tried with its write there, untouched; most of the others have lost some of it.
    for (const count of [seen.lost, seen.torn]) expect(count).toBeGreaterThan(seen.images / 20);
    expect(seen.kept).toBeGreaterThan(10);
  });

  test("a store that does not sync is what it was at some moment before", {
    timeout: 120_000 + dose * 500,
  }, async () => {
    const writes = await recordWrites("async");
    const last = writes.at(-1)!;
    expect(writes.some(({ sync }) => sync)).toBe(false);
    const outcomes: number[] = [];
    for (let i = 0; i < dose / 5; i += 1) {
      // Sectors that never reached the disk, anywhere in the log.
      const log = Buffer.from(last.after);
      for (let j = 0; j < 3; j += 1) {
        const sector = Math.floor((((i * 3 + j + 1) * 0.618_034) % 1) * (log.length / sectorBytes));
        log.fill(0, sector * sectorBytes, (sector + 1) * sectorBytes);
      }
      await using image = await makeImage(last, log);
      outcomes.push(await checkCrashed(image.path, { least: 0, most: commits }, { durability: "async" }));
    }
    for (const { base } of writes) await base[Symbol.asyncDispose]();
    expect(new Set(outcomes).size).toBeGreaterThan(3);
  });
});

describe("a crash while a store is opened", () => {
  test("costs nothing, at whatever step it is, also when the next opening is cut short as well", {
    timeout: 120_000,
  }, async () => {
    await using scratch = await makeScratch();
    const clock = createFakeClock();
    const store = await openLevelStore(scratch.path, { clock, historyMs: crashHistoryMs, roundKeys: 30 });
    await workOn(store, clock, commits);
    await using crashed = await crashCopy(scratch.path);
    await store.close();

    const images: Scratch[] = [];
    for (const from of [crashed.path, ...(await openAndCopy(crashed.path, images))]) await openAndCopy(from, images);
    expect(images.length).toBeGreaterThan(20);
    for (const image of images) {
      expect(await checkCrashed(image.path, { least: commits, most: commits })).toBe(commits);
      expect((await readdir(image.path)).sort()).toEqual(["db", "lock", "stint-store.json"]);
      await image[Symbol.asyncDispose]();
    }
  });

  const states: Record<string, (path: string) => Promise<unknown>> = {
    "when some of its files were kept": async (path) => {
      await mkdir(join(path, "recovery", "db.new"), { recursive: true });
      await link(join(path, "db", "CURRENT"), join(path, "recovery", "db.new", "CURRENT"));
    },
    "when its files were kept": (path) => cp(join(path, "db"), join(path, "recovery", "db"), { recursive: true }),
    "when LevelDB had read its log, and dropped it": async (path) => {
      await cp(join(path, "db"), join(path, "recovery", "db"), { recursive: true });
      const log = (await readdir(join(path, "db"))).find((name) => name.endsWith(".log")) ?? "";
      await rm(join(path, "db", log));
      await withDatabase(path, async () => {});
    },
    "when its files were being put back": async (path) => {
      await mkdir(join(path, "recovery"));
      await rename(join(path, "db"), join(path, "recovery", "db"));
      await mkdir(join(path, "recovery", "done"));
    },
    "when what was kept was being deleted": async (path) => {
      await mkdir(join(path, "recovery", "done"), { recursive: true });
      await writeFile(join(path, "recovery", "done", "000004.log"), "old");
    },
  };
  test.each(Object.entries(states))("%s, costs nothing", async (_, cutShort) => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
    for (let n = 1; n <= 5; n += 1) await store.commit(changesOf(n));
    await using crashed = await crashCopy(scratch.path);
    await store.close();
    await cutShort(crashed.path);
    expect(await checkCrashed(crashed.path, { least: 5, most: 5 })).toBe(5);
    expect((await readdir(crashed.path)).sort()).toEqual(["db", "lock", "stint-store.json"]);
  });
});

/** Opens a copy, and copies it at each call that goes to the database until it is open. The paths of the first few copies. */
async function openAndCopy(from: string, images: Scratch[]): Promise<string[]> {
  await using copy = await crashCopy(from);
  const made: Scratch[] = [];
  let isOpening = true;
  const image = async (): Promise<void> => {
    if (isOpening) made.push(await crashCopy(copy.path));
  };
  const createDatabase: CreateLevelDatabase = (location, options) => {
    const db = createLevelDatabase(location, options);
    return {
      ...db,
      async open(given) {
        const opened = db.open(given);
        await image();
        await opened;
        await image();
      },
      iterator(range) {
        const iterator = db.iterator(range);
        return {
          ...iterator,
          close: () => iterator.close(),
          async nextv(size) {
            await image();
            return iterator.nextv(size);
          },
        };
      },
    };
  };
  const store = await openLevelStore(copy.path, { clock: createFakeClock(), createDatabase });
  isOpening = false;
  await store.close();
  images.push(...made);
  return made.slice(0, 3).map(({ path }) => path);
}
