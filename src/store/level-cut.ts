/**
 * The files that a store is made of at one moment: those that LevelDB's manifest names, and its logs as long as they are then. Opened, they are what
 * a crash at that moment leaves, which loses nothing that was acknowledged.
 *
 * 1. Tables never change; a manifest and a log only grow. So a cut is a list of names and lengths, and links keep what would be deleted.
 */
import { randomUUID } from "node:crypto";
import { link, mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type ArchivedFile, filePieces } from "./level-archive.ts";
import { decodeManifest } from "./level-manifest.ts";
import { type Marker, markerName } from "./level-marker.ts";
import { StoreError } from "./store.ts";

/** Where links to the files of backups under way are. */
export const cutsName = "backups";

interface CutFile {
  readonly name: string;
  readonly length: number;
  /** Of files that grow: what they were. */
  readonly bytes?: Buffer;
}

/** The files of a store that is not being written, as they are archived. */
export async function cutOffline(location: string, marker: Marker): Promise<ArchivedFile[]> {
  const files = await listFiles(location, async () => {});
  return archivedFiles(marker, files, location);
}

export interface LiveCut extends AsyncDisposable {
  readonly files: readonly ArchivedFile[];
}

const triesMax = 100;

/** The same of a store that is open, and of which no batch is under way; LevelDB may be compacting. Disposing lets go of the files. */
export async function cutLive(directory: string, marker: Marker): Promise<LiveCut> {
  const location = join(directory, "db");
  for (let tries = 1; ; tries += 1) {
    const kept = join(directory, cutsName, randomUUID());
    await mkdir(kept, { recursive: true, mode: 0o700 });
    const dispose = (): Promise<void> => rm(kept, { recursive: true, force: true });
    try {
      const files = await listFiles(location, (name) => link(join(location, name), join(kept, name)));
      return { files: archivedFiles(marker, files, kept), [Symbol.asyncDispose]: dispose };
    } catch (error) {
      await dispose();
      // A compaction has deleted what the manifest still named.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || tries === triesMax) throw error;
    }
  }
}

const cutName = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Takes away what a process that died in the middle of backups has left, and nothing that somebody else has put there. */
export async function dropCuts(directory: string): Promise<void> {
  const cuts = join(directory, cutsName);
  const names = await readdir(cuts).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
    throw error;
  });
  for (const name of names) if (cutName.test(name)) await rm(join(cuts, name), { recursive: true, force: true });
}

/** `keep` is called for each file that would otherwise be deleted some time; throws ENOENT where one is gone already. */
async function listFiles(location: string, keep: (name: string) => Promise<void>): Promise<CutFile[]> {
  const current = await readFile(join(location, "CURRENT"));
  const manifestName = current.toString("latin1").trimEnd();
  const bytes = await readFile(join(location, manifestName));
  const manifest = decodeManifest(bytes);
  if (manifest === undefined) throw new StoreError("DAMAGED", `${manifestName} is damaged`);
  const names = await readdir(location);
  const numberOf = (name: string): number => Number.parseInt(name, 10);
  const tables = names.filter((name) => /\.(ldb|sst)$/.test(name) && manifest.tables.has(numberOf(name)));
  const logs = names.filter((name) => name.endsWith(".log") && numberOf(name) >= manifest.logNumber);
  const isGone = tables.length < manifest.tables.size || !logs.some((name) => numberOf(name) === manifest.logNumber);
  if (isGone && manifest.logNumber > 0) throw Object.assign(new Error("a file is gone"), { code: "ENOENT" });
  const kept: CutFile[] = [];
  for (const name of [...tables, ...logs]) {
    await keep(name);
    kept.push({ name, length: (await stat(join(location, name))).size });
  }
  return [
    { name: "CURRENT", length: current.length, bytes: current },
    { name: manifestName, length: bytes.length, bytes },
    ...kept,
  ];
}

function archivedFiles(marker: Marker, files: readonly CutFile[], location: string): ArchivedFile[] {
  const text = Buffer.from(`${JSON.stringify(marker, undefined, 2)}\n`);
  return [
    { name: markerName, length: text.length, pieces: () => onePiece(text) },
    ...files.map(({ name, length, bytes }) => ({
      name: `db/${name}`,
      length,
      pieces: () => (bytes === undefined ? filePieces(join(location, name), length) : onePiece(bytes)),
    })),
  ];
}

async function* onePiece(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
