/**
 * What a crash may leave of a store, file by file: images of it are made at each write, with the write there, not there and
 * torn, and opened. CRASH_IMAGES: how many (default 100; from about four million on, each byte in each way). CRASH_SEED: where
 * they are torn, and what noise is; printed.
 */
import { cp, link, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Log } from "../../src/log.ts";
import { silentLog } from "../../src/log.ts";
import { type CreateLevelDatabase, createLevelDatabase } from "../../src/store/level-database.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { changesOf, checkCrashed, crashHistoryMs, workOn } from "./crash-workload.ts";
import { makeImage, recordWrites, sectorBytes, tailBytes, tear, tearsOf } from "./crash-images.ts";
import { crashCopy, makeScratch, type Scratch, withDatabase } from "./level-fixture.ts";

const dose = Number(process.env["CRASH_IMAGES"] ?? 100);
const seed = Number(process.env["CRASH_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const random = new SeededRandom(seed);
const commits = 45;
/** The least that LevelDB takes: its log is begun anew now and then. */
const writeBufferBytes = 1 << 16;
const seen = { images: 0, lost: 0, kept: 0, torn: 0, begun: 0, "cut at each byte": 0 };
afterAll(() => {
  const counts = Object.entries(seen).map(([what, count]) => `${count} ${what}`);
  process.stderr.write(`crash images: CRASH_SEED=${seed}: ${counts.join(", ")}\n`);
});

describe("after a power cut", () => {
  test(`at any write, torn in any way, all that was acknowledged is there, and nothing else by halves (${dose} images)`, {
    timeout: 120_000 + dose * 500,
  }, async () => {
    const writes = await recordWrites(commits, { writeBufferBytes });
    const log: Log = { ...silentLog, warn: () => (seen.torn += 1) };
    for (const [i, write] of writes.entries()) {
      const isCommit = write.letters.startsWith("J");
      // A round's records say what is committed already; what a group adds may be there, as a whole, or not.
      const most = isCommit ? (writes[i + 1]?.acknowledged ?? commits) : write.acknowledged;
      const count = Math.ceil(dose / writes.length);
      if (count > tailBytes(write)) seen["cut at each byte"] += 1;
      if (write.before === undefined) seen.begun += 1;
      for (const [name, at] of tearsOf(write, { count, number: i, random })) {
        await using image = await makeImage(write, tear(write, [name, at], random));
        const between = { least: write.acknowledged, most };
        const revision = await checkCrashed(image.path, between, { log }).catch((error: unknown) => {
          throw new Error(`${name} at ${at} of write ${i} (${write.letters}), CRASH_SEED=${seed}`, { cause: error });
        });
        if (isCommit) expect([write.acknowledged, most]).toContain(revision);
        seen.images += 1;
        if (isCommit) seen[revision > write.acknowledged ? "kept" : "lost"] += 1;
      }
    }
    for (const { base } of writes) await base[Symbol.asyncDispose]();
    expect(writes.every(({ sync }) => sync)).toBe(true);
    const kinds = new Set(writes.flatMap(({ letters }) => [...letters]));
    expect([...kinds].sort()).toEqual([..."BCFGJVWbcfgjvw"]);
    expect(seen.images).toBeGreaterThanOrEqual(dose);
    // Each second commit is tried with its write there, untouched; most of the others have lost some of it.
    for (const count of [seen.lost, seen.torn]) expect(count).toBeGreaterThan(seen.images / 20);
    expect(seen.kept).toBeGreaterThan(10);
    expect(seen.begun, "logs that were begun").toBeGreaterThan(1);
  });

  test("a store that does not sync is what it was at some moment before", {
    timeout: 120_000 + dose * 500,
  }, async () => {
    const writes = await recordWrites(commits, { durability: "async" });
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
    const store = await openLevelStore(scratch.path, {
      clock,
      historyMs: crashHistoryMs,
      roundKeys: 30,
      filterKeptMinKeys: 1,
    });
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
