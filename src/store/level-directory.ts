/**
 * The directory of a LevelDB store: when one may be made, when one may be opened, and what an opening that is refused
 * leaves behind: nothing.
 *
 * 1. A store is made only where there is nothing.
 * 2. What is damaged, foreign or of another format is refused, and left as it is.
 * 3. All that changes anything happens under the lock (level-lock.ts).
 */
import { randomUUID } from "node:crypto";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import { makeDirectory } from "../make-directory.ts";
import type { CreateLevelDatabase, LevelDatabase } from "./level-database.ts";
import { type Damage, findDamage } from "./level-check.ts";
import { dropCuts } from "./level-cut.ts";
import { type DirectoryLock, lockDirectory } from "./level-lock.ts";
import {
  type Marker,
  markerDraftName,
  markerName,
  readMarker,
  storeFormat,
  syncDirectory,
  writeMarker,
} from "./level-marker.ts";
import { dropFiles, keepFiles, putFilesBack, putLogBack } from "./level-opening.ts";
import { isStaging } from "./level-staging.ts";
import { StoreError } from "./store.ts";

export interface OpenDirectoryOptions {
  /** Locked. */
  readonly directory: string;
  /** Make a store where there is none. */
  readonly makes: boolean;
  /** Read all that is there for damage. */
  readonly isThorough: boolean;
  readonly durability: "sync" | "async";
  readonly clock: Clock;
  readonly log: Log;
  readonly faults: Faults;
  readonly writeBufferBytes: number;
  readonly createDatabase: CreateLevelDatabase;
}

/** An opened database that is still to be looked at: `accept` or `refuse` it. */
export interface OpenedDirectory {
  readonly db: LevelDatabase;
  /** The store has been at this revision: if it is not any more, it has lost something. */
  readonly leastRevision: number;
  /** All is well. */
  accept(): Promise<void>;
  /** Something is not: closes the database, and undoes what its opening did. Never rejects, as it is told why. */
  refuse(): Promise<void>;
  /** The store is at this revision for good. */
  remember(revision: number): Promise<void>;
  /** The marker that a copy of the store has that is at this revision. */
  markerAt(revision: number): Marker;
}

/** What may lie beside a store, or where one is to be made. */
const ownNames: ReadonlySet<string> = new Set(["lock", markerDraftName]);

/** Locks the directory, making it if it is not there. Throws StoreError DAMAGED where it is somebody else's, LOCKED, UNAVAILABLE. */
export async function enterDirectory(directory: string): Promise<DirectoryLock> {
  return orUnavailable(directory, async () => {
    await checkOwner(directory);
    // A file is no safer than the way to it: that the directory is there is brought to disk, too.
    for (const path of await makeDirectory(resolve(directory), 0o700)) await syncDirectory(dirname(path));
    return lockDirectory(directory);
  });
}

/** Opens the database in the directory. Throws StoreError DAMAGED, LOCKED, UNAVAILABLE. */
export async function openDirectory(options: OpenDirectoryOptions): Promise<OpenedDirectory> {
  const { directory } = options;
  return orUnavailable(directory, async () => {
    const marker = (await checkOwner(directory)) ?? (await beginStore(options));
    return marker.state === "creating" ? makeStore(options, marker) : openStore(options, marker);
  });
}

async function orUnavailable<T>(directory: string, enter: () => Promise<T>): Promise<T> {
  try {
    return await enter();
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    const { code, syscall } = cause as NodeJS.ErrnoException;
    const why = code === undefined || syscall === undefined ? "" : `: ${code} (${syscall})`;
    throw new StoreError("UNAVAILABLE", `cannot open the store in ${directory}${why}`, { cause });
  }
}

/** The store's marker; undefined where there is nothing at all. Throws DAMAGED where there is something else. */
async function checkOwner(directory: string): Promise<Marker | undefined> {
  const names = await readdir(directory).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [] as string[];
    if (error.code !== "ENOTDIR") throw error;
    const isThere = await stat(directory).then(
      () => true,
      () => false,
    );
    if (isThere) throw damaged(directory, "it is not a directory");
    throw new StoreError("UNAVAILABLE", `${directory} cannot be made: what it would be in is not a directory`, {
      cause: error,
    });
  });
  const marker = names.includes(markerName) ? await readMarker(directory) : undefined;
  if (typeof marker === "string") throw damaged(directory, marker);
  if (marker === undefined && !names.every((name) => ownNames.has(name))) {
    throw damaged(directory, `it is not empty and has no ${markerName}; name a directory that is empty or new`);
  }
  if (marker === undefined && isStaging(directory)) {
    throw damaged(directory, "such a name is what a restore or a repair has left that was cut short; name another");
  }
  return marker;
}

async function beginStore({ directory, makes, clock }: OpenDirectoryOptions): Promise<Marker> {
  if (!makes) throw damaged(directory, "it is not there any more");
  const createTime = new Date(clock.wall()).toISOString();
  const marker: Marker = { format: storeFormat, uuid: randomUUID(), createTime, state: "creating", revision: 0 };
  await writeMarker(directory, marker);
  return marker;
}

/** Makes the database: anew, where that was cut short. */
async function makeStore(options: OpenDirectoryOptions, marker: Marker): Promise<OpenedDirectory> {
  const { directory, createDatabase, writeBufferBytes } = options;
  const location = join(directory, "db");
  await rm(location, { recursive: true, force: true });
  const db = createDatabase(location, { writeBufferBytes });
  await db.open({ createIfMissing: true });
  const ready: Marker = { ...marker, state: "ready" };
  return {
    db,
    leastRevision: 0,
    async accept() {
      await syncDirectory(location);
      await writeMarker(directory, ready);
    },
    refuse: () => orLog(options, db.close()),
    remember: (revision) => writeMarker(directory, { ...ready, revision }),
    markerAt: (revision) => ({ ...ready, revision }),
  };
}

async function openStore(options: OpenDirectoryOptions, marker: Marker): Promise<OpenedDirectory> {
  const { directory, createDatabase, writeBufferBytes } = options;
  const location = join(directory, "db");
  await putFilesBack(directory);
  // A reopening leaves those that are being read.
  if (options.makes) await dropCuts(directory);
  const damage = await findDamage(location, options.isThorough);
  const cuts = options.durability === "async" ? damage?.logs : undefined;
  if (damage?.isOfValues) {
    const message = "stored bytes are damaged; what they belong to cannot be read";
    options.faults.note("files_damaged", { file: damage.message }, message);
  } else if (damage !== undefined && cuts === undefined) {
    throw damaged(directory, `db/${damage.message}; restore the directory from a backup`);
  }
  await keepFiles(directory);
  if (cuts !== undefined) await cutLogs(options, cuts);
  const db = createDatabase(location, { writeBufferBytes });
  try {
    await db.open({ createIfMissing: false });
  } catch (cause) {
    const failure = openFailure(directory, cause);
    await (failure.code === "LOCKED" ? putLogBack(directory) : putFilesBack(directory));
    throw failure;
  }
  // If it cannot be closed its files stay as they are, and the next opening puts them back.
  const refuse = (): Promise<void> =>
    orLog(
      options,
      db.close().then(() => putFilesBack(directory)),
    );
  try {
    await readFindings(options);
  } catch (error) {
    await refuse();
    throw error;
  }
  return {
    db,
    leastRevision: marker.revision,
    accept: () => dropFiles(directory),
    refuse,
    async remember(revision) {
      if (revision > marker.revision) await writeMarker(directory, { ...marker, revision });
    },
    markerAt: (revision) => ({ ...marker, revision: Math.max(revision, marker.revision) }),
  };
}

async function orLog({ log, directory }: OpenDirectoryOptions, undoing: Promise<void>): Promise<void> {
  await undoing.catch((error: unknown) =>
    log.error({ err: error, directory }, "an opening that was refused could not be undone"),
  );
}

/**
 * Without syncing, a power cut may leave holes among what was written last. What is before them is what the store was at some
 * moment, and it goes on from there.
 */
async function cutLogs({ directory, faults }: OpenDirectoryOptions, logs: NonNullable<Damage["logs"]>): Promise<void> {
  for (const [i, name] of logs.names.entries()) {
    const path = join(directory, "db", name);
    const sound = (await readFile(path)).subarray(0, i === 0 ? logs.soundBytes : 0);
    // A file of its own: the old one is what is kept.
    await rm(path);
    await writeFile(path, sound, { flush: true });
  }
  const message = "what a power cut left of the last commits, which were not synced, was cut off";
  faults.note("log_tails_cut", { logs }, message);
}

/** Looks at LevelDB's own account of the opening. Throws DAMAGED where it lost more than the torn tail of a log. */
async function readFindings({ directory, faults }: OpenDirectoryOptions): Promise<void> {
  const text = await readFile(join(directory, "db", "LOG"), "utf8").catch(() => "");
  const findings = text.split("\n").filter((line) => /\bdropping\b|Corruption/.test(line));
  if (findings.length === 0) return;
  // The logs have no hole: what is dropped of one is its end.
  if (findings.every((line) => /\.log: dropping \d/.test(line))) {
    faults.note("log_tails_cut", { findings }, "LevelDB dropped the torn tail of its log, as a power cut leaves it");
  } else throw damaged(directory, `LevelDB found damage: ${findings.slice(0, 5).join("; ")}`);
}

function openFailure(directory: string, cause: unknown): StoreError {
  const inner = cause instanceof Error ? (cause.cause as { code?: string; message?: string } | undefined) : undefined;
  if (inner?.code === "LEVEL_LOCKED") {
    return new StoreError("LOCKED", `another process has the database in ${directory} open`, { cause });
  }
  if (inner?.code === "LEVEL_CORRUPTION" || /corruption|does not exist/i.test(inner?.message ?? "")) {
    return damaged(directory, `${inner?.message}; restore the directory from a backup`, cause);
  }
  return new StoreError("UNAVAILABLE", `cannot open the store in ${directory}`, { cause });
}

function damaged(directory: string, what: string, cause?: unknown): StoreError {
  return new StoreError("DAMAGED", `the store in ${directory} cannot be opened: ${what}`, { cause });
}
