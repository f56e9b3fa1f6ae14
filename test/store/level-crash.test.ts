import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { Store } from "../../src/store/store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { bytes, crashCopy, entriesOf, eventually, FaultyDisk, makeScratch, withDatabase } from "./level-fixture.ts";

/** Every kind of change, over several keys: what is there afterwards is `expected`. */
async function fill(store: Store, commits: number): Promise<void> {
  const first = Number(store.revision());
  for (let i = first; i < first + commits; i += 1) {
    await store.commit([
      { type: "put", key: `task ${i % 7}`, value: bytes(`value ${i}`) },
      ...(i > 0 ? [{ type: "unindex", key: `index ${i - 1}` } as const] : []),
      { type: "index", key: `index ${i}`, value: bytes("") },
      { type: "add", key: "count", delta: 1n },
      ...(i % 5 === 4 ? [{ type: "delete", key: `task ${(i + 1) % 7}` } as const] : []),
    ]);
  }
}

async function everything(store: Store) {
  const now = await store.scan({ prefix: "", limit: 100 });
  const history = [];
  for (let revision = store.firstRevision(); revision <= store.revision(); revision += 1n) {
    history.push(await store.scan({ prefix: "", limit: 100, revision }));
  }
  return { now, history, revision: store.revision() };
}

describe("after a crash", () => {
  test("what was committed and not materialized is replayed", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
    await fill(store, 20);
    await using crashed = await crashCopy(scratch.path);
    expect(await withDatabase(scratch.path, (db) => entriesOf(db, "V")).catch(() => "open")).toBe("open");
    const before = await everything(store);
    await store.close();

    const again = await openLevelStore(crashed.path);
    expect(await everything(again)).toEqual(before);
    await again.close();
  });

  test("between rounds both what they wrote and what came after is there", async () => {
    await using scratch = await makeScratch();
    const clock = createFakeClock();
    const disk = new FaultyDisk();
    const store = await openLevelStore(scratch.path, { clock, createDatabase: disk.create });
    for (let round = 0; round < 4; round += 1) {
      await fill(store, 5);
      await clock.advance(1_000);
      await eventually(() => disk.written.filter((letters) => letters.includes("W")).length > round);
      await fill(store, 3);
      await using crashed = await crashCopy(scratch.path);
      const again = await openLevelStore(crashed.path, { clock: createFakeClock() });
      expect(await everything(again)).toEqual(await everything(store));
      await fill(again, 2);
      await again.close();
    }
    await store.close();
  });

  test("cut, zeroed or filled with noise anywhere in the last group, the log costs that group at most", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
    await fill(store, 6);
    const [log, synced] = await readLog(scratch.path);
    await store.commit([{ type: "put", key: "last", value: Buffer.alloc(100, 1) }]);
    await using crashed = await crashCopy(scratch.path);
    await store.close();
    const [, whole] = await readLog(crashed.path);
    const step = Number(process.env.TORN_TAIL_STEP ?? 23);
    for (let length = synced.length; length < whole.length; length += step) {
      for (const kind of ["cut", "zeros", "noise"] as const) {
        await using torn = await crashCopy(crashed.path);
        const tail = Buffer.alloc(kind === "cut" ? 0 : whole.length - length);
        if (kind === "noise") for (let i = 0; i < tail.length; i += 1) tail[i] = (i * 167 + 13) & 0xff;
        await writeFile(join(torn.path, "db", log), Buffer.concat([whole.subarray(0, length), tail]));
        const again = await openLevelStore(torn.path, { clock: createFakeClock() });
        expect(again.revision(), `${kind} from ${length}`).toBe(6n);
        expect(await again.get("last")).toBeUndefined();
        await again.commit([{ type: "put", key: "last", value: bytes("again") }], [{ key: "last", revision: 0n }]);
        await again.close();
      }
    }
  });
});

async function readLog(path: string): Promise<[string, Buffer]> {
  const names = await readdir(join(path, "db"));
  const log = names.find((name) => name.endsWith(".log"))!;
  return [log, await readFile(join(path, "db", log))];
}
