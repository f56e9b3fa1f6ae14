/** The published schema of the configuration file: what it takes and refuses, and that the docs have all of it. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { configJsonSchema } from "../../src/server/config.ts";
import { parseConfig } from "../../src/server/load-config.ts";
import { type JsonSchema, schemaComplaints } from "../support/json-schema.ts";

const file = "schema/stint.schema.json";
const schema = JSON.parse(await readFile(file, "utf8")) as JsonSchema;
const operating = await readFile("docs/operating.md", "utf8");

const isTakenBySchema = (text: string): boolean => schemaComplaints(schema, parse(text) ?? {}).length === 0;

function isTakenByServer(text: string): boolean {
  try {
    parseConfig(text, "stint.yaml");
    return true;
  } catch {
    return false;
  }
}

/** A file with one controller, with `more` beside its name. */
const controller = (more: string): string => `controllers: [{ name: a, ${more} }]`;
const hosted = (more: string): string => controller(`runner: { module: a.ts }, ${more}`);
const exec = (more: string): string => controller(`runner: { exec: { ${more} } }`);

describe("the schema", () => {
  test("is what the server checks by", () => {
    expect(schema).toEqual(configJsonSchema());
  });

  test("is named by the example, which it takes", async () => {
    const text = await readFile("examples/stint.yaml", "utf8");
    expect(text.split("\n")[0]).toBe(`# yaml-language-server: $schema=../${file}`);
    expect(schemaComplaints(schema, parse(text))).toEqual([]);
  });

  test("is in the package", async () => {
    const { files, exports } = JSON.parse(await readFile("package.json", "utf8")) as {
      files: string[];
      exports: Record<string, unknown>;
    };
    expect(files).toContain("schema");
    expect(exports["./schema/*"]).toBe("./schema/*");
  });

  test.each([
    "",
    "listen: 127.0.0.1:7846",
    "limits: { idleMaxMs: 1, diskReserveBytes: 0 }",
    "corsOrigins: [https://tasks.example.com]",
    hosted("concurrency: 1, retentionHours: 0.5"),
    hosted("pendingTimeoutSeconds: 0.5, runningTimeoutSeconds: 1e9"),
    "historyHours: 0.57",
    "{ historyHours: 1000000, retentionHours: 1000000 }",
    hosted("logMaxEntries: 1, logMaxBytes: 1"),
    controller("runner: { remote: {} }"),
    "limits: { leaseMs: 5000 }",
    exec("command: [a]"),
    exec(`command: [a, b, c], cwd: d, env: { A: b }, passEnv: [C]`),
  ])("and the server take %s", (text) => {
    expect(schemaComplaints(schema, parse(text) ?? {})).toEqual([]);
    expect(isTakenByServer(text)).toBe(true);
  });

  test.each([
    "[]",
    "nope: 1",
    "listen: 7846",
    "dataDir: ''",
    "insecure: 'yes'",
    "logLevel: loud",
    "historyHours: 0",
    "historyHours: 1e300",
    "historyHours: .inf",
    "retentionHours: 1e300",
    hosted("retentionHours: 1000001"),
    hosted("pendingTimeoutSeconds: 1e300"),
    "historyBytes: 1.5",
    "retentionHours: -1",
    "reflection: 1",
    "corsOrigins: https://tasks.example.com",
    "limits: { idleMaxMs: 0 }",
    "limits: { idMaxBytes: 1 }",
    "controllers: { name: a }",
    "controllers: [{ runner: { module: a.ts } }]",
    "controllers: [{ name: A, runner: { module: a.ts } }]",
    "controllers: [{ name: a }]",
    controller("runner: {}"),
    controller("runner: { module: a.ts, exec: { command: [a] } }"),
    controller("runner: { modul: a.ts }"),
    controller("runner: { remote: {}, module: a.ts }"),
    controller("runner: { remote: { capacity: 1 } }"),
    controller("runner: { remote: }"),
    "limits: { leaseMs: 4999 }",
    "limits: { leaseMs: 3600001 }",
    controller("runner: { module: '' }"),
    hosted("concurrency: 0"),
    hosted("concurrency: 10001"),
    hosted("retentionHours: -1"),
    hosted("pendingTimeoutSeconds: 0"),
    hosted("runningTimeoutSeconds: -1"),
    hosted("runningTimeoutSeconds: 1h"),
    hosted("logMaxEntries: 0"),
    hosted("logMaxBytes: 1.5"),
    exec(""),
    exec("command: []"),
    exec("command: a"),
    exec("command: [1]"),
    exec("command: [a, 1]"),
    exec("command: [a], env: { A: 1 }"),
    exec("command: [a], passEnv: A"),
  ])("and the server refuse %s", (text) => {
    expect([isTakenBySchema(text), isTakenByServer(text)]).toEqual([false, false]);
  });

  test.each([
    "listen: nowhere",
    "corsOrigins: ['*']",
    "controllers: [{ name: a, runner: { module: a.ts } }, { name: a, runner: { module: a.ts } }]",
    exec(`command: [a, '\${path}']`),
    exec("command: [a], env: { STINT_A: b }"),
    `limits: { activeMax: 2 }\n${hosted("concurrency: 3")}`,
  ])("takes, and the server refuses, %s", (text) => {
    expect([isTakenBySchema(text), isTakenByServer(text)]).toEqual([true, false]);
  });
});

describe("docs/operating.md has", () => {
  const keysOf = (path: readonly string[]): string[] => {
    const at = path.reduce<JsonSchema>((each, step) => each[step] as JsonSchema, schema);
    return Object.keys(at["properties"] as object).sort();
  };
  const ofController = ["properties", "controllers", "items"];
  const ofRunner = [...ofController, "properties", "runner"];

  test.each([
    ["every key of the file", "in the file", []],
    ["every key of a controller", "key of a controller", ofController],
    ["every key of a runner", "key of `runner`", ofRunner],
    ["every key of a command", "key of `exec`", [...ofRunner, "properties", "exec"]],
    ["every limit", "limit", ["properties", "limits"]],
  ])("%s, and no other", (_, heading, path) => {
    expect(keysInTable(heading)).toEqual(keysOf(path));
  });

  test("what each key of the schema is, in the schema too", () => {
    const silent = [[], ofController, ofRunner, [...ofRunner, "properties", "exec"]].flatMap((path) => {
      const at = path.reduce<JsonSchema>((each, step) => each[step] as JsonSchema, schema);
      const properties = at["properties"] as Record<string, JsonSchema>;
      return Object.keys(properties).filter((key) => typeof properties[key]?.["description"] !== "string");
    });
    expect(silent).toEqual([]);
  });

  /** The names in the first column of the table whose heading begins so. */
  function keysInTable(heading: string): string[] {
    const lines = operating.split("\n");
    const start = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
    const rows = lines.slice(start + 2);
    const end = rows.findIndex((line) => !line.startsWith("|"));
    const names = rows
      .slice(0, end)
      .flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name ?? ""));
    return names.sort();
  }
});
