import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkConfig } from "../../src/server/check-config.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

async function check(yaml: string, files: Readonly<Record<string, string>> = {}) {
  await using scratch = await makeScratchDirectory();
  for (const [name, text] of Object.entries(files)) await writeFile(join(scratch.path, name), text);
  const file = join(scratch.path, "stint.yaml");
  await writeFile(file, yaml);
  return await checkConfig(file, { env: { PATH: "/usr/bin:/bin" } });
}

describe("a check of a configuration", () => {
  test("finds nothing wrong with one that a server starts with", async () => {
    const yaml = [
      "controllers:",
      "  - { name: a, runner: { module: a.mjs } }",
      "  - { name: b, runner: { exec: { command: [sh, -c, exit] } } }",
    ].join("\n");
    const files = { "a.mjs": "export const runner = { async onTaskRunning() {} };" };
    expect(await check(yaml, files)).toEqual({ problems: [], controllers: ["a", "b"] });
  });

  test("names line and key of every runner that cannot be had", async () => {
    const { problems } = await check(
      [
        "controllers:",
        "  - name: absent",
        "    runner:",
        "      module: absent.mjs",
        "  - name: empty",
        "    runner:",
        "      module: empty.mjs",
        "  - name: broken",
        "    runner: { module: broken.mjs }",
        "  - name: command",
        "    runner:",
        "      exec:",
        "        command: [no-such-command-anywhere]",
        "  - name: file",
        "    runner: { exec: { command: [./absent.sh] } }",
      ].join("\n"),
      { "empty.mjs": "export const x = 1;", "broken.mjs": "throw new Error('broken at once');" },
    );
    expect(problems.map(({ line, text }) => `${line}: ${text}`)).toEqual([
      expect.stringMatching(/^4: controllers\[0\]\.runner\.module: there is no runner module .*absent\.mjs$/),
      expect.stringMatching(/^7: controllers\[1\]\.runner\.module: .*empty\.mjs has no runner/),
      expect.stringMatching(/^9: controllers\[2\]\.runner\.module: .*broken at once$/),
      expect.stringMatching(/^12: controllers\[3\]\.runner\.exec: .*no command "no-such-command-anywhere" in PATH/),
      expect.stringMatching(/^15: controllers\[4\]\.runner\.exec: .*absent\.sh is not there$/),
    ]);
  });

  test("finds mistakes of the file and of what it names in one round, in the order of the lines", async () => {
    const { problems } = await check(
      [
        "controllers:",
        "  - { name: a, runner: { module: absent.mjs } }",
        "  - { name: b, runner: { module: absent.mjs }, speed: 1 }",
        "  - { name: c, runner: { exec: { command: [no-such-command-anywhere] } } }",
        "logLevel: loud",
        "listen: 0.0.0.0:1",
      ].join("\n"),
    );
    expect(problems.map(({ line, text }) => `${line}: ${text.split(":")[0]}`)).toEqual([
      "2: controllers[0].runner.module",
      "3: controllers[1].speed",
      "4: controllers[2].runner.exec",
      "5: logLevel",
      "6: listen",
    ]);
  });

  test("does not call an address open to all while what would protect it is wrong itself", async () => {
    const { problems } = await check("listen: 0.0.0.0:1\ninsecure: maybe\n");
    expect(problems.map(({ line }) => line)).toEqual([2]);
  });

  test("blames what has the setting, where that is not the file", async () => {
    const override = (config: object) => ({
      config: { ...config, listen: "nowhere", corsOrigins: ["*"], tlsCert: "a.pem" },
      sources: new Map([
        ["listen", "STINT_LISTEN"],
        ["corsOrigins", "--cors-origins"],
        ["tlsCert", "STINT_TLS_CERT"],
      ]),
      problems: [{ source: "STINT_INSECURE", path: ["insecure"], text: "is wrong" }],
    });
    const { problems } = await checkConfig(undefined, { env: {}, override });
    expect(problems).toEqual([
      { source: "STINT_INSECURE", text: "is wrong" },
      { source: "STINT_LISTEN", text: expect.stringMatching(/^must be HOST:PORT/) as unknown },
      { source: "--cors-origins", text: expect.stringContaining("is not the origin of a page") as unknown },
    ]);
    const open = { config: { listen: "0.0.0.0:1" }, sources: new Map([["listen", "--listen"]]), problems: [] };
    expect((await checkConfig(undefined, { env: {}, override: () => open })).problems).toEqual([
      { source: "--listen", text: expect.stringMatching(/^other machines can reach 0\.0\.0\.0:1, /) as unknown },
    ]);
    const alone = { config: { tlsCert: "a.pem" }, sources: new Map([["tlsCert", "STINT_TLS_CERT"]]), problems: [] };
    expect((await checkConfig(undefined, { env: {}, override: () => alone })).problems).toEqual([
      { source: "STINT_TLS_CERT", text: "tlsCert is set without tlsKey; TLS needs both" },
    ]);
  });

  test.each([
    ["listen: nowhere at all\n", "1: listen: must be HOST:PORT"],
    ["logLevel: info\nlisten: 0.0.0.0:1\n", "2: listen: other machines can reach 0.0.0.0:1"],
    ["logLevel: info\ncorsOrigins: ['*']\n", "2: corsOrigins[0]: "],
    ["logLevel: info\ntlsCert: a.pem\n", "2: tlsCert is set without tlsKey"],
    ["tlsKey: b.pem\ntlsCert: a.pem\n", "2: tlsCert: "],
    ["logLevel: info\nlimits:\n  activeMax: 0\n", "3: limits.activeMax: "],
  ])("names line and key of a setting that is wrong: %j", async (yaml, start) => {
    const { problems } = await check(yaml);
    expect(problems.map(({ line, text }) => `${line}: ${text}`.slice(0, start.length))).toEqual([start]);
  });
});
