/**
 * Copies a store to a file, and a store from one.
 *
 * 1. A backup is of one moment. Its file has its name when all of it is on disk and was verified, and replaces none.
 * 2. A store with damage that a server refuses is not copied as if it were whole: that is for a repair. Damaged values are copied as they are.
 * 3. A restored store was verified before it got its name.
 */
import { link, mkdir, open, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { makeDirectory } from "../make-directory.ts";
import { archivePieces, openArchive } from "./level-archive.ts";
import { cutOffline, type LiveCut } from "./level-cut.ts";
import { syncDirectory } from "./level-marker.ts";
import { withOfflineStore } from "./level-offline.ts";
import { stageStore } from "./level-staging.ts";
import type { VerifyReport } from "./store-report.ts";
import { contentOf, verifyStore } from "./level-verify.ts";
import { StoreError } from "./store.ts";

/** Writes a backup of a store that nobody has open. Throws StoreError LOCKED, DAMAGED, INVALID, UNAVAILABLE. */
export function backupStore(directory: string, file: string): Promise<VerifyReport> {
  return withOfflineStore(directory, async ({ marker, location }) => {
    if (typeof marker === "string") throw refused(directory, marker);
    if (marker.state === "creating") throw refused(directory, "its making was cut short, and nothing is in it");
    const files = await cutOffline(location, marker).catch((cause: unknown) => {
      throw cause instanceof StoreError ? cause : refused(directory, "files of its database are missing", cause);
    });
    return writeBackup(file, archivePieces(files));
  });
}

/** Brings the pieces to disk as a file of its name, read again and verified, or nothing. Throws StoreError INVALID where it is there, DAMAGED where a restore would refuse it. */
export async function writeBackup(file: string, pieces: AsyncIterable<Uint8Array>): Promise<VerifyReport> {
  const path = resolve(file);
  const draft = `${path}.unfinished`;
  await makeDirectory(dirname(path));
  const handle = await open(draft, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
    const what = `${file}.unfinished is there: another backup is under way, or was cut short; remove it then`;
    throw new StoreError("INVALID", what, { cause: error });
  });
  try {
    try {
      for await (const piece of pieces) await handle.writeFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const report = await verifyStore(draft);
    if (!report.opens) throw refused("it", report.refusals[0] ?? "");
    // Not renamed: that would replace what has the name.
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      throw new StoreError("INVALID", `${file} is there already`, { cause: error });
    });
    await syncDirectory(dirname(path));
    return report;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Makes a store of a backup. Throws StoreError DAMAGED where that is not whole, INVALID where the directory is taken. */
export async function restoreBackup(file: string, directory: string): Promise<VerifyReport> {
  let report: VerifyReport | undefined;
  await stageStore(directory, async (staging) => {
    await using archive = await openArchive(file).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === "EISDIR") throw new StoreError("INVALID", `${file} is a directory, and no backup`, { cause });
      if (cause.code !== "ENOENT") throw cause;
      throw new StoreError("INVALID", `there is no backup ${file}`, { cause });
    });
    report = await verifyStore(file);
    const { marker } = await contentOf(archive);
    if (!report.opens || typeof marker === "string") {
      throw new StoreError("DAMAGED", `the backup ${file} cannot be used: ${report.refusals[0]}`);
    }
    await mkdir(join(staging, "db"), { mode: 0o700 });
    for (const name of archive.names.filter((each) => each.startsWith("db/"))) {
      const handle = await open(join(staging, name), "wx", 0o600);
      try {
        for await (const piece of archive.pieces(name)) await handle.writeFile(piece);
      } finally {
        await handle.close();
      }
    }
    return marker;
  });
  return report!;
}

/** The pieces of a backup of a store that is open; disposing lets go of its files. */
export interface LiveBackup extends AsyncDisposable {
  readonly pieces: AsyncIterable<Buffer>;
}

export function liveBackup(cut: LiveCut): LiveBackup {
  return { pieces: archivePieces(cut.files), [Symbol.asyncDispose]: () => cut[Symbol.asyncDispose]() };
}

function refused(directory: string, what: string, cause?: unknown): StoreError {
  return new StoreError("DAMAGED", `no backup was made of the store in ${directory}: ${what}`, { cause });
}
