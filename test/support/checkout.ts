import { cp, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { makeScratchDirectory, type ScratchDirectory } from "./scratch-directory.ts";
import { repositoryRoot } from "./served-process.ts";

/** What a clone does not have. */
const notCloned = new Set([".git", "node_modules", "dist", "stint-data", "coverage"]);

/** The repository's files in a directory of the test's own, as after npm ci: nothing is built, nothing was served. */
export async function makeCheckout(): Promise<ScratchDirectory> {
  const scratch = await makeScratchDirectory();
  await cp(repositoryRoot, scratch.path, {
    recursive: true,
    filter: (source) => !notCloned.has(basename(source)),
  });
  await symlink(join(repositoryRoot, "node_modules"), join(scratch.path, "node_modules"), "dir");
  return scratch;
}
