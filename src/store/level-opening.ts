/**
 * Keeps the files of a LevelDB database while it is opened, and puts them back where the opening is refused or cut
 * short. LevelDB's recovery deletes log files when it has read them, also those it dropped a part of, so a look at what it made
 * of them comes too late. It changes no file that is there, though: hard links to all of them are a copy.
 *
 * States of `recovery/`: not there -> `db.new` (being made) -> `db` (whole) -> `done` (being deleted) -> not there.
 *
 * 1. While `recovery/db` is there nothing was written to the database but by its opening.
 * 2. Each step is on disk before the next begins: an old copy that came back would undo what was committed since.
 */
import { existsSync } from "node:fs";
import { link, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory } from "./level-marker.ts";

/** Copies the files, before the opening. */
export async function keepFiles(directory: string): Promise<void> {
  const recovery = join(directory, "recovery");
  await rm(recovery, { recursive: true, force: true });
  await mkdir(join(recovery, "db.new"), { recursive: true, mode: 0o700 });
  for (const name of await readdir(join(directory, "db"))) {
    await link(join(directory, "db", name), join(recovery, "db.new", name));
  }
  await syncDirectory(join(recovery, "db.new"));
  await rename(join(recovery, "db.new"), join(recovery, "db"));
  await syncDirectory(recovery);
  await syncDirectory(directory);
}

/** Undoes an opening that was refused, or that a crash cut short; nobody has the database open. */
export async function putFilesBack(directory: string): Promise<void> {
  const recovery = join(directory, "recovery");
  const kept = join(recovery, "db");
  if (!existsSync(kept)) return;
  const opened = join(directory, "db");
  await rm(join(recovery, "done"), { recursive: true, force: true });
  if (existsSync(opened)) await rename(opened, join(recovery, "done"));
  await rename(kept, opened);
  await syncDirectory(directory);
  await syncDirectory(recovery);
  await rm(recovery, { recursive: true, force: true });
}

/** The database turned out to be open elsewhere: undoes only what LevelDB does before it looks at its lock, which is to begin a new LOG. */
export async function putLogBack(directory: string): Promise<void> {
  for (const name of ["LOG", "LOG.old"]) {
    const kept = join(directory, "recovery", "db", name);
    if (existsSync(kept)) await rename(kept, join(directory, "db", name));
    else await rm(join(directory, "db", name), { force: true });
  }
  await rm(join(directory, "recovery"), { recursive: true, force: true });
}

/** The opening is good, and what it made is on disk: lets go of the copy. */
export async function dropFiles(directory: string): Promise<void> {
  const recovery = join(directory, "recovery");
  await syncDirectory(join(directory, "db"));
  await rename(join(recovery, "db"), join(recovery, "done"));
  await syncDirectory(recovery);
  await rm(recovery, { recursive: true, force: true });
}
