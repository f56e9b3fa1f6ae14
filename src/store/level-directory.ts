/**
 * The directory of a LevelDB store: when one may be made, when one may be
 * opened, and what is kept of it in case the opening loses something.
 *
 * 1. A store is made only where there is nothing. What is there and cannot be opened is left as it is.
 * 2. LevelDB's recovery deletes the log files it has read, also those it dropped a part of: they are
 *    linked into `recovery/` before, and stay there if anything was dropped but a torn tail.
 * 3. A store whose opening found damage is refused until somebody has taken `recovery/` away.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { CreateLevelDatabase, LevelDatabase } from "./level-database.ts";
import { hasHole } from "./level-log.ts";
import { StoreError } from "./store.ts";

const format = 1;
const markerName = "stint-store.json";
const noteName = "DAMAGED";

/** state "creating": no commit was ever made. */
interface Marker {
  readonly format: number;
  readonly uuid: string;
  readonly createTime: string;
  readonly state: "creating" | "ready";
}

export interface OpenDirectoryOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly writeBufferBytes: number;
  readonly createDatabase: CreateLevelDatabase;
}

export interface OpenedDirectory {
  readonly db: LevelDatabase;
  /** Damage was found after all: keeps what is in `recovery/`, with a note that makes later openings refuse. */
  readonly keepRecovery: (reason: string) => Promise<void>;
  /** All is well: lets go of what was kept. */
  readonly dropRecovery: () => Promise<void>;
}

/** Opens the database in the directory, making one where there is nothing. Throws DAMAGED, LOCKED, UNAVAILABLE. */
export async function openDirectory(options: OpenDirectoryOptions): Promise<OpenedDirectory> {
  const { directory } = options;
  try {
    const creates = await prepare(options);
    return await openPrepared(options, creates);
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    throw new StoreError("UNAVAILABLE", `cannot open the store in ${directory}`, { cause });
  }
}

/** Checks the directory; makes the marker where there is nothing. True if the database is still to be made. */
async function prepare({ directory, clock }: OpenDirectoryOptions): Promise<boolean> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    if (error.code === "ENOTDIR") throw damaged(directory, "it is not a directory");
    throw error;
  });
  if (names.length === 0) {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const createTime = new Date(clock.wall()).toISOString();
    await writeMarker(directory, { format, uuid: randomUUID(), createTime, state: "creating" });
    return true;
  }
  const marker = await readMarker(directory, names);
  if (marker.state === "creating") {
    await rm(join(directory, "db"), { recursive: true, force: true });
    return true;
  }
  if (!existsSync(join(directory, "db", "CURRENT"))) {
    throw damaged(directory, "db/CURRENT is missing; restore the directory from a backup");
  }
  for (const attempt of await listRecovery(directory)) {
    const note = await readFile(join(directory, "recovery", attempt, noteName), "utf8").catch(() => undefined);
    if (note === undefined) continue;
    throw damaged(
      directory,
      `an opening found damage: ${note.trim()}. The log files from before are in recovery/${attempt}; ` +
        "restore a backup, or move recovery/ away to go on without what was lost",
    );
  }
  return false;
}

async function readMarker(directory: string, names: readonly string[]): Promise<Marker> {
  if (!names.includes(markerName)) throw damaged(directory, `it is not empty and has no ${markerName}`);
  const text = await readFile(join(directory, markerName), "utf8");
  let marker: Partial<Marker> | null;
  try {
    marker = JSON.parse(text) as Partial<Marker> | null;
  } catch (cause) {
    throw damaged(directory, `${markerName} is not JSON`, cause);
  }
  if (marker?.format !== format) {
    throw damaged(directory, `${markerName} names format ${marker?.format}; this version reads format ${format}`);
  }
  return marker as Marker;
}

async function openPrepared(options: OpenDirectoryOptions, creates: boolean): Promise<OpenedDirectory> {
  const { directory, createDatabase, writeBufferBytes } = options;
  const location = join(directory, "db");
  const before = await listRecovery(directory);
  const attempt = join(directory, "recovery", randomUUID());
  if (!creates) await keepLogs(location, attempt);
  const db = createDatabase(location, { writeBufferBytes });
  try {
    await db.open({ createIfMissing: creates });
  } catch (cause) {
    throw await openFailure(directory, attempt, cause);
  }
  const keepRecovery = async (reason: string): Promise<void> => {
    await mkdir(attempt, { recursive: true });
    await writeFile(join(attempt, noteName), `${reason}\n`);
  };
  const dropRecovery = async (): Promise<void> => {
    await rm(join(directory, "recovery"), { recursive: true, force: true });
  };
  try {
    if (creates) {
      await writeMarker(directory, { ...(await readMarker(directory, [markerName])), state: "ready" });
    } else {
      // An opening that was cut short has left its links, and maybe its findings in the log before this one's.
      const findings = await readFindings(location, before.length > 0 ? ["LOG", "LOG.old"] : ["LOG"]);
      const isTorn = findings.length > 0 && (await areOfTornTails(findings, join(directory, "recovery")));
      if (isTorn) options.log.warn({ findings }, "LevelDB dropped the torn tail of its log, as a power cut leaves it");
      else if (findings.length > 0) {
        const reason = findings.slice(0, 5).join("; ");
        await keepRecovery(reason);
        throw damaged(directory, `LevelDB dropped records: ${reason}`);
      }
    }
  } catch (error) {
    await db.close().catch(() => {});
    throw error;
  }
  return { db, keepRecovery, dropRecovery };
}

/** Links the log files, and LevelDB's own account of what it did, into the attempt's directory. */
async function keepLogs(location: string, attempt: string): Promise<void> {
  await mkdir(attempt, { recursive: true });
  for (const name of await readdir(location)) {
    if (name.endsWith(".log") || name === "LOG" || name === "LOG.old") {
      await link(join(location, name), join(attempt, name));
    }
  }
}

async function openFailure(directory: string, attempt: string, cause: unknown): Promise<StoreError> {
  const inner = cause instanceof Error ? (cause.cause as { code?: string; message?: string } | undefined) : undefined;
  const isLocked = inner?.code === "LEVEL_LOCKED";
  if (isLocked) {
    // LevelDB has renamed the other's LOG before it looked at the lock.
    for (const name of ["LOG", "LOG.old"]) {
      const kept = join(attempt, name);
      if (existsSync(kept)) await rename(kept, join(directory, "db", name));
      else await rm(join(directory, "db", name), { force: true });
    }
  }
  await rm(attempt, { recursive: true, force: true });
  if ((await listRecovery(directory)).length === 0)
    await rm(join(directory, "recovery"), { recursive: true, force: true });
  if (isLocked) return new StoreError("LOCKED", `another process has the store in ${directory} open`, { cause });
  if (inner?.code === "LEVEL_CORRUPTION" || /corruption|does not exist/i.test(inner?.message ?? "")) {
    return damaged(directory, inner?.message ?? "LevelDB cannot read it", cause);
  }
  return new StoreError("UNAVAILABLE", `cannot open the store in ${directory}`, { cause });
}

/** The lines in which LevelDB says that it lost something. */
async function readFindings(location: string, names: readonly string[]): Promise<string[]> {
  const lines: string[] = [];
  for (const name of names) {
    const text = await readFile(join(location, name), "utf8").catch(() => "");
    lines.push(...text.split("\n").filter((line) => /\bdropping\b|Corruption/.test(line)));
  }
  return lines;
}

/** Whether what was dropped were the ends of log files only, behind which nothing is. */
async function areOfTornTails(findings: readonly string[], recovery: string): Promise<boolean> {
  if (!findings.every((line) => /\.log: dropping \d/.test(line))) return false;
  for (const name of await readdir(recovery, { recursive: true })) {
    if (name.endsWith(".log") && hasHole(await readFile(join(recovery, name)))) return false;
  }
  return true;
}

function listRecovery(directory: string): Promise<string[]> {
  return readdir(join(directory, "recovery")).catch(() => []);
}

/** Whole or not at all, and on disk when this resolves. */
async function writeMarker(directory: string, marker: Marker): Promise<void> {
  const path = join(directory, markerName);
  const draft = await open(`${path}.new`, "w", 0o600);
  try {
    await draft.writeFile(`${JSON.stringify(marker, undefined, 2)}\n`);
    await draft.sync();
  } finally {
    await draft.close();
  }
  await rename(`${path}.new`, path);
  for (const changed of [directory, dirname(directory)]) {
    const handle = await open(changed, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

function damaged(directory: string, what: string, cause?: unknown): StoreError {
  return new StoreError("DAMAGED", `the store in ${directory} cannot be opened: ${what}`, { cause });
}
