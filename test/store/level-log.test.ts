import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createLevelDatabase } from "../../src/store/level-database.ts";
import { scanLog } from "../../src/store/level-log.ts";
import { decodeManifest } from "../../src/store/level-manifest.ts";
import { makeScratch } from "./level-fixture.ts";

/** The log and the manifest that LevelDB writes for values of these sizes, a batch each. */
async function writeWithLevel(sizes: readonly number[]): Promise<{ log: Buffer; manifest: Buffer; ends: number[] }> {
  await using scratch = await makeScratch();
  const db = createLevelDatabase(scratch.path, { writeBufferBytes: 16 << 20 });
  await db.open({ createIfMissing: true });
  const read = async (name: RegExp): Promise<Buffer> => {
    const names = await readdir(scratch.path);
    return readFile(join(scratch.path, names.find((each) => name.test(each)) ?? ""));
  };
  const ends: number[] = [];
  for (const [i, size] of sizes.entries()) {
    // Bytes of every kind, many of which are types of fragments.
    const value = Buffer.alloc(size, Buffer.from([1, 0, 2, 3, 4, 255, i]));
    await db.batch([{ type: "put", key: Buffer.from(`key ${i}`), value }], { sync: false });
    ends.push((await read(/\.log$/)).length);
  }
  const files = { log: await read(/\.log$/), manifest: await read(/^MANIFEST/), ends };
  await db.close();
  return files;
}

const kib = 1024;
/** Records within a block, over the border of two, and over several; one that leaves less than a head at a block's end. */
const sizes = [10, 500, 31 * kib, 5, 100 * kib, 1, 32 * kib - 60, 20, 200];

function changed(log: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(log);
  change(copy);
  return copy;
}

describe("scanning a log", () => {
  test("finds the records that LevelDB wrote, and where each ends", async () => {
    const { log, ends } = await writeWithLevel(sizes);
    const lengths: number[] = [];
    const scan = scanLog(log, (record) => lengths.push(record.length));
    expect(scan).toEqual({ soundBytes: log.length, hasHole: false });
    expect(lengths.map((length, i) => length >= sizes[i]! && length < sizes[i]! + 40)).toEqual(sizes.map(() => true));
    for (const [i, end] of ends.entries()) {
      expect(scanLog(log.subarray(0, end))).toEqual({ soundBytes: end, hasHole: false });
      expect(scanLog(log.subarray(0, end - 1))).toEqual({ soundBytes: ends[i - 1] ?? 0, hasHole: false });
    }
    expect(scanLog(Buffer.alloc(0))).toEqual({ soundBytes: 0, hasHole: false });
  });

  test("takes a last record that is cut, zeroed or noise from anywhere on for a torn tail", async () => {
    const { log, ends } = await writeWithLevel([10, 90 * kib]);
    let images = 0;
    for (let at = ends[0]!; at < log.length; at += 1_009) {
      for (const tail of [Buffer.alloc(0), Buffer.alloc(log.length - at), Buffer.alloc(log.length - at, 0x5a)]) {
        const torn = Buffer.concat([log.subarray(0, at), tail]);
        expect(scanLog(torn), `from ${at}`).toEqual({ soundBytes: ends[0], hasHole: false });
        images += 1;
      }
    }
    expect(images).toBeGreaterThan(250);
  });

  test("takes pages that are missing from the last record for a torn tail, whichever of them", async () => {
    const { log, ends } = await writeWithLevel([10, 90 * kib]);
    const pages = Math.ceil(log.length / 4096);
    for (let page = 0; page < pages; page += 1) {
      const from = Math.max(page * 4096, ends[0]!);
      const torn = changed(log, (copy) => copy.fill(0, from, Math.min((page + 1) * 4096, copy.length)));
      expect(scanLog(torn), `page ${page}`).toEqual({ soundBytes: ends[0], hasHole: false });
    }
    expect(pages).toBeGreaterThan(20);
  });

  test("finds a hole wherever a whole record lies behind damage, also where LevelDB says nothing of it", async () => {
    const { log, ends } = await writeWithLevel(sizes);
    const damages: Record<string, (copy: Buffer, at: number, end: number) => unknown> = {
      "a bit": (copy, at) => copy.writeUInt8(copy[at]! ^ 1, at),
      zeros: (copy, at, end) => copy.fill(0, at, Math.min(at + 512, end)),
    };
    let images = 0;
    for (const [name, damage] of Object.entries(damages)) {
      for (const [i, end] of ends.slice(0, -1).entries()) {
        const begin = ends[i - 1] ?? 0;
        // All of the head, the length in it as well, and more of the rest.
        const places = [0, 3, 4, 5, 6, 7, Math.floor((end - begin) / 2), end - begin - 1];
        for (const place of places) {
          if (begin + place >= end || log[begin + place] === 0) continue;
          const holed = changed(log, (copy) => damage(copy, begin + place, end));
          expect(scanLog(holed).hasHole, `${name} at ${place} of record ${i}`).toBe(true);
          expect(scanLog(holed).soundBytes).toBe(begin);
          images += 1;
        }
      }
    }
    expect(images).toBeGreaterThan(80);
  });

  test("a record that is missing from the middle leaves no trace, which the chain of the journal is for", async () => {
    const { log, ends } = await writeWithLevel([100, 100, 100]);
    const without = Buffer.concat([log.subarray(0, ends[0]), log.subarray(ends[1])]);
    expect(scanLog(without).hasHole).toBe(false);
  });
});

describe("a manifest", () => {
  test("names the log, and the tables with their sizes", async () => {
    await using scratch = await makeScratch();
    for (let opening = 0; opening < 3; opening += 1) {
      const db = createLevelDatabase(scratch.path, { writeBufferBytes: 1 << 16 });
      await db.open({ createIfMissing: true });
      for (let i = 0; i < 40; i += 1) {
        await db.batch([{ type: "put", key: Buffer.from(`${opening} ${i}`), value: Buffer.alloc(4_000, i) }], {
          sync: false,
        });
      }
      await db.close();
    }
    const names = await readdir(scratch.path);
    const manifest = decodeManifest(
      await readFile(join(scratch.path, names.find((name) => name.startsWith("MANIFEST"))!)),
    );
    expect(names).toContain(`${String(manifest?.logNumber).padStart(6, "0")}.log`);
    expect(manifest?.tables.size).toBeGreaterThan(1);
    for (const [number, bytes] of manifest?.tables ?? []) {
      expect(await readFile(join(scratch.path, `${String(number).padStart(6, "0")}.ldb`))).toHaveLength(bytes);
    }
  });

  test("of no bytes, of other bytes or with any byte changed is refused or is another, and does no harm", async () => {
    const { manifest } = await writeWithLevel([10]);
    expect(decodeManifest(manifest)).toMatchObject({ logNumber: expect.any(Number) });
    expect(decodeManifest(Buffer.alloc(0))).toBeUndefined();
    expect(decodeManifest(Buffer.alloc(manifest.length))).toBeUndefined();
    expect(decodeManifest(Buffer.from("not a manifest at all, but long enough"))).toBeUndefined();
    for (let at = 0; at < manifest.length; at += 1) {
      expect(decodeManifest(changed(manifest, (copy) => copy.writeUInt8(copy[at]! ^ 4, at)))).not.toEqual(
        decodeManifest(manifest),
      );
    }
  });
});
