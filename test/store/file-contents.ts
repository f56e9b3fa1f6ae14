/** What is in the files of a store's database, file by file. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeBatch } from "../../src/store/level-batch.ts";
import { keyNumber, parseValueKey } from "../../src/store/level-keys.ts";
import { salvageLog } from "../../src/store/level-log.ts";
import { isPlausibleEntry } from "../../src/store/level-plausible.ts";
import { readTable } from "../../src/store/level-salvage.ts";
import { decodeBlock } from "../../src/store/record.ts";

/** The newest revision of each key, of those that are in a file which is not one of the named. */
export async function newestIn(directory: string, hurt: ReadonlySet<string>): Promise<Map<string, number>> {
  const revisions = new Map<string, number>();
  for (const name of await readdir(join(directory, "db"))) {
    if (hurt.has(name) || !/\.(ldb|log)$/.test(name)) continue;
    const bytes = await readFile(join(directory, "db", name));
    const entries = name.endsWith(".ldb")
      ? readTable(bytes, { lastSequence: 2 ** 56, isPlausible: isPlausibleEntry }).entries
      : [...salvageLog(bytes)].flatMap(({ record }) => decodeBatch(record ?? Buffer.alloc(0))?.entries ?? []);
    for (const { key, value } of entries) {
      if (value === undefined) continue;
      if (key[0] === 0x4a) {
        for (const record of decodeBlock(value, keyNumber(key))!.records) {
          revisions.set(record.key, Math.max(record.revision, revisions.get(record.key) ?? 0));
        }
      } else if (key[0] === 0x56) {
        const place = parseValueKey(key)!;
        revisions.set(place.key, Math.max(place.revision, revisions.get(place.key) ?? 0));
      }
    }
  }
  return revisions;
}
