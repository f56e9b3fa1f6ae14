import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createLevelDatabase } from "../../src/store/level-database.ts";
import { makeScratch } from "./level-fixture.ts";

const entries = 8_000;
const tableMaxBytes = 1.1 * 2 ** 20;

test("the tables that compactions leave are of 1 MiB at most: 64 of them are mapped into memory", async () => {
  await using scratch = await makeScratch();
  // Small enough for compactions to make all tables but the newest.
  const db = createLevelDatabase(scratch.path, { writeBufferBytes: 1 << 16 });
  await db.open({ createIfMissing: true });
  let state = 1;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
  for (let i = 0; i < entries; i += 100) {
    const batch = Array.from({ length: 100 }, () => {
      const value = Buffer.from(Uint32Array.from({ length: 200 }, random).buffer);
      return { type: "put", key: Buffer.from(`key ${random()}`), value } as const;
    });
    await db.batch(batch, { sync: false });
  }
  await db.close();
  const names = (await readdir(scratch.path)).filter((name) => name.endsWith(".ldb"));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(scratch.path, name))).size));
  expect(sizes.length).toBeGreaterThan(4);
  expect(Math.max(...sizes)).toBeLessThan(tableMaxBytes);
  // They are not small for another reason.
  expect(Math.max(...sizes)).toBeGreaterThan(tableMaxBytes / 2);
});
