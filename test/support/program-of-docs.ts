import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeScratchDirectory, type ScratchDirectory } from "./scratch-directory.ts";
import { repositoryRoot } from "./served-process.ts";

/** A program of somebody else's, which has this package as its dependency, and these files. It needs dist/ (npm run build). */
export async function makeProgram(files: Readonly<Record<string, string>>): Promise<ScratchDirectory> {
  const scratch = await makeScratchDirectory();
  await mkdir(join(scratch.path, "node_modules"));
  await symlink(repositoryRoot, join(scratch.path, "node_modules", "stint"), "dir");
  await writeFile(join(scratch.path, "package.json"), '{"type": "module"}');
  for (const [name, code] of Object.entries(files)) await writeFile(join(scratch.path, name), code);
  return scratch;
}

/** Writes a tsconfig.json with the compiler options that README sets a project up with, and nothing else but where the types of Node are. */
export async function addCompilerOptions(program: ScratchDirectory, files: readonly string[]): Promise<void> {
  const readme = await readFile(join(repositoryRoot, "README.md"), "utf8");
  const [, options = ""] = /`"compilerOptions": (\{.*\})`/.exec(readme) ?? [];
  const typeRoots = [join(repositoryRoot, "node_modules", "@types")];
  const compilerOptions = { ...(JSON.parse(options) as object), typeRoots, noEmit: true };
  await writeFile(join(program.path, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
}
