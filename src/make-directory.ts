import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Makes the directory, and those above it, unless they are there; resolves to what it made, the directory first. Throws what the system says. Without mkdir's
 * `recursive`: below /proc the system says of a directory that cannot be made that one above it is missing, and that one is there; Node then tries
 * again for ever.
 */
export async function makeDirectory(path: string, mode = 0o777): Promise<string[]> {
  try {
    return (await makeOne(path, mode)) ? [path] : [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) throw error;
  }
  const above = await makeDirectory(dirname(path), mode);
  return (await makeOne(path, mode)) ? [path, ...above] : above;
}

/** False where it was there, or somebody else was faster. */
async function makeOne(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (error) {
    const isThere = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (isThere) return false;
    throw error;
  }
}
