import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { repositoryRoot } from "./served-process.ts";

/** The fenced blocks of a page in this language, in order. The page is named from the top of the repository. */
export async function readBlocks(page: string, language: string): Promise<string[]> {
  const text = await readFile(join(repositoryRoot, page), "utf8");
  const blocks = text.matchAll(/^```(\w*)\n([^]*?)^```$/gm);
  return [...blocks].filter(([, of]) => of === language).map(([, , block = ""]) => block);
}
