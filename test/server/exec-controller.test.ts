/** Commands as tasks of a server: from the configuration to the status. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { RunnerKind, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import type { ControllerConfig } from "../../src/server/config.ts";
import { loadConfig } from "../../src/server/load-config.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { startServer } from "../../src/server/start-server.ts";
import { StateCanceled, StateCompleted, StateFailed, StateRunning } from "../../src/task/state.ts";
import { isRunning, node, numberIn } from "../support/command-harness.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

type Command = NonNullable<ControllerConfig["runner"]["exec"]>["command"];

const floodBytes = Number(process.env["EXEC_FLOOD_BYTES"] ?? 4_000_000);

async function start(command: Command, options: ServerOptions & Partial<ControllerConfig> = {}) {
  const { concurrency, runningTimeoutSeconds, logMaxEntries, logMaxBytes, ...rest } = options;
  const own = { concurrency, runningTimeoutSeconds, logMaxEntries, logMaxBytes };
  const controllers = [{ name: "exec", runner: { exec: { command } }, ...own }];
  const store = rest.dataDir === undefined ? { store: "memory:" } : {};
  const server = await startServer({ listen: "127.0.0.1:0", controllers, env: process.env, ...store, ...rest });
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${server.address}` }));
  const status = async (taskId: string) => (await client.getTaskStatus({ controller: "exec", taskId })).status;
  return {
    client,
    server,
    launch: (taskId: string, metadata: object = {}) =>
      client.launchTask({
        controller: "exec",
        taskId,
        payload: { case: "jsonMetadata", value: JSON.stringify(metadata) },
      }),
    status,
    async end(taskId: string) {
      for await (const _ of client.watchTask({ controller: "exec", taskId }));
      return status(taskId);
    },
    [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }),
  };
}

describe("a controller with a command", () => {
  test("runs it for each task, and is shown as what it is", async () => {
    await using served = await start([
      node,
      "-e",
      "console.log('hello'); console.log('::progress 1/1'); console.log('::result ' + process.argv[1])",
      "--",
      `[\${metadata.n}]`,
    ]);
    await served.launch("a", { n: 7 });
    expect(await served.end("a")).toMatchObject({
      state: StateCompleted,
      result: "[7]",
      progress: { current: 1n, total: 1n },
      logs: [{ msg: "hello", level: 0 }],
    });
    const { controllers } = await served.client.listControllers({});
    expect(controllers).toMatchObject([{ name: "exec", runnerKind: RunnerKind.EXEC, runnersConnected: 1 }]);
  });

  test("fails a task whose metadata it cannot use, before it is Running", async () => {
    await using served = await start([node, "-e", "", "--", `\${metadata.path}`]);
    await served.launch("a", { path: "--eval=1" });
    const status = await served.end("a");
    expect(status).toMatchObject({
      state: StateFailed,
      error: {
        code: 3,
        reason: "RUNNER_ERROR",
        message: expect.stringContaining("metadata.path begins with") as unknown,
      },
    });
    expect(status?.startTime).toBeUndefined();
  });

  test("fails a task by the exit code", async () => {
    await using served = await start(["sh", "-c", "echo '::error no disk'; exit 4"]);
    await served.launch("a");
    expect(await served.end("a")).toMatchObject({
      state: StateFailed,
      error: { code: 2, reason: "EXIT_CODE", message: "no disk", details: { exit_code: "4" } },
    });
  });

  test("ends a command that runs longer than it may, and fails its task", async () => {
    await using served = await start(["sh", "-c", "sleep 1000"], { runningTimeoutSeconds: 0.2 });
    await served.launch("a");
    expect(await served.end("a")).toMatchObject({
      state: StateFailed,
      error: {
        code: 4,
        reason: "TIMEOUT",
        message: "the running phase took longer than 200 ms, and was told to stop",
      },
    });
  });

  test.each([
    ["of entries", { logMaxEntries: 20, limits: { logMaxEntries: 1_000 } }],
    ["of bytes", { logMaxBytes: 80, limits: { logMaxBytes: 100_000 } }],
  ])("keeps as much %s of a log as it says itself, whatever the server's limit is", async (_, options) => {
    await using served = await start(["sh", "-c", "seq 1000 1299"], options);
    await served.launch("a");
    const status = await served.end("a");
    const { entries } = await served.client.listTaskLogs({ controller: "exec", taskId: "a", pageSize: 1_000 });
    expect(status).toMatchObject({ state: StateCompleted, logCount: 300n });
    expect(entries.length).toBeGreaterThan(0);
    expect(entries.length).toBeLessThanOrEqual(20);
    expect(entries.at(-1)?.msg).toBe("1299");
  });

  test("runs no more commands at a time than tasks may be active, where it says nothing else", async () => {
    await using served = await start(["true"], { limits: { activeMax: 2 } });
    await Promise.all(["a", "b", "c"].map((id) => served.launch(id)));
    for (const id of ["a", "b", "c"]) expect(await served.end(id)).toMatchObject({ state: StateCompleted });
  });

  test("cancels a task by ending all of its processes", async () => {
    await using scratch = await makeScratchDirectory();
    const file = join(scratch.path, "pid");
    await using served = await start([
      "sh",
      "-c",
      `sh -c 'echo $$ >"$1"; sleep 1000; true' sh "$1" & wait`,
      "sh",
      `\${metadata.file}`,
    ]);
    await served.launch("a", { file });
    const pid = await numberIn(file);
    const { stage } = await served.client.cancelTask({ controller: "exec", taskId: "a", wait: { seconds: 10n } });
    expect(stage).toBeGreaterThan(0);
    expect((await served.end("a"))?.state).toBe(StateCanceled);
    expect(await isRunning(pid)).toBe(false);
  });

  test("runs 40 tasks at a time", { timeout: 60_000 }, async () => {
    await using scratch = await makeScratchDirectory();
    // Each waits until all are there: fewer at a time would wait for ever.
    const script = `const fs = require("fs"); const [dir, name] = process.argv.slice(1); fs.writeFileSync(dir + "/" + name, "");
      const until = () => (fs.readdirSync(dir).length >= 40 ? console.log("::result " + process.env.STINT_ATTEMPT) : setTimeout(until, 50)); until();`;
    await using served = await start([node, "-e", script, "--", `\${metadata.dir}`, `n\${metadata.n}`], {
      concurrency: 40,
    });
    const ids = Array.from({ length: 40 }, (_, n) => `task-${n}`);
    await Promise.all(ids.map((id, n) => served.launch(id, { dir: scratch.path, n })));
    const ends = await Promise.all(ids.map((id) => served.end(id)));
    expect(ends.map((status) => [status?.state, status?.result])).toEqual(ids.map(() => [StateCompleted, "1"]));
  });

  test(`takes ${floodBytes} bytes of output in bounded memory, and keeps the newest entries`, {
    timeout: 60_000 + floodBytes / 250,
  }, async () => {
    await using scratch = await makeScratchDirectory();
    const script = `const line = "x".repeat(99) + "\\n"; let left = Number(process.argv[1]); const more = () => { let ok = true;
      while (ok && left > 0) { ok = process.stdout.write(line.repeat(100)); left -= 10000; } if (left > 0) process.stdout.once("drain", more); }; more();`;
    await using served = await start([node, "-e", script, "--", `\${metadata.bytes}`], {
      dataDir: join(scratch.path, "data"),
    });
    await served.launch("warm-up", { bytes: 1_000_000 });
    await served.end("warm-up");
    let most = 0;
    const before = process.memoryUsage().rss;
    const sampling = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20);
    await served.launch("flood", { bytes: floodBytes });
    const status = await served.end("flood");
    clearInterval(sampling);
    expect(status?.state).toBe(StateCompleted);
    expect(Number(status?.logCount)).toBe(Math.ceil(floodBytes / 10_000) * 100);
    expect(Number((status?.logCount ?? 0n) - (status?.logsDropped ?? 0n))).toBeLessThanOrEqual(10_000);
    if (process.env["EXEC_FLOOD_BYTES"]) console.log(`rss ${before} before, ${most} at most`);
    expect(most - before).toBeLessThan(256 * 1024 * 1024);
  });
});

describe("a server that stops", () => {
  test("leaves no command running, and runs its tasks anew when it is started again, with what they had done", async () => {
    await using scratch = await makeScratchDirectory();
    const dataDir = join(scratch.path, "data");
    const file = join(scratch.path, "pid");
    const script = `echo $$ >"$1"; [ "$STINT_ATTEMPT" = 2 ] && { echo "::result \\"$STINT_PROGRESS\\""; exit; }; echo "::progress 3/10"; trap "" TERM; while :; do sleep 0.1; done`;
    const command: Command = ["sh", "-c", script, "sh", `\${metadata.file}`];
    {
      await using served = await start(command, { dataDir });
      await served.launch("a", { file });
      await eventually(async () => expect((await served.status("a"))?.progress?.current).toBe(3n), 20_000);
    }
    expect(await isRunning(await numberIn(file))).toBe(false);
    {
      await using served = await start(command, { dataDir });
      expect(await served.end("a")).toMatchObject({ state: StateCompleted, attempt: 2, result: '"3/10"' });
    }
  });
});

describe("a server does not start", () => {
  test.each<[string, Command, RegExp]>([
    [
      "without the program",
      ["no-such-program-anywhere"],
      /^the controller "exec" cannot run its tasks: there is no command "no-such-program-anywhere" in PATH/,
    ],
    ["with a placeholder that is none", ["sh", `\${HOME}`], /is no placeholder/],
  ])("%s", async (_, command, message) => {
    await expect(start(command)).rejects.toMatchObject({
      code: "RUNNER",
      message: expect.stringMatching(message) as unknown,
    });
  });

  test("without a runner", async () => {
    const controllers = [{ name: "none", runner: {} }];
    await expect(startServer({ listen: "127.0.0.1:0", store: "memory:", controllers })).rejects.toMatchObject({
      code: "RUNNER",
    });
  });

  test("before what is left of its commands has ended", async () => {
    await using scratch = await makeScratchDirectory();
    const dataDir = join(scratch.path, "data");
    await (await start(["true"], { dataDir }))[Symbol.asyncDispose]();
    await writeFile(join(dataDir, "commands", "0000-begun"), "");
    await (await start(["true"], { dataDir }))[Symbol.asyncDispose]();
  });
});

test("a program and a directory in a configuration are relative to its file", async () => {
  await using scratch = await makeScratchDirectory();
  const file = join(scratch.path, "stint.yaml");
  await writeFile(
    file,
    JSON.stringify({
      controllers: [
        { name: "a", runner: { exec: { command: ["bin/x", "./y", `\${metadata.z}`], cwd: ".." } } },
        { name: "b", runner: { exec: { command: ["tar"], env: { A: "b" }, passEnv: ["C"] } } },
      ],
    }),
  );
  expect((await loadConfig(file)).controllers).toEqual([
    {
      name: "a",
      runner: {
        exec: { command: [join(scratch.path, "bin/x"), "./y", `\${metadata.z}`], cwd: join(scratch.path, "..") },
      },
    },
    { name: "b", runner: { exec: { command: ["tar"], env: { A: "b" }, passEnv: ["C"] } } },
  ]);
});

test("the state of a command that runs is Running", async () => {
  await using served = await start(["sleep", "1000"]);
  await served.launch("a");
  await eventually(async () => expect((await served.status("a"))?.state).toBe(StateRunning));
});
