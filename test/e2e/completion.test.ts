/** What bash makes of the completion script. Needs dist/ (npm run build), and bash. */
import { execFile, spawnSync } from "node:child_process";
import { chmod, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { openFakeServer } from "../cli/support/fake-server.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const isThere = spawnSync("bash", ["-c", "true"]).status === 0;

/** Has bash complete the lines, as it does when Tab is pressed at their ends; resolves to the candidates of each. */
async function completeLines(lines: readonly string[], server: string): Promise<string[]> {
  await using scratch = await makeScratchDirectory();
  const main = resolve("dist/cli/main.js");
  const program = join(scratch.path, "stint");
  await writeFile(program, `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`);
  await chmod(program, 0o755);
  const script = [
    'eval "$(stint completion bash)"',
    'for COMP_LINE in "$@"; do',
    `  COMP_POINT=\${#COMP_LINE}`,
    "  _stint",
    `  echo "\${COMPREPLY[*]}"`,
    "done",
    "complete -p stint",
  ].join("\n");
  const { stdout, stderr } = await promisify(execFile)("bash", ["--norc", "-uec", script, "bash", ...lines], {
    env: { PATH: `${scratch.path}:${process.env["PATH"]}`, STINT_SERVER: server },
    cwd: scratch.path,
  });
  expect(stderr).toBe("");
  return stdout.trimEnd().split("\n");
}

describe.runIf(isThere)("bash", () => {
  test("completes commands, options, controllers, and tasks with : in their ids", { timeout: 120_000 }, async () => {
    await using server = await openFakeServer({
      listControllers: () => ({ controllers: [{ name: "steps" }] }),
      listTasks: ({ idPrefix }) => ({
        tasks: ["day:1", "day:2", "*"].map((taskId) => ({ taskId: taskId + idPrefix.slice(5) })),
      }),
    });
    const lines = [
      "stint can",
      "stint logs  steps da",
      "stint logs steps day:",
      "stint list c --output=j",
      "stint list c --state ",
      "stint serve -c ",
    ];
    expect(await completeLines(lines, server.address)).toEqual([
      "cancel",
      "day:1 day:2",
      // Bash has broken the word at the colon, and puts the candidate in the place of what is behind it.
      "1 2",
      "json",
      "pending running completed failed canceled unknown",
      "",
      "complete -o bashdefault -o default -F _stint stint",
    ]);
  });
});
