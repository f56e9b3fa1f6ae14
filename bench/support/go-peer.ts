/** Peers in Go: each a module of its own in bench/peers, built when it is asked for. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type AskedProcess, startProgram } from "./processes.ts";

/** Builds bench/peers/NAME into `directory` and starts it, or says why it cannot be. */
export function startGoPeer(name: string, directory: string): AskedProcess | string {
  const program = join(directory, name);
  const cwd = fileURLToPath(new URL(`../peers/${name}`, import.meta.url));
  const { status, stderr } = spawnSync("go", ["build", "-buildvcs=false", "-o", program, "."], {
    cwd,
    encoding: "utf8",
  });
  if (status === 0) return startProgram(program);
  return status === null ? "no go on the PATH (https://go.dev/dl)" : `it cannot be built: ${stderr.trim()}`;
}
