/** What .ci/run does where a client cannot be built, with a toolchain that is made up. Needs bash. */
import { execFile, spawnSync } from "node:child_process";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const isThere = spawnSync("bash", ["-c", "timeout --version"]).status === 0;

interface Machine {
  readonly hasToolchain: boolean;
  readonly isReached: boolean;
  readonly isBroken: boolean;
}

/** The last lines of a run with one client. */
async function prepare({ hasToolchain, isReached, isBroken }: Machine): Promise<string[]> {
  await using scratch = await makeScratchDirectory();
  const directory = join(scratch.path, "examples/clients/fake");
  await mkdir(directory, { recursive: true });
  await writeFile(
    join(directory, "run"),
    `#!/bin/sh\necho "main.fake:1: no such thing"\n${isBroken ? "exit 1" : ""}\n`,
  );
  await chmod(join(directory, "run"), 0o755);
  const script = [
    "set -uo pipefail",
    `source "${resolve(".ci/steps.sh")}"`,
    `toolchain_fake() { echo "fake is too old"; ${hasToolchain}; }`,
    `reach_fake() { ${isReached}; }`,
    "example fake prepare fake sh none",
    `echo "run: \${examples[*]}"`,
    "finish",
  ].join("\n");
  const { stdout } = await promisify(execFile)("bash", ["-c", script], { cwd: scratch.path }).catch(
    (error: { stdout: string }) => error,
  );
  return stdout.trimEnd().split("\n");
}

describe.runIf(isThere)("the steps of the clients", () => {
  test("run a client that was built", async () => {
    const lines = await prepare({ hasToolchain: true, isReached: true, isBroken: false });
    expect(lines).toEqual(["run: fake", "0 passed, 0 failed"]);
  });

  test("fail where the toolchain is there and the client cannot be built", async () => {
    const lines = await prepare({ hasToolchain: true, isReached: true, isBroken: true });
    expect(lines[0]).toMatch(/^FAIL {2}prepare fake/);
    expect(lines.slice(-4)).toEqual([
      "main.fake:1: no such thing",
      "examples/clients/fake cannot be built",
      "run: ",
      "0 passed, 1 failed",
    ]);
  });

  test.each([
    [{ hasToolchain: false, isReached: true, isBroken: true }, "fake is too old"],
    [
      { hasToolchain: true, isReached: false, isBroken: true },
      "examples/clients/fake cannot be built: the registry of fake cannot be reached",
    ],
  ])("leave a client out on a machine with %j", async (machine, reason) => {
    const lines = await prepare(machine);
    expect(lines).toEqual(["run: ", `left out: fake (${reason});`, "0 passed, 0 failed"]);
  });
});
