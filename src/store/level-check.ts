/**
 * Checks the files of a LevelDB database before LevelDB opens it. By itself it finds a table that was cut short when it first reads
 * it, one that has changed by its consequences, and a log that is missing never; what is missing from a log is for it the end of it.
 *
 * 1. Nothing is changed.
 * 2. What a power cut may leave is no damage: the end of the newest log, behind what was synced, may be anything.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { scanLog } from "./level-log.ts";
import { decodeManifest, type LevelManifest } from "./level-manifest.ts";
import { isPlausibleEntry } from "./level-plausible.ts";
import { checkTable } from "./level-table.ts";

export interface Damage {
  /** Which file, and what is wrong with it. */
  readonly message: string;
  /** Where only logs are damaged: the logs from the first damaged one on, and how much of that one is sound. */
  readonly logs?: { readonly names: readonly string[]; readonly soundBytes: number };
  /** Nothing but values has changed: those who read them will see, and nobody else. */
  readonly isOfValues?: true;
}

const tablesAtOnce = 8;
/** A record of a log is a batch: the sequence number of its first change(8) and their number(4), little-endian, and they. */
const recordHeadBytes = 12;

/** The first damage found, if there is any. Only a thorough check reads the tables, which takes a second or two a gigabyte. */
export async function findDamage(location: string, isThorough: boolean): Promise<Damage | undefined> {
  const current = await readFile(join(location, "CURRENT"), "latin1").catch(undefinedIfMissing);
  if (current === undefined) return { message: "CURRENT is missing" };
  const name = /^(MANIFEST-\d+)\n$/.exec(current)?.[1];
  if (name === undefined) return { message: "CURRENT names no manifest" };
  const bytes = await readFile(join(location, name)).catch(undefinedIfMissing);
  if (bytes === undefined) return { message: `${name} is missing` };
  const manifest = decodeManifest(bytes);
  if (manifest === undefined) return { message: `${name} is damaged` };
  const table = await findDamagedTable(location, manifest, isThorough);
  if (table !== undefined && !table.isOfValues) return table;
  return (await findDamagedLog(location, manifest)) ?? table;
}

/** Whether damage on disk is what a failure goes back to. */
export function isOfDamage(failure: unknown): boolean {
  for (let each = failure; each instanceof Error; each = each.cause) {
    const { code } = each as { code?: unknown };
    if (code === "DAMAGED" || code === "LEVEL_CORRUPTION") return true;
  }
  return false;
}

async function findDamagedTable(
  location: string,
  manifest: LevelManifest,
  isThorough: boolean,
): Promise<Damage | undefined> {
  const { lastSequence } = manifest;
  const tables = [...manifest.tables];
  const names = new Set(await readdir(location));
  let damaged: Damage | undefined;
  for (let i = 0; i < tables.length; i += tablesAtOnce) {
    const findings = await Promise.all(
      tables.slice(i, i + tablesAtOnce).map(async ([number, bytes]): Promise<Damage | undefined> => {
        // Of older releases of LevelDB.
        const name = [fileName(number, "ldb"), fileName(number, "sst")].find((each) => names.has(each));
        if (name === undefined) return { message: `${fileName(number, "ldb")} is missing` };
        const { size } = await stat(join(location, name));
        if (size !== bytes) return { message: `${name} has ${size} bytes instead of ${bytes}` };
        if (!isThorough) return undefined;
        const state = checkTable(await readFile(join(location, name)), { lastSequence, isPlausible: isPlausibleEntry });
        if (state === "damaged") return { message: `${name} is damaged` };
        return state === "values" ? { message: `${name} has damaged values`, isOfValues: true } : undefined;
      }),
    );
    const damages = findings.filter((each) => each !== undefined);
    const worse = damages.find(({ isOfValues }) => isOfValues === undefined);
    if (worse !== undefined) return worse;
    damaged ??= damages[0];
  }
  return damaged;
}

/**
 * Whether the logs that are not in tables yet are a chain: each record begins with the sequence number of its first
 * change, and the next goes on behind its last, also over the border of two logs.
 */
async function findDamagedLog(location: string, manifest: LevelManifest): Promise<Damage | undefined> {
  const { logNumber, lastSequence } = manifest;
  const all = (await readdir(location)).filter((name) => /^\d+\.log$/.test(name));
  const names = all.filter((name) => Number.parseInt(name, 10) >= logNumber).sort(byNumber);
  if (logNumber > 0 && names[0] !== fileName(logNumber, "log")) {
    return { message: `${fileName(logNumber, "log")} is missing` };
  }
  let next: number | undefined;
  for (const [i, name] of names.entries()) {
    let at = 0;
    let gapAt: number | undefined;
    const { hasHole, soundBytes } = scanLog(await readFile(join(location, name)), (record, end) => {
      const first = record.length < recordHeadBytes ? Number.NaN : Number(record.readBigUInt64LE(0));
      // LevelDB begins another log only behind one that has records: what the manifest says is of later than those before.
      const isGap = next === undefined ? i > 0 || !(first <= lastSequence + 1) : first !== next;
      if (isGap) gapAt ??= at;
      next = first + (record.length < recordHeadBytes ? 0 : record.readUInt32LE(8));
      at = end;
    });
    if (!hasHole && gapAt === undefined) continue;
    const what = hasHole && gapAt === undefined ? "has a hole" : "does not go on where what is before it ends";
    return { message: `${name} ${what}`, logs: { names: names.slice(i), soundBytes: gapAt ?? soundBytes } };
  }
  return undefined;
}

function byNumber(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10);
}

function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

function fileName(number: number, extension: string): string {
  return `${String(number).padStart(6, "0")}.${extension}`;
}
