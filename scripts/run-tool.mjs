import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The top of the repository. */
export const root = fileURLToPath(new URL("..", import.meta.url));

const bin = join(root, "node_modules", ".bin");

/**
 * Runs a tool of node_modules/.bin, never one of the network or the machine, and
 * resolves to its exit code and all that it printed.
 */
export function runTool(name, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(join(bin, name), args, {
      cwd: options.cwd ?? root,
      // buf finds its plugins on the PATH.
      env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}` },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.stderr.on("data", (chunk) => chunks.push(chunk));
    child.on("error", (error) => {
      reject(new Error(`${name} could not be run; is everything installed (npm ci)?`, { cause: error }));
    });
    child.on("close", (code) => resolve({ code: code ?? 1, output: Buffer.concat(chunks).toString("utf8").trimEnd() }));
  });
}
