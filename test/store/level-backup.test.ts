/**
 * Backups are of one moment, also under load; restored, they are what the store was; and nothing that is not whole is taken for
 * one. BACKUPS: how many are taken under load, and how many restores are killed (default 5). BACKUP_CUTS: at how many lengths one is cut,
 * and how many of its bits are changed (default 60).
 */
import { fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { openLevelStore } from "../../src/store/level-store.ts";
import { backupStore, receiveBackup, restoreBackup, verifyStore } from "../../src/store/maintenance.ts";
import { type Store, StoreError } from "../../src/store/store.ts";
import { expectFailure } from "../../src/store-conformance/harness.ts";
import { restorerPath } from "./level-restorer.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { bytes, contentsOf, crashCopy, entriesOf, makeScratch, type Scratch, withDatabase } from "./level-fixture.ts";

const backups = Number(process.env["BACKUPS"] ?? 5);
const cuts = Number(process.env["BACKUP_CUTS"] ?? 60);
const options = { writeBufferBytes: 1 << 16, roundKeys: 10, historyBytes: 1 << 30 };

/** A store with tables, history, a counter, index entries and a deleted key; closed, or as a crash leaves it. */
async function makeStore(how: "closed" | "crashed", count = 150): Promise<Scratch> {
  const scratch = await makeScratch();
  const store = await openLevelStore(scratch.path, { clock: createFakeClock(), ...options });
  for (let i = 0; i < count; i += 1) {
    await store.commit([
      { type: "put", key: `key ${i % 40}`, value: Buffer.alloc(2_000, `${i} `) },
      { type: "add", key: "n", delta: 1n },
      { type: "index", key: `index ${i}`, value: bytes("") },
    ]);
  }
  await store.commit([{ type: "delete", key: "key 7" }]);
  const crashed = await crashCopy(scratch.path);
  await store.close();
  const [kept, dropped] = how === "closed" ? [scratch, crashed] : [crashed, scratch];
  await dropped[Symbol.asyncDispose]();
  return kept;
}

function levelEntries(path: string): Promise<string[]> {
  return withDatabase(path, async (db) =>
    (await entriesOf(db)).map(([key, value]) => `${key.toString("hex")} ${value.toString("hex")}`),
  );
}

describe.each(["closed", "crashed"] as const)("a store that was %s", (how) => {
  test("is the same after backup and restore, entry by entry, and is not changed by that", async () => {
    await using source = await makeStore(how);
    await using scratch = await makeScratch();
    const before = await contentsOf(source.path);
    const file = join(scratch.path, "one.backup");
    const target = join(scratch.path, "restored");
    const verified = await verifyStore(source.path);
    expect(verified).toMatchObject({
      isSound: true,
      opens: true,
      revision: 151,
      keys: 39,
      counters: 1,
      indexEntries: 150,
    });
    const { stateHash } = verified;
    expect(await backupStore(source.path, file)).toMatchObject({ stateHash, isSound: true, kind: "backup" });
    expect(await restoreBackup(file, target)).toMatchObject({ stateHash });
    expect(await verifyStore(target)).toMatchObject({ stateHash, isSound: true, kind: "store" });
    expect(await contentsOf(source.path)).toEqual(before);
    expect((await readdir(scratch.path)).sort()).toEqual(["one.backup", "restored"]);
    expect(await levelEntries(target)).toEqual(await levelEntries(source.path));
    const store = await openLevelStore(target);
    expect(store.revision()).toBe(151n);
    expect(Buffer.from((await store.get("n"))!.value).readBigInt64BE()).toBe(150n);
    await store.close();
    // What its opening has materialized is no other state.
    expect(await verifyStore(target)).toMatchObject({ stateHash, isSound: true });
  });
});

/** Bumps one of some keys, its index entry and a counter, until it is told to stop. */
async function load(store: Store, signal: AbortSignal): Promise<number> {
  let done = 0;
  const writer = async (name: string): Promise<void> => {
    for (let i = 1; !signal.aborted; i += 1, done += 1) {
      await store.commit([
        { type: "put", key: `key ${name}`, value: Buffer.alloc(1_000 + ((i * 37) % 3_000), `${i} `) },
        ...(i > 1 ? [{ type: "unindex" as const, key: `index ${name} ${i - 1}` }] : []),
        { type: "index", key: `index ${name} ${i}`, value: bytes("") },
        { type: "add", key: "n", delta: 1n },
      ]);
    }
  };
  await Promise.all(["a", "b", "c", "d", "e", "f", "g", "h"].map(writer));
  return done;
}

test(`${backups} backups under load are of one moment each, and restored are what the store was then`, {
  timeout: 60_000 + backups * 10_000,
}, async () => {
  await using scratch = await makeScratch();
  const path = join(scratch.path, "store");
  const store = await openLevelStore(path, { clock: createFakeClock(), ...options, roundDelayMs: 5 });
  const stopping = new AbortController();
  const loading = load(store, stopping.signal);
  const revisions: bigint[] = [];
  for (let i = 0; i < backups; i += 1) {
    while (store.revision() < BigInt((i + 1) * 150)) await sleep(1);
    const acknowledged = store.revision();
    const file = join(scratch.path, `${i}.backup`);
    {
      await using backup = await store.openBackup();
      // While it is read the store goes on, and compacts away what it is made of.
      const slowly = async function* () {
        for await (const piece of backup.pieces) {
          await sleep(1);
          yield piece;
        }
      };
      expect(await receiveBackup(slowly(), file)).toMatchObject({ isSound: true });
    }
    const restored = join(scratch.path, `restored-${i}`);
    const { revision, stateHash } = await restoreBackup(file, restored);
    expect((await verifyStore(restored)).stateHash).toBe(stateHash);
    expect(BigInt(revision)).toBeGreaterThanOrEqual(acknowledged);
    const copy = await openLevelStore(restored, { clock: createFakeClock() });
    const newest = await copy.scan({ prefix: "key ", limit: 100 });
    expect(await store.scan({ prefix: "key ", limit: 100, revision: BigInt(revision) })).toEqual(newest);
    const indexed = (await copy.scan({ prefix: "index ", limit: 100 })).map(({ key }) => key);
    const numbers = newest.map(({ value }) => Number.parseInt(Buffer.from(value).toString("latin1", 0, 9), 10));
    expect(indexed).toEqual(newest.map(({ key }, at) => `${key.replace("key", "index")} ${numbers[at]}`));
    const sum = numbers.reduce((total, each) => total + each, 0);
    expect(Buffer.from((await copy.get("n"))!.value).readBigInt64BE()).toBe(BigInt(sum));
    await copy.close();
    revisions.push(BigInt(revision));
  }
  stopping.abort();
  expect(await loading).toBeGreaterThan(backups * 100);
  expect(new Set(revisions).size).toBe(backups);
  expect(await readdir(join(path, "backups"))).toEqual([]);
  await store.close();
});

test("what a process that died during a backup has left of it is gone when the store is opened again", async () => {
  await using source = await makeStore("closed");
  const store = await openLevelStore(source.path);
  await store.openBackup();
  await using crashed = await crashCopy(source.path);
  await store.close();
  expect(await readdir(join(crashed.path, "backups"))).toHaveLength(1);
  await writeFile(join(crashed.path, "backups", "nightly.backup"), "what somebody else has put there");
  const again = await openLevelStore(crashed.path);
  expect(await readdir(join(crashed.path, "backups"))).toEqual(["nightly.backup"]);
  await again.close();
});

test(`a backup that was cut short or has changed is refused by all, and leaves nothing (${cuts} lengths and bits)`, {
  timeout: 60_000 + cuts * 1_000,
}, async () => {
  await using source = await makeStore("closed", 60);
  await using scratch = await makeScratch();
  const file = join(scratch.path, "one.backup");
  await backupStore(source.path, file);
  const whole = await readFile(file);
  const spoiled = join(scratch.path, "spoiled");
  const target = join(scratch.path, "restored");
  const spoilings = [Buffer.concat([whole, Buffer.of(0)]), Buffer.alloc(0)];
  for (let i = 0; i < cuts; i += 1) {
    const at = i < 45 ? whole.length - 1 - i : Math.floor(((i * 0.618_034) % 1) * whole.length);
    spoilings.push(whole.subarray(0, at));
    const changed = Buffer.from(whole);
    changed[at]! ^= 1 << (i % 8);
    spoilings.push(changed);
  }
  for (const content of spoilings) {
    await writeFile(spoiled, content);
    await expectFailure(verifyStore(spoiled), "DAMAGED");
    await expectFailure(restoreBackup(spoiled, target), "DAMAGED");
    expect((await readdir(scratch.path)).sort()).toEqual(["one.backup", "spoiled"]);
  }
});

test.each(["../thesis", "/etc/passwd", "db/../../x", "commands/x", "db/LOCK", "stint-store.json\0"])(
  "a backup with a file named %j writes nothing, whatever its sum is",
  async (name) => {
    await using scratch = await makeScratch();
    const file = join(scratch.path, "evil.backup");
    const head = Buffer.concat([Buffer.from("STINTBAK"), Buffer.of(0, 0, 0, 1)]);
    const fileHead = Buffer.alloc(11);
    fileHead[0] = 1;
    fileHead.writeUInt16BE(Buffer.byteLength(name), 1);
    fileHead.writeUInt32BE(4, 7);
    const before = Buffer.concat([head, fileHead, Buffer.from(name), Buffer.from("mine")]);
    const end = Buffer.alloc(13);
    end[0] = 255;
    end.writeUInt32BE(1, 1);
    end.writeUInt32BE(before.length, 9);
    const summed = Buffer.concat([before, end]);
    await writeFile(file, Buffer.concat([summed, createHash("sha256").update(summed).digest()]));
    const failure = await expectFailure(restoreBackup(file, join(scratch.path, "restored")), "DAMAGED");
    expect(failure.message).toContain("a wrong name");
    expect(await readdir(scratch.path)).toEqual(["evil.backup"]);
  },
);

test("a backup of another format is refused by its number", async () => {
  await using source = await makeStore("closed", 5);
  const file = join(source.path, "..", `${basename(source.path)}.backup`);
  await backupStore(source.path, file);
  const content = await readFile(file);
  content[11] = 2;
  await writeFile(file, content);
  const failure = await expectFailure(verifyStore(file), "DAMAGED");
  expect(failure.message).toContain("it is of format 2; this version reads format 1");
});

test("nothing that is there is replaced", async () => {
  await using source = await makeStore("closed", 5);
  await using scratch = await makeScratch();
  const file = join(scratch.path, "one.backup");
  await backupStore(source.path, file);
  const before = await contentsOf(scratch.path);
  await expectFailure(backupStore(source.path, file), "INVALID");
  await expectFailure(restoreBackup(file, source.path), "INVALID");
  await expectFailure(restoreBackup(file, join(scratch.path, "one.backup")), "INVALID");
  expect(await contentsOf(scratch.path)).toEqual(before);
  await mkdir(join(scratch.path, "empty"));
  await restoreBackup(file, join(scratch.path, "empty"));
  expect(await verifyStore(join(scratch.path, "empty"))).toMatchObject({ isSound: true });
});

test("a store that is open is LOCKED to all of them, and is not changed", async () => {
  await using source = await makeStore("closed", 5);
  await using scratch = await makeScratch();
  const store = await openLevelStore(source.path);
  const before = await contentsOf(source.path);
  await expectFailure(verifyStore(source.path), "LOCKED");
  await expectFailure(backupStore(source.path, join(scratch.path, "x")), "LOCKED");
  expect(await contentsOf(source.path)).toEqual(before);
  expect(await readdir(scratch.path)).toEqual([]);
  await store.close();
});

test("a store that a server would refuse is not backed up as if it were whole", async () => {
  await using source = await makeStore("closed");
  await using scratch = await makeScratch();
  const tables = (await readdir(join(source.path, "db"))).filter((name) => name.endsWith(".ldb"));
  await writeFile(join(source.path, "db", tables[0]!), "this is no table");
  const failure = await expectFailure(backupStore(source.path, join(scratch.path, "x")), "DAMAGED");
  expect(failure.message).toContain(tables[0]);
  expect(await readdir(scratch.path)).toEqual([]);
});

test(`${backups} restores that were killed left nothing that opens, or all of it`, {
  timeout: 60_000 + backups * 20_000,
}, async () => {
  await using source = await makeStore("closed", 20);
  const large = await openLevelStore(source.path);
  for (let i = 0; i < 40; i += 1) await large.commit([{ type: "put", key: `large ${i}`, value: randomBytes(400_000) }]);
  await large.close();
  await using scratch = await makeScratch();
  const file = join(scratch.path, "one.backup");
  const { stateHash } = await backupStore(source.path, file);
  const seen = { cut: 0, whole: 0 };
  for (let round = 0; round < backups; round += 1) {
    const target = join(scratch.path, `restored-${round}`);
    const child = fork(restorerPath, [file, target], {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const exit = once(child, "exit");
    // The last one is let be.
    if (round < backups - 1) {
      const staged = join(`${target}.unfinished`, "db");
      while (!existsSync(staged) && child.exitCode === null) await sleep(1);
      await sleep(((round * 0.618_034) % 1) * 20);
      child.kill("SIGKILL");
    }
    await exit;
    for (const directory of [target, `${target}.unfinished`]) {
      if (!existsSync(directory)) continue;
      // In an empty directory anybody makes a new store.
      if (directory !== target && (await readdir(directory)).length === 0) continue;
      const opening = await openLevelStore(directory).catch((error: unknown) => error);
      if (opening instanceof StoreError) {
        expect(opening.code).toBe("DAMAGED");
        seen.cut += 1;
      } else {
        expect(directory).toBe(target);
        await (opening as Store).close();
        expect((await verifyStore(target)).stateHash).toBe(stateHash);
        seen.whole += 1;
      }
    }
  }
  expect(seen.whole).toBeGreaterThan(0);
  if (backups > 2) expect(seen.cut).toBeGreaterThan(0);
});
