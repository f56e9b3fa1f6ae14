import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { resolveSettings, settingOptions } from "../../src/cli/serve-settings.ts";

describe("the settings of serve", () => {
  test("are the flag's before the variable's before the file's", () => {
    const file = { listen: "a:1", dataDir: "/file", logLevel: "error" as const, controllers: [] };
    const env = { STINT_LISTEN: "b:2", STINT_DATA_DIR: "/env", STINT_LOG_LEVEL: "" };
    const { config, sources } = resolveSettings({ listen: "c:3" }, env, file);
    expect(config).toEqual({ listen: "c:3", dataDir: "/env", logLevel: "error", controllers: [] });
    expect([...sources]).toEqual([
      ["listen", "--listen"],
      ["dataDir", "STINT_DATA_DIR"],
    ]);
  });

  test("can all be set by variables, with their types", () => {
    const env = {
      STINT_INSECURE: "true",
      STINT_LOG_LEVEL: "debug",
      STINT_RETENTION_HOURS: "0.5",
      STINT_HISTORY_HOURS: "2",
      STINT_HISTORY_BYTES: "1000",
      STINT_TASK_ID: "none of ours",
    };
    expect(resolveSettings({}, env, {}).config).toEqual({
      insecure: true,
      logLevel: "debug",
      retentionHours: 0.5,
      historyHours: 2,
      historyBytes: 1000,
    });
    const { config } = resolveSettings({}, { STINT_INSECURE: "0" }, { insecure: true });
    expect(config).toEqual({ insecure: false });
  });

  test.each([
    ["STINT_INSECURE", "maybe"],
    ["STINT_LOG_LEVEL", "loud"],
    ["STINT_RETENTION_HOURS", "-1"],
    ["STINT_HISTORY_HOURS", "1h"],
    ["STINT_HISTORY_BYTES", "1GiB"],
  ])("name the variable that is wrong: %s=%s", (name, value) => {
    const { config, problems } = resolveSettings({}, { [name]: value }, {});
    expect(config).toEqual({});
    expect(problems).toMatchObject([
      { source: name, text: expect.stringContaining(`is "${value}". It must`) as unknown },
    ]);
  });

  test("have a flag each", () => {
    const command = new Command().exitOverride();
    for (const option of settingOptions()) command.addOption(option);
    const args = ["--listen", "a:1", "--data-dir", "d", "--insecure", "--log-level", "warn", "--retention-hours", "1"];
    command.parse([...args, "--history-hours", "2", "--history-bytes", "3"], { from: "user" });
    expect(command.opts()).toEqual({
      listen: "a:1",
      dataDir: "d",
      insecure: true,
      logLevel: "warn",
      retentionHours: 1,
      historyHours: 2,
      historyBytes: 3,
    });
  });

  test("are in docs/operating.md, with the flag and the variable that the help shows", async () => {
    const [docs = ""] = (await readFile("docs/operating.md", "utf8")).split("\n## The configuration file");
    const rows = docs.split("\n").filter((line) => line.startsWith("|") && line.includes("| `--"));
    const shown = rows.flatMap((row) => [...row.matchAll(/--[a-z-]+|STINT_[A-Z_]+/g)].map(([name]) => name));
    const settings = settingOptions().flatMap(({ long, description }) => [
      long,
      /\[(STINT_[A-Z_]+)\]$/.exec(description)?.[1],
    ]);
    expect(shown.sort()).toEqual([...settings, "--config", "STINT_CONFIG", "--no-banner"].sort());
  });
});
