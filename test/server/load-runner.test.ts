import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadRunner } from "../../src/server/load-runner.ts";

async function load(name: string, text: string) {
  const directory = await mkdtemp(join(tmpdir(), "stint-runner-"));
  const file = join(directory, name);
  await writeFile(file, text);
  try {
    return await loadRunner(file);
  } finally {
    await rm(directory, { recursive: true });
  }
}

describe("a runner is loaded from", () => {
  test.each([
    ["JavaScript, as the default", "a.mjs", "export default { onTaskRunning: () => 1 };"],
    ["JavaScript, by its name", "a.mjs", "export const runner = { onTaskRunning: () => 1 };"],
    ["CommonJS", "a.cjs", "module.exports = { onTaskRunning: () => 1 };"],
    [
      "TypeScript, without a build",
      "a.ts",
      "const one: number = 1;\nexport default { onTaskRunning: (): number => one };",
    ],
    [
      "TypeScript, as an instance of a class",
      "a.mts",
      "export default new (class { onTaskRunning(): number { return 1; } })();",
    ],
  ])("%s", async (_, name, text) => {
    const runner = await load(name, text);
    expect(runner.onTaskRunning(undefined as never, undefined as never)).toBe(1);
  });
});

describe("a module that is refused says why", () => {
  test.each([
    ["nothing exported", "a.mjs", "", /has no runner: it must export/],
    ["something else exported", "a.mjs", "export default () => 1;", /has no runner/],
    ["no function of the name", "a.ts", "export default { onTaskRunning: 1 };", /has no runner/],
    ["a throw while it loads", "a.mjs", "throw new Error('no database');", /cannot be loaded: no database/],
    ["text that is no TypeScript", "a.ts", "export default {", /cannot be loaded: /],
    ["another kind of file", "a.py", "", /is neither TypeScript nor JavaScript/],
  ])("%s", async (_, name, text, message) => {
    await expect(load(name, text)).rejects.toMatchObject({
      code: "RUNNER",
      message: expect.stringMatching(message) as unknown,
    });
  });

  test("no such file", async () => {
    await expect(loadRunner("/nowhere/a.ts")).rejects.toThrow("there is no runner module /nowhere/a.ts");
  });
});
