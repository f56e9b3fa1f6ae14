/**
 * Makes a store in a directory of its own, which gets its name when all of it is there, and its marker after that.
 *
 * States: not there -> `DIR.unfinished` -> DIR without a marker -> DIR with it.
 *
 * 1. What is cut short has no marker, and its name: nobody opens it, and nobody makes a store in it (level-directory.ts).
 * 2. What is there is never replaced: DIR is not there, or an empty directory.
 */
import { lstat, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { makeDirectory } from "../make-directory.ts";
import { type Marker, syncDirectory, writeMarker } from "./level-marker.ts";
import { StoreError } from "./store.ts";

const stagingSuffix = ".unfinished";

/** Whether a restore or a repair has left the directory, cut short. */
export function isStaging(directory: string): boolean {
  return resolve(directory).endsWith(stagingSuffix);
}

/** `fill` makes all but the marker, which it resolves to. Throws StoreError INVALID where the place is taken, and what `fill` does. */
export async function stageStore(target: string, fill: (directory: string) => Promise<Marker>): Promise<void> {
  const directory = resolve(target);
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw new StoreError("INVALID", `${target} is no directory (${error.code})`, { cause: error });
  });
  if (names.length > 0)
    throw new StoreError("INVALID", `${target} is not empty; name a directory that is empty or new`);
  await refuseMount(directory, target);
  const staging = directory + stagingSuffix;
  await makeDirectory(dirname(directory));
  await mkdir(staging, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
    const what = `${target}.unfinished is there: another one is under way, or was cut short; remove it then`;
    throw new StoreError("INVALID", what, { cause: error });
  });
  try {
    const marker = await fill(staging);
    await syncTree(staging);
    await rename(staging, directory);
    await syncDirectory(dirname(directory));
    await writeMarker(directory, marker);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw error;
  }
}

/** What is made beside it could not take its place. */
async function refuseMount(directory: string, target: string): Promise<void> {
  const found = await lstat(directory).catch(() => undefined);
  const isLink = found?.isSymbolicLink() === true;
  const isMount = found !== undefined && found.dev !== (await stat(dirname(directory))).dev;
  if (!isLink && !isMount) return;
  throw new StoreError("INVALID", `${target} is ${isLink ? "a link" : "a mount point"}; name a new directory in it`);
}

/** Brings all files to disk, and which there are. */
async function syncTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else {
      const handle = await open(path, "r");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
  }
  await syncDirectory(directory);
}
