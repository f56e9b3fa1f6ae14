/** Says what is wrong with a store, or a backup of one, and changes nothing. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Archive, openArchive } from "./level-archive.ts";
import { type FileSource, readLevelFiles } from "./level-files.ts";
import { type Marker, markerName, parseMarker } from "./level-marker.ts";
import { withOfflineStore } from "./level-offline.ts";
import { survey } from "./level-survey.ts";
import type { VerifyReport } from "./store-report.ts";

/** Verifies the store in a directory that nobody has open, or a backup's file. Throws StoreError LOCKED, INVALID, DAMAGED, UNAVAILABLE. */
export async function verifyStore(path: string): Promise<VerifyReport> {
  const isFile = await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
  if (!isFile) {
    return withOfflineStore(path, ({ marker, files, remarks }) => verifyFiles("store", { marker, files, remarks }));
  }
  await using archive = await openArchive(path);
  // Awaited here, while the file is open.
  return await verifyFiles("backup", { ...(await contentOf(archive)), remarks: [] });
}

/** Verifies a database that nobody else knows of, as one that has this marker. */
export async function verifyDirectory(location: string, marker: Marker): Promise<VerifyReport> {
  const names = await readdir(location);
  const files = { names, read: (name: string) => readFile(join(location, name)) };
  return verifyFiles("store", { marker, files, remarks: [] });
}

/** What is in a backup. */
export async function contentOf(archive: Archive): Promise<{ marker: Marker | string; files: FileSource }> {
  const prefix = "db/";
  const names = archive.names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  const marker = archive.names.includes(markerName)
    ? parseMarker((await archive.read(markerName)).toString("utf8"))
    : `${markerName} is missing`;
  return { marker, files: { names, read: (name) => archive.read(prefix + name) } };
}

interface Verified {
  readonly marker: Marker | string;
  readonly files: FileSource;
  readonly remarks: readonly string[];
}

async function verifyFiles(kind: VerifyReport["kind"], { marker, files, remarks }: Verified): Promise<VerifyReport> {
  const isEmpty = typeof marker !== "string" && marker.state === "creating";
  const read = isEmpty ? nothing : await readLevelFiles(files);
  const found = await survey(read);
  const refusals = [...remarks, ...(typeof marker === "string" ? [marker] : behind(marker, found.revision))];
  for (const { file, reason, loss } of read.damages) {
    if (loss === "entries" || loss === "none") refusals.push(`db/${file} ${reason}`);
  }
  refusals.push(...found.refusals);
  const opens = refusals.length === 0;
  const damagedFiles = read.damages.filter(({ loss }) => loss !== "tail");
  return {
    kind,
    isSound: opens && damagedFiles.length + found.damagedEntryCount + found.damagedTasks.length === 0,
    opens,
    uuid: typeof marker === "string" ? undefined : marker.uuid,
    ...found,
    files: read.names.length,
    damagedFiles,
    refusals,
  };
}

/** A store whose making was cut short. */
const nothing = {
  damages: [],
  names: [],
  isFollowed: true,
  materialized: 0,
  async *entries() {},
};

function behind(marker: Marker, revision: number): string[] {
  if (revision >= marker.revision) return [];
  return [`it is at revision ${revision}, and has been at ${marker.revision}: commits that were acknowledged are lost`];
}
