/**
 * A store that nobody has open, to be read and not to be opened: for the tools that look at it and copy it.
 *
 * 1. Nothing of it is changed, but for what taking the lock does in `lock/`, in which nothing is kept.
 */
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { FileSource } from "./level-files.ts";
import { lockDirectory } from "./level-lock.ts";
import { type Marker, markerName, readMarker } from "./level-marker.ts";
import { StoreError } from "./store.ts";

export interface OfflineStore {
  readonly directory: string;
  /** The marker; in words what is wrong with one that cannot be used, or that there is none. */
  readonly marker: Marker | string;
  /** Where its database is: an opening that was cut short has left it aside. */
  readonly location: string;
  readonly files: FileSource;
  /** What is wrong with the directory beside marker and database. */
  readonly remarks: readonly string[];
}

/** Runs `use` while nobody else can have the store open. Throws StoreError LOCKED, INVALID where there is none, UNAVAILABLE. */
export async function withOfflineStore<T>(directory: string, use: (store: OfflineStore) => Promise<T>): Promise<T> {
  const isDirectory = await stat(directory).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isDirectory) throw new StoreError("INVALID", `there is no store in ${directory}: it is no directory`);
  const names = await readdir(directory);
  if (!names.includes(markerName) && !names.includes("db")) {
    throw new StoreError("INVALID", `there is no store in ${directory}: it has neither ${markerName} nor db`);
  }
  const lock = await lockToRead(directory);
  try {
    const marker = (await readMarker(directory)) ?? `${markerName} is missing`;
    const kept = join(directory, "recovery", "db");
    const location = existsSync(kept) ? kept : join(directory, "db");
    const found = await readdir(location).catch(() => [] as string[]);
    const files = { names: found, read: (name: string) => readFile(join(location, name)) };
    const used = await use({ directory, marker, location, files, remarks: lock.remarks });
    if (lock.release === undefined && !lock.isFree && existsSync(join(directory, "lock"))) {
      throw new StoreError("LOCKED", `the store in ${directory} was opened while it was read`);
    }
    return used;
  } finally {
    await lock.release?.();
  }
}

interface LockToRead {
  readonly release?: () => Promise<void>;
  /** Nobody can have it open, locked or not. */
  readonly isFree: boolean;
  readonly remarks: readonly string[];
}

async function lockToRead(directory: string): Promise<LockToRead> {
  // A store that was never opened where it lies, such as one that was restored, has none.
  if (!existsSync(join(directory, "lock"))) return { isFree: false, remarks: [] };
  try {
    const lock = await lockDirectory(directory);
    return { release: () => lock.release(), isFree: true, remarks: [] };
  } catch (error) {
    if (error instanceof StoreError && error.code === "DAMAGED") {
      return { isFree: true, remarks: ["lock/ is damaged; nothing is kept in it: remove it"] };
    }
    // What nobody can write nobody has open.
    if (isReadOnly(error)) return { isFree: true, remarks: [] };
    if (error instanceof StoreError) throw error;
    throw new StoreError("UNAVAILABLE", `cannot lock the store in ${directory}: ${reasonOf(error)}`, { cause: error });
  }
}

/** What the error goes back to. */
function reasonOf(error: unknown): string {
  let first = error;
  while (first instanceof Error && first.cause !== undefined) first = first.cause;
  return first instanceof Error ? first.message : String(first);
}

function isReadOnly(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (/read-only file system|EROFS/i.test(each.message)) return true;
  }
  return false;
}
