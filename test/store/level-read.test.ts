import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readLevelFiles } from "../../src/store/level-files.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { crashCopy, entriesOf, makeScratch, withDatabase } from "./level-fixture.ts";

test("the files of a store, closed or as a crash leaves it, are read without LevelDB as LevelDB reads them", async () => {
  await using scratch = await makeScratch();
  const options = { clock: createFakeClock(), writeBufferBytes: 1 << 16, roundKeys: 10 };
  const store = await openLevelStore(scratch.path, options);
  for (let i = 0; i < 200; i += 1) {
    await store.commit([
      { type: "put", key: `key ${i % 40}`, value: Buffer.alloc(3_000, `${i} `) },
      { type: "add", key: "n", delta: 1n },
    ]);
  }
  await using crashed = await crashCopy(scratch.path);
  await store.close();
  for (const { path } of [crashed, scratch]) {
    const location = join(path, "db");
    const names = await readdir(location);
    const files = await readLevelFiles({ names, read: (name) => readFile(join(location, name)) });
    expect(files.damages).toEqual([]);
    expect(files.names.filter((name) => name.endsWith(".ldb")).length).toBeGreaterThan(2);
    const read: string[] = [];
    for await (const { key, value } of files.entries()) read.push(`${key.toString("hex")} ${value.toString("hex")}`);
    const expected = await withDatabase(path, (db) => entriesOf(db));
    expect(read).toEqual(expected.map(([key, value]) => `${key.toString("hex")} ${value.toString("hex")}`));
  }
});
