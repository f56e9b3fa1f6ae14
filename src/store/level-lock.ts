/**
 * Keeps a store to one holder at a time: other processes out, and other openings in this one.
 *
 * Node has no locks on files; LevelDB takes one on a database that it opens, and the system lets go of it when the
 * process dies. So an empty database, `lock/`, stands for the whole directory: it is opened before anything else is looked at, as
 * the lock on the data's own database comes too late for whoever makes, checks or puts back that database's files.
 *
 * 1. Nothing of `lock/` is ever deleted: two could hold it at the same time then.
 * 2. What this process holds is not asked LevelDB for again: it opens and closes the file to say no, and by the rules of
 *    POSIX locks the closing lets go of the lock that the process has.
 */
import { mkdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { StoreError } from "./store.ts";

export interface DirectoryLock {
  /** The directory without symbolic links. */
  readonly path: string;
  release(): Promise<void>;
}

/** What this process holds, by device and inode: a directory may have many names. */
const held = new Set<string>();

/** Locks a directory, which must be there. Throws StoreError LOCKED at once if somebody holds it. */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const path = await realpath(directory);
  const location = join(path, "lock");
  await mkdir(location, { recursive: true, mode: 0o700 });
  const { dev, ino } = await stat(location);
  const identity = `${dev} ${ino}`;
  if (held.has(identity)) throw locked(directory, "this process");
  held.add(identity);
  try {
    const level = new Level(location, { writeBufferSize: 1 << 16 });
    await level.open();
    const release = async (): Promise<void> => {
      await level.close();
      held.delete(identity);
    };
    return { path, release };
  } catch (cause) {
    held.delete(identity);
    const inner = cause instanceof Error ? (cause.cause as { code?: string } | undefined) : undefined;
    if (inner?.code === "LEVEL_LOCKED") throw locked(directory, "another process", cause);
    // Its LOCK was had before anything of it was read: nobody has the store open.
    if (isDamage(cause)) throw lockDamaged(directory, cause);
    throw cause;
  }
}

function isDamage(cause: unknown): boolean {
  const inner = cause instanceof Error ? (cause.cause as { code?: string; message?: string } | undefined) : undefined;
  return inner?.code === "LEVEL_CORRUPTION" || /corruption|no such file|does not exist/i.test(inner?.message ?? "");
}

function lockDamaged(directory: string, cause: unknown): StoreError {
  const what = "its lock/ is damaged, in which nothing is kept: remove it while no server has the store open";
  return new StoreError("DAMAGED", `the store in ${directory} cannot be opened: ${what}`, { cause });
}

function locked(directory: string, holder: string, cause?: unknown): StoreError {
  return new StoreError("LOCKED", `${holder} has the store in ${directory} open`, { cause });
}
