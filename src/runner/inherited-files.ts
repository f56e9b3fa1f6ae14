/**
 * Keeps the server's open files from its commands.
 *
 * Node opens files so that no child inherits them, but LevelDB does not: a command would have the store's journal open for writing. There
 * is no call in Node to close them, so the child gets /dev/null in their place. macOS needs none of this: its spawn
 * closes everything.
 */
import { openSync, readdirSync, readFileSync } from "node:fs";

const closeOnExec = 0o2000000;
let nullFile: number | undefined;

/** Shells have the numbers below for their scripts. */
const markMin = 10;

/** The files of a child that is spawned at once: pipes as its input, output and errors, the mark if there is one, and nothing of ours. */
export function childFiles(mark?: number): Array<"pipe" | "ignore" | number> {
  const files: Array<"pipe" | "ignore" | number> = ["pipe", "pipe", "pipe"];
  for (const file of inheritableFiles()) {
    nullFile ??= openSync("/dev/null", "r+");
    // Above the first three, "ignore" leaves a number as it is.
    while (files.length < file) files.push("ignore");
    files[file] = nullFile;
  }
  if (mark === undefined) return files;
  while (files.length < markMin) files.push("ignore");
  files.push(mark);
  return files;
}

/** The files above the first three that a child would inherit, as far as the system tells, in order. */
export function inheritableFiles(directory = "/proc/self"): number[] {
  if (process.platform !== "linux") return [];
  const files = readdirSync(`${directory}/fd`).map(Number);
  return files.filter((file) => file > 2 && isInheritable(directory, file)).sort((a, b) => a - b);
}

function isInheritable(directory: string, file: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`${directory}/fdinfo/${file}`, "latin1"))?.[1];
    return flags !== undefined && (Number.parseInt(flags, 8) & closeOnExec) === 0;
  } catch {
    // It was closed meanwhile, as the one is by which the directory was read.
    return false;
  }
}
