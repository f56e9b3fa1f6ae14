/**
 * Makes a new store of what can be read of a damaged one, whether a server or LevelDB would open that or not.
 *
 * 1. The damaged store is left as it is, and nothing is put in the place of another.
 * 2. Where nothing is lost but what damaged entries had, all entries are taken as they are, history included ("copied").
 * 3. Otherwise ("rebuilt") the newest version of each key is taken, wherever it is; what follows from the tasks is made anew; history begins
 *    behind all revisions that can have been given away; and a task that is missing, or older than something of it says, is there as damaged.
 * 4. Bytes that could not be taken are kept in quarantine/ of the new store.
 */
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { DatabaseWriter } from "./level-writer.ts";
import { type LevelFiles, readLevelFiles } from "./level-files.ts";
import { keyNumber, numberedKey, parseValueKey, putCell, spaceOf, valueKey } from "./level-keys.ts";
import { type Marker, storeFormat } from "./level-marker.ts";
import { type OfflineStore, withOfflineStore } from "./level-offline.ts";
import { QuarantineFolder } from "./level-quarantine.ts";
import { type Rebuilt, rebuild } from "./level-rebuild.ts";
import { decodeVersion } from "./level-version.ts";
import { stageStore } from "./level-staging.ts";
import { survey } from "./level-survey.ts";
import type { RepairReport, Survey } from "./store-report.ts";
import { verifyDirectory } from "./level-verify.ts";
import { decodeBlock, recordBytes, salvageRecords, type StoredRecord } from "./record.ts";
import { StoreError } from "./store.ts";

/** Repairs the store in `directory`, which nobody has open, to a new one. Throws StoreError LOCKED, INVALID, DAMAGED where there is nothing to be had. */
export function repairStore(directory: string, target: string, clock: Clock): Promise<RepairReport> {
  return withOfflineStore(directory, async (store) => {
    if (typeof store.marker === "string" && /names format \d+;/.test(store.marker)) {
      throw new StoreError("DAMAGED", `the store in ${directory} cannot be repaired: ${store.marker}`);
    }
    let report: RepairReport | undefined;
    await stageStore(target, async (staging) => {
      const repaired = await repairInto(staging, store, clock);
      report = repaired.report;
      return repaired.marker;
    });
    return report!;
  });
}

async function repairInto(
  staging: string,
  store: OfflineStore,
  clock: Clock,
): Promise<{ report: RepairReport; marker: Marker }> {
  const files = await readLevelFiles(store.files);
  const found = await survey(files);
  if (found.keys + found.indexEntries + found.journalBlocks === 0 && files.damages.length > 0) {
    throw new StoreError("DAMAGED", `nothing of the store in ${store.directory} can be read`);
  }
  const quarantine = new QuarantineFolder(staging);
  await quarantineFiles(store, files, quarantine);
  const reached = typeof store.marker === "string" ? 0 : store.marker.revision;
  const isWhole =
    files.damages.every(({ loss }) => loss !== "entries") &&
    found.refusals.length === 0 &&
    found.revision >= reached &&
    found.damagedTasks.every(({ state }) => state === "damaged");
  const rebuilt = isWhole ? undefined : await rebuildInto(staging, { store, files, quarantine, reached });
  if (isWhole) await copyInto(staging, files, found, quarantine);
  await quarantine.finish();

  const marker: Marker =
    typeof store.marker === "string"
      ? {
          format: storeFormat,
          uuid: randomUUID(),
          createTime: new Date(clock.wall()).toISOString(),
          state: "ready",
          revision: 0,
        }
      : { ...store.marker, state: "ready" };
  const made = await verifyDirectory(join(staging, "db"), marker);
  if (!made.opens) throw new StoreError("DAMAGED", `what was made does not open: ${made.refusals.join("; ")}`);
  const losses = [...(rebuilt === undefined ? [] : [...found.refusals, ...rebuilt.losses])];
  if (found.revision < reached)
    losses.push(`commits up to revision ${reached} are lost; ${found.revision} is the last`);
  const damagedTasks = rebuilt?.damagedTasks ?? made.damagedTasks;
  const report: RepairReport = {
    how: isWhole ? "copied" : "rebuilt",
    isComplete: losses.length + damagedTasks.length + made.damagedEntryCount === 0 && !losesEntries(files),
    damagedFiles: files.damages.filter(({ loss }) => loss !== "tail"),
    damagedTasks,
    unendedTasks: rebuilt?.unendedTasks ?? [],
    losses,
    quarantined: quarantine.count,
    made,
  };
  return { report, marker: { ...marker, revision: made.revision } };
}

function losesEntries(files: LevelFiles): boolean {
  return files.damages.some(({ loss }) => loss === "entries");
}

async function quarantineFiles(
  store: OfflineStore,
  { damages }: LevelFiles,
  quarantine: QuarantineFolder,
): Promise<void> {
  for (const { file, range, reason } of damages) {
    if (!store.files.names.includes(file)) continue;
    const bytes = await store.files.read(file);
    const from = range === undefined ? `db/${file}` : `db/${file}, bytes ${range.start} to ${range.end}`;
    const kept = range === undefined ? bytes : bytes.subarray(range.start, range.end);
    if (kept.length > 0) await quarantine.keep(kept, from, reason);
  }
}

/** Takes all entries as they are; but a damaged version that is whole in the journal from there. */
async function copyInto(
  staging: string,
  files: LevelFiles,
  found: Survey,
  quarantine: QuarantineFolder,
): Promise<void> {
  const placeOf = (key: string, revision: number): string => `${revision} ${key}`;
  const damaged = new Set(found.damagedEntries.map(({ key = "", revision }) => placeOf(key, revision)));
  const whole = new Map<string, StoredRecord>();
  await using database = await DatabaseWriter.open(join(staging, "db"));
  for await (const { key, value } of files.entries()) {
    const space = spaceOf(key);
    // It is made anew.
    if (space === "filter") continue;
    let taken = value;
    if (space === "journal") {
      const block = decodeBlock(value, keyNumber(key));
      const isDamaged = block === undefined || block.records.some(({ damage }) => damage !== undefined);
      if (isDamaged) await quarantine.keep(value, key.toString("hex"), "a block of the journal is damaged");
      for (const record of block?.records ?? []) {
        const place = placeOf(record.key, record.revision);
        if (record.damage === undefined && damaged.has(place)) whole.set(place, record);
      }
    } else if (space === "value") {
      const record = decodeVersion(key, value);
      if (record.damage !== undefined) {
        await quarantine.keep(value, key.toString("hex"), `a record of ${JSON.stringify(record.key)} is damaged`);
        const other = whole.get(placeOf(record.key, record.revision));
        if (other !== undefined) taken = recordBytes(other);
      }
    }
    await database.put(key, taken);
  }
}

interface RebuildSources {
  readonly store: OfflineStore;
  readonly files: LevelFiles;
  readonly quarantine: QuarantineFolder;
  /** A revision that the store has been at. */
  readonly reached: number;
}

/** Puts all versions that there are in order, in a database of their own, and makes the store of the newest. */
async function rebuildInto(staging: string, sources: RebuildSources): Promise<Rebuilt> {
  const { files, quarantine, reached } = sources;
  const gathered = join(staging, "gathered");
  let highest = reached;
  {
    await using all = await DatabaseWriter.open(gathered);
    for await (const { key, value } of files.entries()) {
      const space = spaceOf(key);
      if (space === undefined) await quarantine.keep(value, key.toString("hex"), "an entry of nobody's");
      else if (space === "value") highest = Math.max(highest, await gatherVersion(all, key, value, quarantine));
      else if (space === "journal") highest = Math.max(highest, await gatherBlock(all, key, value, quarantine));
      else if (space !== "filter") highest = Math.max(highest, keyNumber(key));
    }
    highest = Math.max(highest, await gatherPieces(all, sources));
  }
  await using all = await DatabaseWriter.open(gathered);
  await using database = await DatabaseWriter.open(join(staging, "db"));
  const rebuilt = await rebuild(all, database, highest);
  for (const cell of ["floor", "watermark"] as const) {
    const numbers = cell === "floor" ? [rebuilt.revision] : [rebuilt.revision, 0];
    const { key, value } = putCell(numberedKey(cell, rebuilt.revision), numbers);
    await database.put(key, value);
  }
  await database[Symbol.asyncDispose]();
  await all[Symbol.asyncDispose]();
  await rm(gathered, { recursive: true });
  return rebuilt;
}

/** Records that are whole within a piece of a log that is not; but of its torn end nothing was acknowledged. */
async function gatherPieces(all: DatabaseWriter, { store, files }: RebuildSources): Promise<number> {
  let highest = 0;
  for (const { file, range, loss } of files.damages) {
    if (!file.endsWith(".log") || range === undefined || loss !== "entries") continue;
    const piece = (await store.files.read(file)).subarray(range.start, range.end);
    for (const record of salvageRecords(piece)) {
      if (record.damage === undefined) await all.put(valueKey(record.key, record.revision), recordBytes(record));
      highest = Math.max(highest, record.revision);
    }
  }
  return highest;
}

async function gatherVersion(
  all: DatabaseWriter,
  key: Buffer,
  value: Buffer,
  quarantine: QuarantineFolder,
): Promise<number> {
  const { damage } = decodeVersion(key, value);
  if (damage !== undefined) {
    await quarantine.keep(value, key.toString("hex"), "a record is damaged");
    // The journal came before, and may have it whole.
    if ((await all.get(key)) !== undefined) return 0;
  }
  await all.put(key, value);
  return parseValueKey(key)?.revision ?? 0;
}

async function gatherBlock(
  all: DatabaseWriter,
  key: Buffer,
  value: Buffer,
  quarantine: QuarantineFolder,
): Promise<number> {
  const first = keyNumber(key);
  const block = decodeBlock(value, first);
  const records = block?.records ?? salvageRecords(value);
  if (block === undefined || records.some(({ damage }) => damage !== undefined)) {
    await quarantine.keep(value, key.toString("hex"), "a block of the journal is damaged");
  }
  for (const record of records) {
    if (record.damage !== "head") await all.put(valueKey(record.key, record.revision), recordBytes(record));
  }
  return Math.max(first, block?.last ?? 0, ...records.slice(-1).map(({ revision }) => revision));
}
