/**
 * Damage to the files of a store: each kind of file, each kind of damage. Whatever was done to it, an opening is refused and
 * changes nothing, or has everything. A refused one is said to be damaged by verify, which changes nothing either, and a repair of it has every
 * key whose newest version is in a file that was left alone, and no key of another store. FILE_DAMAGE_PAIRS=1: all pairs of damages, too. TABLE_FLIPS: how many single bits of
 * tables are changed (default 60).
 */
import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { repairStore } from "../../src/store/level-repair.ts";
import { verifyStore } from "../../src/store/level-verify.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { type Entry, type Store, StoreError } from "../../src/store/store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { newestIn } from "./file-contents.ts";
import { contentsOf, crashCopy, makeScratch, type Scratch } from "./level-fixture.ts";

const commits = 100;
const keyCount = 40;
const withPairs = process.env["FILE_DAMAGE_PAIRS"] === "1";

/** A store with tables, a log and a manifest: as it is closed, or as a crash leaves it. */
async function makeStore(how: "closed" | "crashed"): Promise<Scratch> {
  const scratch = await makeScratch();
  const clock = createFakeClock();
  const store = await openLevelStore(scratch.path, { clock, writeBufferBytes: 1 << 16, roundKeys: 10 });
  for (let i = 0; i < commits; i += 1) {
    await store.commit([{ type: "put", key: `key ${i % keyCount}`, value: Buffer.alloc(3_000, `${i}    `) }]);
  }
  if (how === "closed") {
    await store.close();
    return scratch;
  }
  const crashed = await crashCopy(scratch.path);
  await store.close();
  await scratch[Symbol.asyncDispose]();
  return crashed;
}

/** The store is at its newest revision, or at one before it where `mayBeBehind`, and has all that it had then. */
async function expectAll(store: Store, mayBeBehind: boolean): Promise<void> {
  const newest = Number(store.revision());
  if (!mayBeBehind) expect(newest).toBe(commits);
  for (const revision of [newest, newest >> 1]) {
    const entries = await store.scan({ prefix: "", limit: 1_000, revision: BigInt(revision) });
    const texts = entries.map((entry) => `${entry.key} = ${Buffer.from(entry.value).toString("latin1", 0, 4).trim()}`);
    const expected = new Map<string, string>();
    for (let i = 0; i < revision; i += 1) expected.set(`key ${i % keyCount}`, `key ${i % keyCount} = ${i}`);
    expect(texts).toEqual([...expected].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text));
  }
}

const kinds = ["CURRENT", "MANIFEST", "table", "log"] as const;
const damages: Record<string, (path: string, foreign: Buffer) => Promise<unknown>> = {
  "is missing": (path) => rm(path),
  "has lost its last byte": async (path) => writeFile(path, (await readFile(path)).subarray(0, -1)),
  "has lost its second half": async (path) => {
    const content = await readFile(path);
    return writeFile(path, content.subarray(0, content.length >> 1));
  },
  "is empty": (path) => writeFile(path, ""),
  "is all zeros": async (path) => writeFile(path, Buffer.alloc((await readFile(path)).length)),
  "has a bit changed": async (path) => {
    const content = await readFile(path);
    content[content.length >> 1]! ^= 1;
    return writeFile(path, content);
  },
  "is of another store": (path, foreign) => writeFile(path, foreign),
  "is a text": (path) => writeFile(path, "this is no database\n".repeat(200)),
  "has another name": (path) => rename(path, `${path}.bak`),
};

interface Damage {
  readonly kind: (typeof kinds)[number];
  readonly how: string;
}

const single: Damage[] = kinds.flatMap((kind) => Object.keys(damages).map((how) => ({ kind, how })));
const pairs = single.flatMap((a) => single.filter((b) => b.kind > a.kind).map((b) => [a, b]));
const cases = [...single.map((damage) => [damage]), ...(withPairs ? pairs : [])];

async function pathOf(directory: string, kind: Damage["kind"]): Promise<string> {
  const names = (await readdir(join(directory, "db"))).sort();
  const pattern = { CURRENT: /^CURRENT$/, MANIFEST: /^MANIFEST/, table: /\.ldb$/, log: /\.log$/ }[kind];
  const name = names.find((each) => pattern.test(each));
  if (name === undefined) throw new Error(`there is no ${kind} in ${directory}`);
  return join(directory, "db", name);
}

/** A repair has these versions, or newer ones, with the values that they had; and no others. */
async function expectRepaired(path: string, revisions: ReadonlyMap<string, number>): Promise<void> {
  await using target = await makeScratch();
  const made = join(target.path, "repaired");
  const report = await repairStore(path, made, createFakeClock());
  expect(report.made.opens).toBe(true);
  const store = await openLevelStore(made);
  const entries = await store.scan({ prefix: "", limit: 1_000 });
  const newest = new Map(entries.map(({ key, revision }) => [key, Number(revision)]));
  for (const [key, revision] of revisions) expect(newest.get(key), key).toBeGreaterThanOrEqual(revision);
  for (const { key, revision, value } of entries) {
    expect(`${key} = ${Buffer.from(value).toString("latin1", 0, 4).trim()}`).toBe(
      `key ${(Number(revision) - 1) % keyCount} = ${Number(revision) - 1}`,
    );
  }
  expect(await store.commit([{ type: "put", key: "new", value: Buffer.from("new") }])).toBeGreaterThan(0n);
  await store.close();
}

describe.each(["closed", "crashed"] as const)("of a store that was %s", (how) => {
  // Of records that are sound nobody can tell whose they are: only a store that was closed knows that its own are missing.
  const isForeignLog = ({ kind, how: what }: Damage): boolean => kind === "log" && what === "is of another store";
  // And nobody that a table is another store's, where no manifest says what it should be.
  const isForeign = (damage: Damage[]): boolean =>
    damage.some(({ kind, how: what }) => kind === "table" && what === "is of another store") &&
    damage.some(({ kind }) => kind === "MANIFEST");
  const possible = cases.filter((damage) => (how === "closed" || !damage.some(isForeignLog)) && !isForeign(damage));
  let whole: Scratch;
  let other: Scratch;
  let refused = 0;

  beforeAll(async () => {
    whole = await makeStore(how);
    other = await makeScratch();
    const store = await openLevelStore(other.path, { writeBufferBytes: 1 << 16 });
    // More than two write buffers: only the one before the last is a table for sure, whenever the store is closed.
    for (let i = 0; i < 60; i += 1) {
      await store.commit([{ type: "put", key: `other ${i}`, value: Buffer.alloc(4_000, i) }]);
    }
    await store.close();
    await using copy = await crashCopy(whole.path);
    const sound = await openLevelStore(copy.path);
    await expectAll(sound, false);
    await sound.close();
  });

  afterAll(async () => {
    await whole[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
    expect(refused).toBeGreaterThan(possible.length * 0.7);
  });

  test.each(
    possible.map((each) => [each.map(({ kind, how: what }) => `the ${kind} ${what}`).join(" and "), each] as const),
  )("%s", async (_, damage) => {
    await using copy = await crashCopy(whole.path);
    for (const { kind, how: what } of damage) {
      await damages[what]!(await pathOf(copy.path, kind), await readFile(await pathOf(other.path, kind)));
    }
    const before = await contentsOf(copy.path);
    const opening = await openLevelStore(copy.path).catch((error: unknown) => error);
    if (opening instanceof StoreError) {
      expect(opening.code).toBe("DAMAGED");
      expect(await contentsOf(copy.path)).toEqual(before);
      refused += 1;
      expect(await verifyStore(copy.path)).toMatchObject({ opens: false, isSound: false });
      const hurt = await Promise.all(damage.map(async ({ kind }) => basename(await pathOf(whole.path, kind))));
      await expectRepaired(copy.path, await newestIn(whole.path, new Set(hurt)));
      expect(await contentsOf(copy.path)).toEqual(before);
      return;
    }
    const store = opening as Store;
    // After a crash the end of the log may be what was not acknowledged: that it was there cannot be known.
    await expectAll(store, how === "crashed" && damage.some(({ kind }) => kind === "log"));
    await store.close();
  });
});

test.each(["", "zeros", "text"])(
  "a log that has no record (%s) before one that has is damage, whatever the manifest says of what came before",
  async (what) => {
    await using whole = await makeScratch();
    // Opened anew, it has all that is older in tables, and what the manifest names is what the log goes on behind.
    const first = await openLevelStore(whole.path);
    await first.commit([{ type: "put", key: "a", value: Buffer.from("one") }]);
    await first.close();
    const second = await openLevelStore(whole.path);
    await second.commit([{ type: "put", key: "a", value: Buffer.from("two") }]);
    await using copy = await crashCopy(whole.path);
    await second.close();
    const log = await pathOf(copy.path, "log");
    const next = join(copy.path, "db", "000099.log");
    await rename(log, next);
    expect(await readFile(next)).not.toHaveLength(0);
    await writeFile(log, what === "zeros" ? Buffer.alloc(70_000) : what);
    await expect(openLevelStore(copy.path)).rejects.toMatchObject({
      code: "DAMAGED",
      message: expect.stringContaining("000099.log does not go on") as string,
    });
    expect(await verifyStore(copy.path)).toMatchObject({ opens: false, isSound: false });
  },
);

const flips = Number(process.env["TABLE_FLIPS"] ?? 60);

test(`a bit that changes in a table stops the opening, or hurts the values it is in and nothing else (${flips} bits)`, {
  timeout: 60_000 + flips * 500,
}, async () => {
  const count = 300;
  const valueOf = (i: number): string => JSON.stringify({ n: i, text: `${"some text ".repeat(20)}${i * 7_919}` });
  const keyAt = (i: number): string => `/tasks/controller/task-${String(i).padStart(6, "0")}`;
  await using scratch = await makeScratch();
  const first = await openLevelStore(scratch.path, {
    clock: createFakeClock(),
    writeBufferBytes: 1 << 16,
    roundKeys: 50,
  });
  for (let i = 0; i < count; i += 1) {
    await first.commit([{ type: "put", key: keyAt(i), value: Buffer.from(valueOf(i)) }]);
  }
  await first.close();
  const seen = { refused: 0, corrupt: 0 };
  for (let flip = 0; flip < flips; flip += 1) {
    await using copy = await crashCopy(scratch.path);
    const tables = (await readdir(join(copy.path, "db"))).filter((name) => name.endsWith(".ldb")).sort();
    const path = join(copy.path, "db", tables[flip % tables.length]!);
    const content = await readFile(path);
    const at = Math.floor(((flip * 0.618_034) % 1) * content.length);
    content[at]! ^= 1 << (flip % 8);
    await writeFile(path, content);
    const before = await contentsOf(copy.path);
    const opening = await openLevelStore(copy.path, { clock: createFakeClock() }).catch((error: unknown) => error);
    if (opening instanceof StoreError) {
      expect(opening.code).toBe("DAMAGED");
      expect(await contentsOf(copy.path)).toEqual(before);
      seen.refused += 1;
      continue;
    }
    const store = opening as Store;
    for (let i = 0; i < count; i += 1) {
      const entry = await store.get(keyAt(i)).catch((error: StoreError) => error.code);
      if (entry === "CORRUPT") seen.corrupt += 1;
      else expect(Buffer.from((entry as Entry).value).toString(), `bit ${flip % 8} of byte ${at}`).toBe(valueOf(i));
    }
    expect(await store.scan({ prefix: "", limit: 1_000 })).toHaveLength(count);
    await store.commit([{ type: "put", key: keyAt(0), value: Buffer.from("new") }]);
    await store.close();
  }
  expect(seen.refused).toBeGreaterThan(flips / 10);
  expect(seen.corrupt).toBeGreaterThan(0);
});
