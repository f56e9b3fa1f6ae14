/** Real commands: what they are given, what becomes of what they say and of how they end. */
import { spawnSync } from "node:child_process";
import { chmod, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Code } from "#gen/google/rpc/code_pb.js";
import { createExecRunner } from "../../src/runner/exec-runner.ts";
import { resolveCommand } from "../../src/runner/resolve-command.ts";
import { openStore } from "../../src/store/open.ts";
import { isRunning, node, openCommandHarness } from "../support/command-harness.ts";
import { eventually } from "../support/eventually.ts";

const showArguments = "console.log('::result ' + JSON.stringify(process.argv.slice(1)))";

describe("a command gets", () => {
  test("its arguments as they are: no shell has its hands in it", async () => {
    await using h = await openCommandHarness();
    const values = [
      "; touch owned",
      "$(touch owned)",
      "`touch owned`",
      "a b  c",
      "*",
      "'\"\\",
      "line\nline",
      "| & > <",
      "$HOME",
    ];
    const metadata = Object.fromEntries(values.map((value, index) => [`v${index}`, value]));
    const args = values.map((_, index) => `\${metadata.v${index}}`);
    expect(await h.run([node, "-e", showArguments, "--", ...args], { metadata }).ended).toEqual(values);
    expect(await readdir(h.directory)).toEqual(["commands"]);
  });

  test("its metadata on its input, byte for byte, and in a variable up to 64 KiB", async () => {
    await using h = await openCommandHarness();
    const script = `let text = ""; process.stdin.on("data", (d) => (text += d)).on("end", () =>
      console.log("::result " + JSON.stringify([text, process.env.STINT_METADATA ?? null])))`;
    const exact = ' {"n": 12345678901234567890, "ä": 1.0 } ';
    expect(await h.run(script, { jsonMetadata: exact }).ended).toEqual([exact, exact]);
    expect(await h.run(script).ended).toEqual(["", null]);
    expect(await h.run(script, { jsonMetadata: " \n" }).ended).toEqual(["", null]);
    const large = JSON.stringify({ text: "x".repeat(70_000) });
    expect(await h.run(script, { jsonMetadata: large }).ended).toEqual([large, null]);
  });

  test("what tells it about its task, and nothing of the server's environment but what is allowed", async () => {
    await using h = await openCommandHarness();
    const planted = { LD_PRELOAD: "", NODE_OPTIONS: "--no-warnings", STINT_TEST_SECRET: "s", SECRET: "s", PASSED: "p" };
    Object.assign(process.env, planted);
    try {
      const script = "console.log('::result ' + JSON.stringify(process.env))";
      const options = { kept: { current: 3n, total: 10n }, attempt: 2, env: { SET: "$HOME" }, passEnv: ["PASSED"] };
      const env = (await h.run(script, options).ended) as Record<string, string>;
      expect(env).toMatchObject({
        PATH: process.env["PATH"],
        SET: "$HOME",
        PASSED: "p",
        STINT_TASK_ID: "task-1",
        STINT_CONTROLLER: "tests",
        STINT_RUN_ID: "run-1",
        STINT_ATTEMPT: "2",
        STINT_FENCE: "7",
        STINT_PROGRESS: "3/10",
      });
      for (const name of ["LD_PRELOAD", "NODE_OPTIONS", "STINT_TEST_SECRET", "SECRET"])
        expect(env).not.toHaveProperty(name);
    } finally {
      for (const name of Object.keys(planted)) Reflect.deleteProperty(process.env, name);
    }
  });

  test("its working directory", async () => {
    await using h = await openCommandHarness();
    const cwd = join(h.directory, "in here");
    await mkdir(cwd);
    expect(await h.run("console.log('::result ' + JSON.stringify(process.cwd()))", { cwd }).ended).toBe(cwd);
  });

  test.skipIf(process.platform !== "linux")("none of the server's open files, which LevelDB's would be", async () => {
    await using h = await openCommandHarness();
    const store = await openStore(`level:${join(h.directory, "store")}`);
    const script = `const fs = require("fs"); console.log("::result " + JSON.stringify(fs.readdirSync("/proc/self/fd").flatMap((fd) => {
      try { return [fs.readlinkSync("/proc/self/fd/" + fd)]; } catch { return []; } })))`;
    const isOfStore = (path: string): boolean => path.startsWith(join(h.directory, "store"));
    // That there is something to keep from it: a child that is spawned as usual has the journal open.
    const usual = spawnSync(node, ["-e", script], { encoding: "utf8" }).stdout.replace("::result ", "");
    expect((JSON.parse(usual) as string[]).filter(isOfStore)).not.toEqual([]);
    expect(((await h.run(script).ended) as string[]).filter(isOfStore)).toEqual([]);
    await store.close();
  });
});

describe("of what a command says", () => {
  test("lines become log entries, by the stream they come on, or progress, the result, the error", async () => {
    await using h = await openCommandHarness();
    const script = `process.stdout.write("one\\r\\n\\n::progress 1/2 half\\n::result {\\"a\\": 1}\\n::result [2]\\n::nothing\\nlast"); console.error("oops")`;
    const run = h.run(script);
    expect(await run.ended).toEqual([2]);
    expect(run.logs.filter(([level]) => level === 0)).toEqual([
      [0, "one"],
      [0, ""],
      [0, "::nothing"],
      [0, "last"],
    ]);
    expect(run.logs.filter(([level]) => level !== 0)).toEqual([[4, "oops"]]);
    expect(run.progress).toEqual([{ current: 1n, total: 2n, message: "half" }]);
  });

  test("whatever is malformed is a log entry, and takes nothing away", async () => {
    await using h = await openCommandHarness();
    const lines = ["::progress x", "::result {", "::error"];
    const run = h.run(
      `for (const line of ${JSON.stringify(lines)}) console.log(line); console.log('::result "' + "x".repeat(300_000) + '"\\n::result 1')`,
    );
    expect(await run.ended).toBe(1);
    expect(run.logs.map(([, msg]) => msg.slice(0, 12))).toEqual([
      "::progress x",
      "::result {",
      "::error",
      '::result "xx',
    ]);
    expect(run.logs.at(-1)?.[1]).toMatch(/x… \(cut\)$/);
  });

  test("binary is text with replacements, and a line of 10 MB is cut", async () => {
    await using h = await openCommandHarness();
    const script = `process.stdout.write(Buffer.from([0xff, 0xfe, 0x00, 0x0a])); process.stdout.write("y".repeat(10_000_000) + "\\nafter");`;
    const run = h.run(script);
    expect(await run.ended).toBeUndefined();
    const [binary, long, after] = run.logs.map(([, msg]) => msg);
    expect([binary, after, run.logs.length]).toEqual(["\ufffd\ufffd\0", "after", 3]);
    expect(Buffer.byteLength(long ?? "")).toBeLessThanOrEqual(16_384);
    expect(long).toMatch(/^y{16000,}… \(cut\)$/);
  });

  test("a result of 256 KiB is taken, and one that a double cannot hold is kept exactly", async () => {
    await using h = await openCommandHarness();
    const run = h.run(`console.log('::result "' + "x".repeat(262_142) + '"')`);
    expect(await run.ended).toHaveLength(262_142);
    const resolved = await resolveCommand(
      { command: [node, "-e", "console.log('::result 12345678901234567890')"] },
      {},
    );
    const runner = createExecRunner({ controller: "c", command: resolved, commands: h.commands });
    const task = {
      taskId: "t",
      loadJsonMetadata: async () => "",
      getProgress: async () => undefined,
      setProgress: async () => {},
      addLogEntry: async () => {},
    };
    const context = { signal: new AbortController().signal, attempt: 1, runId: "r", fence: 1n };
    expect((await runner.onTaskRunning(task, context))?.text).toBe("12345678901234567890");
  });

  test("nothing is lost that is still to be read when it exits", async () => {
    await using h = await openCommandHarness();
    // Nothing is on disk before the command is gone: what does not wait for that waits to be taken, or in the pipe.
    let release = (): void => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    const script = `console.log(process.pid); for (let i = 0; i < 520; i += 1) console.log(i + " " + "x".repeat(1000))`;
    const run = h.run(script, { onEntry: () => released });
    await eventually(async () => {
      expect(run.logs.length).toBeGreaterThan(1);
      expect(await isRunning(Number(run.logs[0]?.[1]))).toBe(false);
    }, 15_000);
    expect(run.logs.length).toBeLessThan(520);
    release();
    await run.ended;
    expect(run.logs.slice(1).map(([, msg]) => msg.split(" ")[0])).toEqual(
      Array.from({ length: 520 }, (_, i) => String(i)),
    );
  });
});

describe("a command that ends", () => {
  test.each<[string, string, object]>([
    [
      "with another code than 0",
      "process.exit(3)",
      { message: "the command ended with exit code 3", details: { exit_code: "3" } },
    ],
    [
      "with an error that it names",
      "console.log('::error first'); console.log('::error disk is full'); process.exit(9)",
      { message: "disk is full", details: { exit_code: "9" } },
    ],
    [
      "with an error on its other stream",
      "console.error('::error disk is full'); process.exitCode = 1",
      { message: "disk is full", details: { exit_code: "1" } },
    ],
    [
      "with a result, but not with 0",
      "console.log('::result 1'); process.exit(1)",
      { message: "the command ended with exit code 1" },
    ],
    [
      "by a signal",
      "process.kill(process.pid, 'SIGKILL')",
      { message: "the command was ended by SIGKILL", details: { signal: "SIGKILL" } },
    ],
    [
      "by a SIGTERM that is not ours",
      "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000)",
      { message: "the command was ended by SIGTERM", details: { signal: "SIGTERM" } },
    ],
  ])("%s fails its task", async (_, script, taskError) => {
    await using h = await openCommandHarness();
    expect((await h.run(script).failure()).taskError).toMatchObject({
      code: Code.UNKNOWN,
      reason: "EXIT_CODE",
      ...taskError,
    });
  });

  test("with 0 completes its task, with a result or without; an error it named is in the log", async () => {
    await using h = await openCommandHarness();
    expect(await h.run("").ended).toBeUndefined();
    const run = h.run("console.log('::error not so bad'); console.log('::result null')");
    expect(await run.ended).toBeNull();
    expect(run.logs).toEqual([[8, "not so bad"]]);
  });

  test("without having read what it was told is no failure", async () => {
    await using h = await openCommandHarness();
    const metadata = { text: "x".repeat(250_000) };
    for (let i = 0; i < 5; i += 1) expect(await h.run(["true"], { metadata }).ended).toBeUndefined();
    expect(await h.run("require('fs').closeSync(0); setTimeout(() => {}, 50)", { metadata }).ended).toBeUndefined();
  });
});

describe("a command that cannot be started fails its task and says why", () => {
  test("because of an argument that is too long", async () => {
    await using h = await openCommandHarness();
    const run = h.run([node, "-e", "", "--", `\${metadata.text}`], { metadata: { text: "x".repeat(1024 * 1024) } });
    expect((await run.failure()).taskError).toMatchObject({
      code: Code.INVALID_ARGUMENT,
      reason: "RUNNER_ERROR",
      message: `the command ${node} cannot be started: its arguments and environment are larger than the system allows`,
      details: { errno: "E2BIG" },
    });
  });

  test.each<[string, RegExp, object]>([
    ["is gone", /tool cannot be started: it is not there, or what interprets it is not$/, { errno: "ENOENT" }],
    ["may not be executed", /tool cannot be started: permission denied$/, { errno: "EACCES" }],
    [
      "has lost its interpreter",
      /tool cannot be started: it is not there, or what interprets it is not$/,
      { errno: "ENOENT" },
    ],
    ["has lost its directory", /tool cannot be started: its working directory \/.* is not there$/, { errno: "ENOENT" }],
  ])("because it %s", async (what, message, details) => {
    await using h = await openCommandHarness();
    const tool = join(h.directory, "tool");
    const cwd = join(h.directory, "cwd");
    await mkdir(cwd);
    await writeFile(tool, what === "has lost its interpreter" ? "#!/nowhere/sh\n" : "#!/bin/sh\n", { mode: 0o755 });
    const command = await resolveCommand({ command: [tool], cwd }, {});
    if (what === "is gone") await rm(tool);
    if (what === "may not be executed") await chmod(tool, 0o644);
    if (what === "has lost its directory") await rm(cwd, { recursive: true });
    const runner = createExecRunner({ controller: "c", command, commands: h.commands });
    const task = {
      taskId: "t",
      loadJsonMetadata: async () => "",
      getProgress: async () => undefined,
      setProgress: async () => {},
      addLogEntry: async () => {},
    };
    const context = { signal: new AbortController().signal, attempt: 1, runId: "r", fence: 1n };
    const error: unknown = await runner.onTaskRunning(task, context).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      taskError: {
        code: Code.FAILED_PRECONDITION,
        reason: "RUNNER_ERROR",
        message: expect.stringMatching(message),
        details,
      },
    });
    expect(await readdir(join(h.directory, "commands"))).toEqual(["owner"]);
  });

  test("because of what would be filled in, before anything is started", async () => {
    await using h = await openCommandHarness();
    for (const [path, message] of [
      ["-rf", /begins with "-"/],
      ["a\0b", /NUL/],
      [undefined, /metadata.path is missing/],
    ] as const) {
      const failure = await h
        .run([node, "-e", showArguments, "--", `\${metadata.path}`], { metadata: { path } })
        .failure();
      expect(failure.taskError).toMatchObject({
        code: Code.INVALID_ARGUMENT,
        reason: "RUNNER_ERROR",
        message: expect.stringMatching(message),
      });
    }
  });
});
