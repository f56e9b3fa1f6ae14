import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createLevelDatabase } from "../../src/store/level-database.ts";
import { unsnap } from "../../src/store/level-block.ts";
import { checkTable } from "../../src/store/level-table.ts";
import { makeScratch } from "./level-fixture.ts";

/** The tables that LevelDB writes for so many entries, whose values can be compressed or not. */
async function writeTables(entries: number, isCompressible: boolean): Promise<Buffer[]> {
  await using scratch = await makeScratch();
  const db = createLevelDatabase(scratch.path, { writeBufferBytes: 1 << 16 });
  await db.open({ createIfMissing: true });
  let state = 1;
  for (let i = 0; i < entries; i += 1) {
    const value = Buffer.alloc(300, "some text, some text ");
    for (let at = 0; !isCompressible && at < value.length; at += 1) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      value[at] = state >>> 24;
    }
    const key = Buffer.from(`/tasks/controller/task-${String(i).padStart(6, "0")}`);
    await db.batch([{ type: "put", key, value }], { sync: false });
  }
  await db.close();
  const names = (await readdir(scratch.path)).filter((name) => name.endsWith(".ldb"));
  // Awaited here, while the directory is there.
  return await Promise.all(names.map((name) => readFile(join(scratch.path, name))));
}

/** The state of a table of whose entries nothing is known. */
function stateOf(table: Buffer): string {
  return checkTable(table, { lastSequence: 1_000, isPlausible: () => true });
}

describe.each([true, false])("a table (compressible: %s)", (isCompressible) => {
  test("as LevelDB wrote it is sound, and is not with any bit changed, cut or other bytes in it", async () => {
    const tables = await writeTables(400, isCompressible);
    expect(tables.length).toBeGreaterThan(0);
    for (const table of tables) expect(stateOf(table)).toBe("sound");
    const [table] = tables as [Buffer];
    const seen = { damaged: 0, values: 0 };
    for (let at = 0; at < table.length; at += table.length - at < 200 ? 1 : 37) {
      // The footer is padded with zeros that mean nothing.
      if (at >= table.length - 48 && at < table.length - 8 && table[at] === 0) continue;
      const changed = Buffer.from(table);
      changed[at]! ^= 1 << (at & 7);
      const state = stateOf(changed);
      expect(state, `bit ${at & 7} of byte ${at} of ${table.length}`).not.toBe("sound");
      expect(stateOf(table.subarray(0, at))).toBe("damaged");
      seen[state as keyof typeof seen] += 1;
    }
    expect(seen.damaged).toBeGreaterThan(20);
    expect(seen.values).toBeGreaterThan(20);
  });
});

describe("Snappy", () => {
  test("is undone: literals, and copies near and far, also of what they write themselves", () => {
    const literal = [(5 - 1) << 2, ..."abcde"];
    const eightFromFiveBack = [((8 - 4) << 2) | 1, 5];
    const threeFromOneBack = [((3 - 1) << 2) | 2, 1, 0];
    const snapped = Buffer.from([16, ...literal, ...eightFromFiveBack, ...threeFromOneBack].map(byteOf));
    expect(unsnap(snapped).toString()).toBe("abcdeabcdeabcccc");
  });

  test("any other bytes are refused, or are some bytes, and do no harm", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const length = bytes[0] ?? 0;
        if (length >= 128) return;
        try {
          expect(unsnap(Buffer.from(bytes))).toHaveLength(length);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

function byteOf(item: number | string): number {
  return typeof item === "string" ? item.charCodeAt(0) : item;
}
