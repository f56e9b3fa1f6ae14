/**
 * Reads the files of a LevelDB database without LevelDB, which changes what it opens, refuses all of it where a part is damaged, and
 * passes over what it cannot read. Here whatever can be read is, and what cannot is told.
 *
 * 1. Nothing is changed.
 * 2. Of a key the entry with the highest sequence number holds, wherever it lies, as in LevelDB.
 * 3. A manifest is followed only where it is whole and all that it names is there: else every table and log is read.
 * 4. One table, or a few that overlap, and the logs are in memory at one time.
 */
import { type LevelEntry, readTable } from "./level-salvage.ts";
import { salvageLog } from "./level-log.ts";
import { compareEntries, newestEntries, type SortedEntries } from "./level-merge.ts";
import { decodeManifest, type LevelManifest } from "./level-manifest.ts";
import { isPlausibleEntry } from "./level-plausible.ts";
import { decodeCell, keyNumber, spaceOf } from "./level-keys.ts";
import { checkTable } from "./level-table.ts";
import type { FileDamage } from "./store-report.ts";
import { decodeBatch } from "./level-batch.ts";

/** Where files are: a directory, or a backup. */
export interface FileSource {
  readonly names: readonly string[];
  read(name: string): Promise<Buffer>;
}

export interface LevelFiles {
  readonly damages: readonly FileDamage[];
  /** The files that make up the database. */
  readonly names: readonly string[];
  /** A manifest tells which files there must be: nothing is missing without being told. */
  readonly isFollowed: boolean;
  /** The highest watermark: what was committed later is in the journal alone. */
  readonly materialized: number;
  /** The entry of each key that has one, in order. */
  entries(): AsyncGenerator<{ readonly key: Buffer; readonly value: Buffer }>;
}

interface Reading {
  readonly source: FileSource;
  readonly manifest: LevelManifest | undefined;
  readonly damages: FileDamage[];
  readonly parts: SortedEntries[];
  materialized: number;
  /** The highest sequence number in a table. */
  lastInTables: number;
}

const sequenceMax = 2 ** 56;

/** Looks at all files of the database. Throws what `source` does. */
export async function readLevelFiles(source: FileSource): Promise<LevelFiles> {
  const files = await readFiles(source, false);
  // What is lost may be in a file that the manifest names no more, and that was not deleted yet.
  const isLost = files.damages.some(({ loss }) => loss === "entries");
  return isLost ? { ...(await readFiles(source, true)), damages: files.damages } : files;
}

async function readFiles(source: FileSource, readsAll: boolean): Promise<LevelFiles> {
  const damages: FileDamage[] = [];
  const found = await findManifest(source, damages);
  const logs = source.names.filter((name) => /^\d+\.log$/.test(name)).sort(byNumber);
  const tables = source.names.filter((name) => /^\d+\.(ldb|sst)$/.test(name)).sort(byNumber);
  const named = found && (await isOfThese(source, found.manifest, tables, logs)) ? found.manifest : undefined;
  if (found !== undefined && named === undefined) {
    damages.push({ file: found.name, reason: "is of other tables than these", loss: "none" });
  }
  const isFollowed = named !== undefined && namesWhatIsThere(named, tables, logs, damages) && !readsAll;
  const manifest = isFollowed ? named : undefined;
  const reading: Reading = { source, manifest, damages, parts: [], materialized: 0, lastInTables: 0 };
  const usedTables = tables.filter((name) => manifest === undefined || manifest.tables.has(numberOf(name)));
  const usedLogs = logs.filter((name) => numberOf(name) >= (manifest?.logNumber ?? 0));
  for (const name of usedTables) await addTable(reading, name, named);
  const read = await readLogs(reading, usedLogs);
  for (const log of manifest === undefined ? await withoutForeign(reading, read, usedTables) : read)
    addLog(reading, log);
  return {
    damages,
    names: ["CURRENT", ...(found === undefined ? [] : [found.name]), ...usedTables, ...usedLogs],
    isFollowed,
    materialized: reading.materialized,
    entries: () => newestEntries(reading.parts),
  };
}

/** The manifest that CURRENT names; without it the newest, if that can be read. */
async function findManifest(
  source: FileSource,
  damages: FileDamage[],
): Promise<{ name: string; manifest: LevelManifest } | undefined> {
  const manifests = source.names.filter((name) => /^MANIFEST-\d+$/.test(name)).sort(byNumber);
  const current = source.names.includes("CURRENT") ? (await source.read("CURRENT")).toString("latin1") : undefined;
  const named = /^(MANIFEST-\d+)\n$/.exec(current ?? "")?.[1];
  if (named === undefined) {
    const reason = current === undefined ? "is missing" : "names no manifest";
    damages.push({ file: "CURRENT", reason, loss: "none" });
  }
  const name = named ?? manifests.at(-1);
  if (name === undefined || !manifests.includes(name)) {
    damages.push({ file: name ?? "MANIFEST", reason: "is missing", loss: "none" });
    return undefined;
  }
  const manifest = decodeManifest(await source.read(name));
  if (manifest === undefined) damages.push({ file: name, reason: "is damaged", loss: "none" });
  return manifest && { name, manifest };
}

/** Whether a manifest is of the database that it lies with: it names what is there, the log or a table as it is. */
async function isOfThese(
  source: FileSource,
  { tables, ranges, logNumber }: LevelManifest,
  tableNames: readonly string[],
  logs: readonly string[],
): Promise<boolean> {
  if (tables.size === 0) return logNumber === 0 || logs.some((name) => numberOf(name) === logNumber);
  for (const name of tableNames) {
    const range = ranges.get(numberOf(name));
    if (range === undefined) continue;
    const bytes = await source.read(name);
    if (bytes.length !== tables.get(numberOf(name))) continue;
    const { entries } = readTable(bytes, { lastSequence: sequenceMax, isPlausible: isPlausibleEntry });
    if (entries.some(({ key }) => key.equals(range.first))) return true;
  }
  return logs.some((name) => numberOf(name) === logNumber);
}

/** Whether it is whole, and the tables and the log that it names are there; those that are not are damages. */
function namesWhatIsThere(
  { tables, logNumber, isTorn }: LevelManifest,
  tableNames: readonly string[],
  logs: readonly string[],
  damages: FileDamage[],
): boolean {
  const numbers = new Set(tableNames.map(numberOf));
  const missing = [...tables.keys()].filter((number) => !numbers.has(number)).map((number) => fileName(number, "ldb"));
  if (logNumber > 0 && !logs.some((name) => numberOf(name) === logNumber)) missing.push(fileName(logNumber, "log"));
  for (const file of missing) damages.push({ file, reason: "is missing", loss: "entries" });
  return missing.length === 0 && !isTorn;
}

async function addTable(reading: Reading, name: string, named: LevelManifest | undefined): Promise<void> {
  const { source, damages, parts } = reading;
  const number = numberOf(name);
  const checks = { lastSequence: named?.lastSequence ?? sequenceMax, isPlausible: isPlausibleEntry };
  const table = await source.read(name);
  const size = named?.tables.get(number) ?? table.length;
  const load = (bytes: Buffer): readonly LevelEntry[] => [...readTable(bytes, checks).entries].sort(compareEntries);
  const entries = load(table);
  const range = named?.ranges.get(number);
  const isElsewhere = entries.some(({ key }) => range && (key.compare(range.first) < 0 || key.compare(range.last) > 0));
  // What is lost of a table makes it shorter, and leaves no whole one.
  const isOther = table.length > size || (table.length < size && checkTable(table, checks) === "sound");
  if (isElsewhere || isOther) {
    damages.push({ file: name, reason: "is not the one that the manifest names", loss: "entries" });
    return;
  }
  if (table.length !== size) {
    damages.push({ file: name, reason: `has ${table.length} bytes instead of ${size}`, loss: "entries" });
  } else if (checkTable(table, checks) !== "sound") {
    const found = readTable(table, checks).damages;
    for (const { start, end, losesEntries } of found) {
      const reason = losesEntries ? "is damaged" : "has damaged values";
      damages.push({ file: name, reason, range: { start, end }, loss: losesEntries ? "entries" : "values" });
    }
    if (found.length === 0) damages.push({ file: name, reason: "is damaged beside its entries", loss: "none" });
  }
  noteWatermarks(reading, entries);
  for (const { sequence } of entries) reading.lastInTables = Math.max(reading.lastInTables, sequence);
  const [first] = entries;
  if (first !== undefined) parts.push({ first: first.key, load: async () => load(await source.read(name)) });
}

interface ReadLog {
  readonly name: string;
  readonly entries: LevelEntry[];
}

async function readLogs(reading: Reading, names: readonly string[]): Promise<ReadLog[]> {
  const { source, damages, manifest } = reading;
  const logs: ReadLog[] = [];
  /** The sequence number that goes on from what was read; undefined while nothing was. */
  let next: number | undefined;
  for (const name of names) {
    const entries: LevelEntry[] = [];
    const log = await source.read(name);
    for (const { record, start, end } of salvageLog(log)) {
      const range = { start, end };
      const batch = record && decodeBatch(record);
      if (batch === undefined) {
        const isTail = name === names.at(-1) && end === log.length && record === undefined;
        damages.push({
          file: name,
          reason: isTail ? "has a torn end" : "is damaged",
          range,
          loss: isTail ? "tail" : "entries",
        });
        continue;
      }
      const { first, count } = batch;
      // What the manifest's tables have is in none of its logs any more.
      if (manifest !== undefined && first <= reading.lastInTables) {
        damages.push({ file: name, reason: "is not of this database", loss: "entries" });
        entries.length = 0;
        break;
      }
      // As in level-check.ts: what the manifest says is of later than a log that another has followed.
      const begins = manifest === undefined || (name === names[0] && first <= manifest.lastSequence + 1);
      const goesOn = next === undefined ? begins : first === next;
      if (!goesOn) {
        const reason = "does not go on where what is before it ends";
        damages.push({ file: name, reason, range: { start, end: start }, loss: "entries" });
      }
      next = first + count;
      for (const entry of batch.entries) entries.push(entry);
    }
    logs.push({ name, entries });
  }
  return logs;
}

function addLog(reading: Reading, { entries }: ReadLog): void {
  noteWatermarks(reading, entries);
  entries.sort(compareEntries);
  const [first] = entries;
  if (first !== undefined) reading.parts.push({ first: first.key, load: async () => entries });
}

const comparedMax = 4_096;

/** Without a manifest to tell: those that give a sequence number to another key than a table does are of another database. */
async function withoutForeign(
  { source, damages }: Reading,
  logs: readonly ReadLog[],
  tableNames: readonly string[],
): Promise<ReadLog[]> {
  const compared = logs.map((log) => {
    const keys = new Map(log.entries.slice(0, comparedMax).map(({ sequence, key }) => [sequence, key]));
    return { log, keys, isForeign: false };
  });
  for (const name of tableNames) {
    const { entries } = readTable(await source.read(name), {
      lastSequence: sequenceMax,
      isPlausible: isPlausibleEntry,
    });
    for (const { sequence, key } of entries) {
      for (const each of compared) if (each.keys.get(sequence)?.equals(key) === false) each.isForeign = true;
    }
  }
  for (const { log, isForeign } of compared) {
    if (isForeign) damages.push({ file: log.name, reason: "is not of this database", loss: "entries" });
  }
  return compared.filter(({ isForeign }) => !isForeign).map(({ log }) => log);
}

function noteWatermarks(reading: Reading, entries: readonly LevelEntry[]): void {
  for (const { key, value } of entries) {
    if (spaceOf(key) !== "watermark" || value === undefined || decodeCell(key, value) === undefined) continue;
    reading.materialized = Math.max(reading.materialized, keyNumber(key));
  }
}

function byNumber(a: string, b: string): number {
  return numberOf(a) - numberOf(b);
}

function numberOf(name: string): number {
  return Number.parseInt(name.replace("MANIFEST-", ""), 10);
}

function fileName(number: number, extension: string): string {
  return `${String(number).padStart(6, "0")}.${extension}`;
}
