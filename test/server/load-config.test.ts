import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { configJsonSchema } from "../../src/server/config.ts";
import { defaultLimits, limitNames } from "../../src/server/limits.ts";
import { loadConfig, parseConfig } from "../../src/server/load-config.ts";

function complaint(text: string): string {
  try {
    parseConfig(text, "stint.yaml");
  } catch (error) {
    expect(error).toMatchObject({ name: "ServerError", code: "CONFIG" });
    return (error as Error).message;
  }
  throw new Error("the configuration was taken");
}

describe("a configuration", () => {
  test("may be empty", () => {
    expect(parseConfig("", "stint.yaml")).toEqual({});
    expect(parseConfig("# nothing\n", "stint.yaml")).toEqual({});
  });

  test("has paths relative to its file", async () => {
    const directory = await mkdtemp(join(tmpdir(), "stint-config-"));
    const file = join(directory, "stint.yaml");
    await writeFile(file, "dataDir: ../data\ncontrollers:\n  - name: a\n    runner: { module: runners/a.ts }\n");
    expect(await loadConfig(file)).toEqual({
      dataDir: resolve(directory, "../data"),
      controllers: [{ name: "a", runner: { module: join(directory, "runners/a.ts") } }],
    });
    await rm(directory, { recursive: true });
  });

  test("can leave the tasks of a controller to programs that connect", async () => {
    const directory = await mkdtemp(join(tmpdir(), "stint-config-"));
    const file = join(directory, "stint.yaml");
    await writeFile(file, "controllers:\n  - name: a\n    runner: { remote: {} }\n");
    expect(await loadConfig(file)).toEqual({ controllers: [{ name: "a", runner: { remote: {} } }] });
    await rm(directory, { recursive: true });
  });

  test("can set every limit but the length of ids, and docs/operating.md has each with its default", async () => {
    const limits = Object.fromEntries(limitNames.map((name) => [name, defaultLimits[name]]));
    expect(parseConfig(`limits: ${JSON.stringify(limits)}`, "stint.yaml")).toEqual({ limits });
    const docs = await readFile("docs/operating.md", "utf8");
    const shown = [...docs.matchAll(/^\| `(\w+)` \| ([\d,]+) \|/gm)].map(([, name, value]) => [
      name,
      Number(value?.replaceAll(",", "")),
    ]);
    expect(Object.fromEntries(shown)).toEqual(limits);
  });

  test("of the example can be loaded", async () => {
    const config = await loadConfig("examples/stint.yaml");
    expect(config).toMatchObject({ listen: "127.0.0.1:7846", dataDir: resolve("stint-data") });
    expect(config.controllers?.map(({ name }) => name)).toEqual(["countdown", "checksum", "archive"]);
  });

  test("that is not there is named", async () => {
    await expect(loadConfig("/nowhere/stint.yaml")).rejects.toThrow(
      "the configuration /nowhere/stint.yaml cannot be read: ENOENT",
    );
  });

  test("has a schema for editors", () => {
    expect(configJsonSchema()).toMatchObject({ type: "object", additionalProperties: false });
  });
});

describe("what is wrong is named with its file, line and key", () => {
  test.each([
    ["a key that is not there", "listen: a:1\nlisten_on: b", "stint.yaml:2: listen_on: there is no such key"],
    [
      "a key that is not there, deeper",
      "controllers:\n  - name: a\n    runner:\n      module: a.ts\n      modul: b.ts",
      "stint.yaml:5: controllers[0].runner.modul: there is no such key",
    ],
    [
      "a value of the wrong kind",
      "\n\ninsecure: maybe",
      /^stint\.yaml:3: insecure: must be true or false, not "maybe"$/,
    ],
    [
      "a name that is none",
      "controllers:\n  - name: A\n    runner: { module: a.ts }",
      /^stint\.yaml:2: controllers\[0\]\.name: must be 1 to 63/,
    ],
    ["a key that is missing", "controllers:\n  - name: a", /^stint\.yaml:2: controllers\[0\]\.runner: must be set$/],
    ["a limit that is not there", "limits:\n  sessionMax: 1", "stint.yaml:2: limits.sessionMax: there is no such key"],
    [
      "a limit out of range",
      "limits:\n  idleMaxMs: 0",
      /^stint\.yaml:2: limits\.idleMaxMs: must be at least 1, not 0$/,
    ],
    [
      "a controller with two runners",
      "controllers:\n  - name: a\n    runner:\n      module: a.ts\n      exec: { command: [a] }",
      /^stint\.yaml:3: controllers\[0\]\.runner: must have one of module, exec and remote$/,
    ],
    [
      "a remote runner that is more than that",
      "controllers:\n  - name: a\n    runner:\n      remote: { capacity: 5 }",
      /^stint\.yaml:4: controllers\[0\]\.runner\.remote/,
    ],
    [
      "a lease that is too short",
      "limits:\n  leaseMs: 4999",
      /^stint\.yaml:2: limits\.leaseMs: must be at least 5000, not 4999$/,
    ],
    [
      "a command without a program",
      "controllers:\n  - name: a\n    runner:\n      exec: { command: [] }",
      /^stint\.yaml:4: controllers\[0\]\.runner\.exec\.command\[0\]: must be set$/,
    ],
    [
      "an argument that is no placeholder",
      `controllers:\n  - name: a\n    runner:\n      exec:\n        command:\n          - a\n          - \${path}`,
      /^stint\.yaml:7: controllers\[0\]\.runner\.exec\.command\[1\]: .* is no placeholder/,
    ],
    [
      "a value in a shell's script",
      `controllers:\n  - name: a\n    runner:\n      exec:\n        command: [sh, -c, 'rm \${metadata.path}']`,
      /^stint\.yaml:5: controllers\[0\]\.runner\.exec\.command: .* would be run by it/,
    ],
    [
      "a variable that is reserved",
      "controllers:\n  - name: a\n    runner:\n      exec: { command: [a], passEnv: [STINT_X] }",
      /^stint\.yaml:4: controllers\[0\]\.runner\.exec\.passEnv\[0\]: must not begin with STINT_/,
    ],
    [
      "a name of a variable that is none",
      "controllers:\n  - name: a\n    runner:\n      exec:\n        command: [a]\n        env: { A-B: c }",
      /^stint\.yaml:6: controllers\[0\]\.runner\.exec\.env\.A-B: .*must be letters/,
    ],
    ["an address that is none", "insecure: true\nlisten: nowhere", /^stint\.yaml:2: listen: must be HOST:PORT/],
    [
      "an origin that is none",
      "corsOrigins:\n  - https://a.example\n  - https://b.example/path",
      /^stint\.yaml:3: corsOrigins\[1\]: .* is not the origin of a page/,
    ],
    [
      "a timeout that is none",
      "controllers:\n  - name: a\n    runner: { module: a.ts }\n    runningTimeoutSeconds: 0",
      /^stint\.yaml:4: controllers\[0\]\.runningTimeoutSeconds: must be more than 0, not 0$/,
    ],
    [
      "a log cap that is none",
      "controllers:\n  - name: a\n    runner: { module: a.ts }\n    logMaxBytes: 0",
      /^stint\.yaml:4: controllers\[0\]\.logMaxBytes: must be at least 1, not 0$/,
    ],
    [
      "more tasks at one time than a controller may have",
      "limits: { activeMax: 2 }\ncontrollers:\n  - name: a\n    runner: { module: a.ts }\n    concurrency: 3",
      "stint.yaml:5: controllers[0].concurrency: must be at most 2, which is limits.activeMax",
    ],
    ["a list that is none", "controllers: a", /^stint\.yaml:1: controllers: must be a list, not "a"$/],
    ["a file that is no map", "- a", /^stint\.yaml:1: the file: must be keys with their values, not a list$/],
    ["a value out of range", "retentionHours: -1", /^stint\.yaml:1: retentionHours: must be at least 0, not -1$/],
    ["a key twice", "listen: a:1\nlisten: b:1", "stint.yaml:2: listen: this key is there already"],
    [
      "a key of a controller twice",
      "controllers:\n  - name: a\n    runner: { module: a.ts }\n  - name: b\n    runner:\n      module: b.ts\n      module: c.ts",
      "stint.yaml:7: controllers[1].runner.module: this key is there already",
    ],
    ["what is no YAML", "a: [", /^stint\.yaml:1: /],
    [
      "two controllers of one name",
      "controllers:\n  - name: a\n    runner: { module: a.ts }\n  - name: a\n    runner: { module: b.ts }",
      "stint.yaml:4: controllers[1].name: another controller has this name",
    ],
  ])("%s", (_, text, expected) => {
    expect(complaint(text)).toMatch(expected);
  });

  test.each([
    ["insecure:", "insecure: must be true or false, not nothing"],
    ["logLevel: loud", 'logLevel: must be debug, info, warn or error, not "loud"'],
    ["historyBytes: 1.5", "historyBytes: must be a whole number, not 1.5"],
    [`corsOrigins: [${Array(101).fill("https://a.example").join(", ")}]`, "corsOrigins: must have at most 100 entries"],
    ["dataDir: ''", "dataDir: must not be empty"],
    ["dataDir: [a]", "dataDir: must be a text, not a list"],
    ["retentionHours: {}", "retentionHours: must be a number, not keys with their values"],
    [
      "controllers: [{ name: a, runner: { exec: { command: tar } } }]",
      'controllers[0].runner.exec.command: must be a list, not "tar"',
    ],
  ])("in plain words: %j", (text, expected) => {
    expect(complaint(text)).toBe(`stint.yaml:1: ${expected}`);
  });

  test("everything at once, in the order of the lines", () => {
    const text = [
      "nope: 1",
      "controllers:",
      "  - { name: a, runner: { module: a.ts }, concurrency: 3 }",
      "  - { name: a, runner: { module: b.ts }, speed: 1 }",
      "  - { name: B, runner: { module: b.ts } }",
      "limits: { activeMax: 2 }",
      "insecure: 1",
      "insecure: 2",
      "logLevel: loud",
    ];
    const lines = complaint(text.join("\n")).split("\n");
    expect(lines.map((line) => /^stint\.yaml:(\d+): ([\w.[\]]+)/.exec(line)?.slice(1).join(" "))).toEqual([
      "1 nope",
      "3 controllers[0].concurrency",
      "4 controllers[1].speed",
      "4 controllers[1].name",
      "5 controllers[2].name",
      "7 insecure",
      "8 insecure",
      "9 logLevel",
    ]);
  });

  test("and a few bytes that stand for gigabytes are not unfolded", () => {
    const lines = ["a: &a [x, x, x, x, x, x, x, x, x]"];
    for (let i = 0; i < 20; i += 1)
      lines.push(
        `b${i}: &b${i} [${Array(9)
          .fill(i === 0 ? "*a" : `*b${i - 1}`)
          .join(", ")}]`,
      );
    expect(complaint(lines.join("\n"))).toMatch(/^stint\.yaml:\d+: /);
  });
});
