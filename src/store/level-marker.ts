/** The marker, `stint-store.json`: says that a directory is a store's, of which format, and how far the store has come. */
import { existsSync } from "node:fs";
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";

export const storeFormat = 1;
export const markerName = "stint-store.json";
/** What a marker that is being written is called. */
export const markerDraftName = `${markerName}.new`;

export interface Marker {
  readonly format: number;
  readonly uuid: string;
  readonly createTime: string;
  /** "creating": no commit was ever made. */
  readonly state: "creating" | "ready";
  /** The store has been at this revision: it is damaged if it is not there any more. */
  readonly revision: number;
}

/** The marker of the directory; undefined where there is none, and in words what is wrong with one that cannot be used. */
export async function readMarker(directory: string): Promise<Marker | string | undefined> {
  const path = join(directory, markerName);
  if (!existsSync(path)) return undefined;
  return parseMarker(await readFile(path, "utf8"));
}

/** The marker in the text; in words what is wrong with one that cannot be used. */
export function parseMarker(text: string): Marker | string {
  let marker: Partial<Marker> | null;
  try {
    marker = JSON.parse(text) as Partial<Marker> | null;
  } catch {
    return `${markerName} is not JSON`;
  }
  if (marker?.format !== storeFormat) {
    return `${markerName} names format ${marker?.format}; this version reads format ${storeFormat}`;
  }
  const { uuid, createTime, state, revision = 0 } = marker;
  const wrong = Object.entries({
    uuid: typeof uuid === "string",
    createTime: typeof createTime === "string",
    state: state === "creating" || state === "ready",
    revision: Number.isSafeInteger(revision) && revision >= 0,
  }).flatMap(([name, isRight]) => (isRight ? [] : [name]));
  if (wrong.length > 0) return `${markerName} is damaged: ${wrong.join(" and ")}`;
  return { ...(marker as Marker), revision };
}

/** Whole or not at all, and on disk when this resolves. */
export async function writeMarker(directory: string, marker: Marker): Promise<void> {
  const draft = await open(join(directory, markerDraftName), "w", 0o600);
  try {
    await draft.writeFile(`${JSON.stringify(marker, undefined, 2)}\n`);
    await draft.sync();
  } finally {
    await draft.close();
  }
  await rename(join(directory, markerDraftName), join(directory, markerName));
  await syncDirectory(directory);
}

/** Brings to disk which files are in the directory: what is in them goes its own way. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
