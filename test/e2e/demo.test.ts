/** `npm run demo`, from the outside. Needs dist/ (npm run build). */
import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
/** A third of node_modules, which .ci/run has the demo hash whole: some large files, many small ones. */
const path = join(root, "node_modules", "@bufbuild");

interface Demo {
  readonly output: string;
  readonly exitCode: number | null;
  /** What it left in the system's temporary directory. */
  readonly files: string[];
  /** The servers that it started and that are still there. */
  readonly servers: number[];
}

/** Runs the demo to its end; `interruptAt`: sends it SIGINT when it has printed that. */
async function runDemo(hashed: string, interruptAt?: string): Promise<Demo> {
  await using scratch = await makeScratchDirectory();
  const demo = spawn(process.execPath, [join(root, "scripts/demo.mjs"), hashed], {
    env: { ...process.env, TMPDIR: scratch.path },
  });
  let output = "";
  const read = (chunk: Buffer): void => {
    output += chunk.toString();
    if (interruptAt !== undefined && output.includes(interruptAt)) demo.kill("SIGINT");
  };
  demo.stdout.on("data", read);
  demo.stderr.on("data", read);
  const exitCode = await new Promise<number | null>((resolve) => demo.once("close", resolve));
  const started = [...output.matchAll(/\(process (\d+)\)/g)].map(([, pid]) => Number(pid));
  return { output, exitCode, files: await readdir(scratch.path), servers: started.filter(isAlive) };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe("npm run demo", { timeout: 120_000 }, () => {
  test("kills the server half way, and the task completes in its second attempt", async () => {
    const { output, exitCode, files, servers } = await runDemo(path);
    expect(output).toMatch(/Half way, at [5-9]\d%: the server \(process \d+\) is killed with SIGKILL/);
    expect(output).toMatch(/Lost the connection[^]*started again[^]*Connected again/);
    expect(output).toMatch(/Completed .*\(100%\).* result \{"files":\d{3,},"bytes":\d+,"digest":"[\da-f]{128}"\}/);
    expect(output).toContain("Completed, in attempt 2.");
    expect({ exitCode, files, servers }).toEqual({ exitCode: 0, files: [], servers: [] });
  });

  test.each([
    ["before the kill", "checksum/demo Running"],
    ["while the server starts again", "Half way"],
  ])("leaves nothing behind when it is interrupted %s", async (_when, interruptAt) => {
    const { output, exitCode, files, servers } = await runDemo(path, interruptAt);
    expect(output).toMatch(/\(process \d+\)/);
    expect(output).not.toMatch(/error|Completed|goes on/);
    expect({ exitCode, files, servers }).toEqual({ exitCode: 130, files: [], servers: [] });
  });

  test("leaves nothing behind when the task fails", async () => {
    const { output, exitCode, files, servers } = await runDemo("/does/not/exist");
    expect(output).toContain("Failed /does/not/exist cannot be read: there is no such file");
    expect({ exitCode, files, servers }).toEqual({ exitCode: 1, files: [], servers: [] });
  });

  test("says so when there is too little to do for a kill half way", async () => {
    const { output, exitCode, files, servers } = await runDemo(join(root, "LICENSE"));
    expect(output).toContain("give it more to do: npm run demo -- PATH");
    expect({ exitCode, files, servers }).toEqual({ exitCode: 1, files: [], servers: [] });
  });
});
