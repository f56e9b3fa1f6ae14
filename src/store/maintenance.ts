/**
 * The tools for a store on disk and for its backup, which never open what they look at. docs/storage.md has what
 * each of them promises.
 */
import { isAbsolute, relative, sep } from "node:path";
import type { Clock } from "../clock.ts";
import { backupStore as backupLevelStore, restoreBackup as restoreLevelBackup, writeBackup } from "./level-backup.ts";
import { repairStore as repairLevelStore } from "./level-repair.ts";
import { verifyStore as verifyLevelStore } from "./level-verify.ts";
import type { RepairReport, VerifyReport } from "./store-report.ts";
import { StoreError } from "./store.ts";

/** Says what is wrong with a store that nobody has open, or with a backup. Throws StoreError LOCKED, INVALID, DAMAGED for a backup that is not whole, UNAVAILABLE. */
export function verifyStore(location: string): Promise<VerifyReport> {
  return toStoreErrors({ read: location }, () => verifyLevelStore(directoryOf(location)));
}

/** Copies a store that nobody has open to a file, which is read again and verified. Throws StoreError LOCKED, INVALID, DAMAGED, UNAVAILABLE. */
export function backupStore(location: string, file: string): Promise<VerifyReport> {
  return toStoreErrors({ read: location, written: file }, async () => backupLevelStore(outside(location, file), file));
}

/** The same of what a server has sent of its store. */
export function receiveBackup(pieces: AsyncIterable<Uint8Array>, file: string): Promise<VerifyReport> {
  return toStoreErrors({ read: file }, () => writeBackup(file, pieces));
}

/** Makes a store of a backup, in a directory that is empty or new. Throws StoreError INVALID, DAMAGED, UNAVAILABLE. */
export function restoreBackup(file: string, directory: string): Promise<VerifyReport> {
  return toStoreErrors({ read: file, written: directory }, () => restoreLevelBackup(file, directoryOf(directory)));
}

/** Makes a store of what can be read of a damaged one, in a directory that is empty or new. Throws StoreError LOCKED, INVALID, DAMAGED, UNAVAILABLE. */
export function repairStore(location: string, directory: string, clock: Clock): Promise<RepairReport> {
  return toStoreErrors({ read: location, written: directory }, async () => {
    const target = directoryOf(directory);
    return repairLevelStore(outside(location, target), target, clock);
  });
}

/** The directory of the store. Throws INVALID where what is to be made would lie in it: a server takes away what it does not know there. */
function outside(location: string, target: string): string {
  const directory = directoryOf(location);
  const path = relative(directory, target);
  if (path !== ".." && !path.startsWith(`..${sep}`) && !isAbsolute(path)) {
    throw new StoreError("INVALID", `${target} lies in the store that is read; name a place outside of it`);
  }
  return directory;
}

/** Both what openStore takes and a path alone. */
function directoryOf(location: string): string {
  return location.startsWith("level:") ? location.slice("level:".length) : location;
}

/** What the system or LevelDB says goes with the file that it is of; of a file that is open it does not say which. */
async function toStoreErrors<T>(
  { read, written = read }: { readonly read: string; readonly written?: string },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code, syscall, path, message } = cause as NodeJS.ErrnoException;
    // The code of what a server answers is a number.
    if (cause instanceof StoreError || typeof code !== "string") throw cause;
    if (code.startsWith("LEVEL_")) throw new StoreError("UNAVAILABLE", `${written}: ${message}`, { cause });
    if (syscall === undefined) throw cause;
    const where = path ?? (syscall === "read" ? read : written);
    throw new StoreError("UNAVAILABLE", `${where}: ${code} (${syscall})`, { cause });
  }
}
