import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makeScratchDirectory } from "../../support/scratch-directory.ts";
import { runCommand } from "../support/run-command.ts";

describe("stint serve", () => {
  test("names all that is wrong with its settings at once, each with whose it is", async () => {
    await using scratch = await makeScratchDirectory();
    const file = join(scratch.path, "stint.yaml");
    await writeFile(file, "speed: 9\ncontrollers: [{ name: a, runner: { module: absent.mjs } }]\n");
    const args = ["serve", "--config", file, "--data-dir", join(scratch.path, "data"), "--listen", "nowhere"];
    const { code, err } = await runCommand(args, undefined, { env: { STINT_INSECURE: "maybe" } });
    expect(code).toBe(2);
    expect(err.split("\n")).toEqual([
      "error: there are 4 mistakes in the configuration",
      `  - ${file}:1: speed: there is no such key`,
      `  - ${file}:2: controllers[0].runner.module: there is no runner module ${join(scratch.path, "absent.mjs")}`,
      '  - STINT_INSECURE: is "maybe". It must be true or false.',
      '  - --listen: must be HOST:PORT, such as 127.0.0.1:7846, not "nowhere"',
      "",
    ]);
  });

  test.each([
    [["--listen", "nowhere"], {}, '--listen: must be HOST:PORT, such as 127.0.0.1:7846, not "nowhere"'],
    [[], { STINT_LISTEN: "nowhere" }, 'STINT_LISTEN: must be HOST:PORT, such as 127.0.0.1:7846, not "nowhere"'],
    [["--tls-cert", "a.pem"], {}, "--tls-cert: tlsCert is set without tlsKey; TLS needs both"],
    [[], { STINT_LOG_LEVEL: "loud" }, 'STINT_LOG_LEVEL: is "loud". It must be one of debug, info, warn, error.'],
  ])("names the flag or the variable that is wrong: %j %j", async (flags, env, expected) => {
    const { code, err } = await runCommand(["serve", ...flags], undefined, { env });
    expect({ code, err }).toEqual({
      code: 2,
      err: `error: there is a mistake in the configuration\n  - ${expected}\n`,
    });
  });

  test("says alone that a file cannot be read", async () => {
    const { code, err } = await runCommand(["serve", "--config", "/nowhere/stint.yaml"]);
    expect({ code, err }).toEqual({
      code: 2,
      err: "error: the configuration /nowhere/stint.yaml cannot be read: ENOENT\n",
    });
  });
});
