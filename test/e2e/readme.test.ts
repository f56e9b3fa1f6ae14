/** What README.md shows of the library works as it stands there. Needs dist/ (npm run build). */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { readBlocks } from "../support/doc-blocks.ts";
import { addCompilerOptions, makeProgram } from "../support/program-of-docs.ts";
import { repositoryRoot } from "../support/served-process.ts";

const run = promisify(execFile);

async function libraryExample(): Promise<string> {
  const [code = "", ...others] = await readBlocks("README.md", "ts");
  expect(others).toEqual([]);
  return code;
}

test("the library's example runs, prints its task to the end, and ends", async () => {
  await using program = await makeProgram({ "example.ts": await libraryExample() });
  const { stdout } = await run(process.execPath, ["--import", import.meta.resolve("tsx"), "example.ts"], {
    cwd: program.path,
    timeout: 60_000,
  });
  const lines = stdout.trim().split("\n");
  expect(lines.at(-1)).toBe("Completed 1000n");
});

test("the library's example has the types that it needs", async () => {
  await using program = await makeProgram({ "example.ts": await libraryExample() });
  await addCompilerOptions(program, ["example.ts"]);
  const compiler = join(repositoryRoot, "node_modules", ".bin", "tsc");
  const { stdout } = await run(compiler, ["-p", program.path]).catch((error: { stdout: string }) => error);
  expect(stdout).toBe("");
});

test("the library's example has at most 15 lines", async () => {
  const lines = (await libraryExample()).split("\n").filter((line) => line !== "");
  expect(lines.length).toBeLessThanOrEqual(15);
});

test("README.md shows what it is, the two commands, a task, a kill, the library and the docs, in this order", async () => {
  const text = await readFile(join(repositoryRoot, "README.md"), "utf8");
  const parts = ["\nStint is ", "npm ci && npm start ", "npm ci && npm test ", "/LaunchTask", "/WatchTask", "kill -9"];
  const places = [...parts, 'from "stint"', "## Docs"].map((part) => text.indexOf(part));
  expect(places).not.toContain(-1);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(text.slice(0, text.indexOf("npm ci")).match(/[.!]\s/g), "one sentence before the commands").toHaveLength(1);
});
