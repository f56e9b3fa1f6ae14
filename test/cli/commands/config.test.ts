import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makeScratchDirectory } from "../../support/scratch-directory.ts";
import { runCommand } from "../support/run-command.ts";

describe("stint config check", () => {
  test("says that a configuration is good", async () => {
    const text = "examples/stint.yaml is good, with 3 controllers: countdown, checksum, archive\n";
    expect(await runCommand(["config", "check", "examples/stint.yaml"])).toEqual({ code: 0, out: text, err: "" });
  });

  test("takes the file of STINT_CONFIG where none is named, and asks for one where there is none", async () => {
    const env = { STINT_CONFIG: "examples/stint.yaml" };
    expect((await runCommand(["config", "check", "-o", "json"], undefined, { env })).out).toBe(
      '{"file":"examples/stint.yaml","valid":true,"controllers":["countdown","checksum","archive"],"problems":[]}\n',
    );
    const { code, err } = await runCommand(["config", "check"]);
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining("stint config check FILE") as unknown });
  });

  test("names file, line and key of each mistake, as text and as JSON", async () => {
    await using scratch = await makeScratchDirectory();
    const file = join(scratch.path, "stint.yaml");
    await writeFile(file, "listen: 127.0.0.1:0\nlogLevel: loud\nspeed: 9\n");
    const { code, out, err } = await runCommand(["config", "check", file]);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err.split("\n")).toEqual([
      `error: there are 2 mistakes in ${file}`,
      expect.stringContaining(`  - ${file}:2: logLevel: `) as unknown,
      `  - ${file}:3: speed: there is no such key`,
      "",
    ]);
    const asJson = await runCommand(["config", "check", file, "-o", "json"]);
    expect(asJson.code).toBe(2);
    expect(JSON.parse(asJson.out)).toMatchObject({
      valid: false,
      problems: [{ line: 2 }, { line: 3, text: "speed: there is no such key" }],
    });
  });

  test("takes variables of the environment for what they would be to the server", async () => {
    await using scratch = await makeScratchDirectory();
    const file = join(scratch.path, "stint.yaml");
    await writeFile(file, "listen: 0.0.0.0:7846\n");
    expect(await runCommand(["config", "check", file])).toMatchObject({
      code: 2,
      err: expect.stringContaining(`${file}:1: listen: other machines can reach`) as unknown,
    });
    const env = { STINT_INSECURE: "true" };
    expect((await runCommand(["config", "check", file], undefined, { env })).code).toBe(0);
  });

  test("blames a variable for what is wrong with it, and not the file", async () => {
    await using scratch = await makeScratchDirectory();
    const file = join(scratch.path, "stint.yaml");
    await writeFile(file, "listen: 127.0.0.1:0\nspeed: 9\n");
    const env = { STINT_LISTEN: "nowhere", STINT_LOG_LEVEL: "loud" };
    const { code, err } = await runCommand(["config", "check", file], undefined, { env });
    expect(code).toBe(2);
    expect(err.split("\n")).toEqual([
      "error: there are 3 mistakes in the configuration",
      `  - ${file}:2: speed: there is no such key`,
      '  - STINT_LOG_LEVEL: is "loud". It must be one of debug, info, warn, error.',
      '  - STINT_LISTEN: must be HOST:PORT, such as 127.0.0.1:7846, not "nowhere"',
      "",
    ]);
  });

  test("counts one controller as one", async () => {
    await using scratch = await makeScratchDirectory();
    const file = join(scratch.path, "stint.yaml");
    await writeFile(file, "controllers: [{ name: a, runner: { exec: { command: [sh] } } }]");
    const { out } = await runCommand(["config", "check", file], undefined, { env: { PATH: "/usr/bin:/bin" } });
    expect(out).toBe(`${file} is good, with 1 controller: a\n`);
  });

  test("of a file that is not there is wrong usage", async () => {
    const { code, err } = await runCommand(["config", "check", "no-such-file.yaml"]);
    expect({ code, err }).toEqual({
      code: 2,
      err: "error: the configuration no-such-file.yaml cannot be read: ENOENT\n",
    });
  });
});
