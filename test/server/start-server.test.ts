import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { RunnerKind, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { faultKinds } from "../../src/faults.ts";
import { resolveServerOptions, type ServerOptions } from "../../src/server/options.ts";
import { startServer } from "../../src/server/start-server.ts";
import { StateCompleted, StateFailed, StatePending, StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const countdown = { name: "countdown", runner: { module: resolve("examples/runners/countdown.ts") } };

async function start(options: ServerOptions = {}) {
  const store = options.dataDir === undefined ? { store: "memory:" } : {};
  const server = await startServer({ listen: "127.0.0.1:0", controllers: [countdown], ...store, ...options });
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${server.address}` }));
  return { server, client, [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }) };
}

function launch(metadata: object) {
  return {
    controller: "countdown",
    taskId: "a",
    payload: { case: "jsonMetadata" as const, value: JSON.stringify(metadata) },
  };
}

describe("a server", () => {
  test("runs a task, and shows it from the launch to the end", async () => {
    await using started = await start();
    await started.client.launchTask(launch({ limit: 3, intervalMs: 1 }));
    const states: (number | undefined)[] = [];
    for await (const { status } of started.client.watchTask({ controller: "countdown", taskId: "a" })) {
      if (status !== undefined && states.at(-1) !== status.state) states.push(status.state);
    }
    expect(states.at(-1)).toBe(StateCompleted);
    const { status } = await started.client.getTaskStatus({ controller: "countdown", taskId: "a" });
    expect(status).toMatchObject({ state: StateCompleted, result: '{"counted":3}' });
    expect(status?.progress).toMatchObject({ current: 3n, total: 3n });
    expect(status?.logs.map((entry) => entry.msg)).toEqual(["step 1 of 3", "step 2 of 3", "step 3 of 3"]);
    expect(status?.transitions.map((transition) => transition.state)).toEqual([
      StatePending,
      StateRunning,
      StateCompleted,
    ]);
  });

  test("tells what it is", async () => {
    await using started = await start({ version: "1.2.3" });
    const info = await started.client.getServerInfo({});
    expect(info).toMatchObject({ version: "1.2.3", store: { kind: "memory", durability: "none" } });
    expect(info.limits).toMatchObject({ metadata_max_bytes: 262_144n, sessions_max: 1_024n, active_max: 10_000n });
    expect(info.features).toContain("watch-task");
    const { controllers } = await started.client.listControllers({});
    expect(controllers).toMatchObject([
      { name: "countdown", runnerKind: RunnerKind.MODULE, runnersConnected: 1, tasks: [] },
    ]);
  });

  test("without controllers serves", async () => {
    await using started = await start({ controllers: [] });
    const error = await callError(started.client.launchTask(launch({})));
    expect(error).toMatchObject({ code: "NotFound", message: 'there is no controller "countdown"; there are none' });
  });
});

test("GetServerInfo has every kind of fault, and counts what was refused", async () => {
  await using started = await start({ limits: { waitingMax: 1, activeMax: 1 } });
  const faults = async () => (await started.client.getServerInfo({})).faults;
  // On a machine that is too busy it may stand still.
  const none = Object.fromEntries(faultKinds.map((kind) => [kind, kind === "loop_stalls" ? expect.anything() : 0n]));
  expect(await faults()).toEqual(none);
  const launches = ["a", "b", "c"].map((taskId) =>
    started.client.launchTask({ ...launch({ limit: 1_000, intervalMs: 1_000 }), taskId }),
  );
  const refused = (await Promise.allSettled(launches)).filter(({ status }) => status === "rejected").length;
  expect(refused).toBeGreaterThan(0);
  expect(await faults()).toMatchObject({ calls_refused: BigInt(refused), internal_errors: 0n });
});

describe("the limits of a server", () => {
  test("are those that were set, for its controllers too, and the others their defaults", async () => {
    const limits = { metadataMaxBytes: 20, watchersMax: 1, unaryDeadlineMs: 86_400_000 };
    await using started = await start({ limits });
    const shown = (await started.client.getServerInfo({})).limits;
    expect(shown).toMatchObject({ metadata_max_bytes: 20n, watchers_max: 1n, unary_deadline_ms: 86_400_000n });
    expect(shown).toMatchObject({ sessions_per_ip_max: 64n, page_size_max: 1_000n, crashes_max: 3n });
    expect(await callError(started.client.launchTask(launch({ limit: 10_000_000_000 })))).toMatchObject({
      code: "InvalidArgument",
      descriptions: [expect.stringContaining("at most 20 bytes")],
    });
  });

  test.each([
    [{ sessionsMax: 0 }, "limits.sessionsMax must be a whole number from 1 to 2147483647"],
    [{ idleMaxMs: 86_400_001 }, "limits.idleMaxMs must be a whole number from 1 to 86400000"],
    [{ idMaxBytes: 64 }, "limits: there is no idMaxBytes"],
  ])("%j are refused", async (limits, message) => {
    await expect(start({ limits: limits as ServerOptions["limits"] })).rejects.toMatchObject({
      code: "OPTION",
      message,
    });
  });

  test("keep a part of the disk: launches are refused below it, and nothing else is", async () => {
    await using scratch = await makeScratchDirectory();
    await using started = await start({ dataDir: scratch.path, limits: { diskReserveBytes: Number.MAX_SAFE_INTEGER } });
    expect(await callError(started.client.launchTask(launch({})))).toMatchObject({
      code: "ResourceExhausted",
      reason: "LIMIT",
      retries: true,
      metadata: { limit: "disk_reserve_bytes" },
    });
    expect((await started.client.listTasks({ controller: "countdown" })).tasks).toEqual([]);
  });
});

describe("a server that is closed", () => {
  test("resumes its tasks when it is started again, and keeps what has ended", { timeout: 30_000 }, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "stint-server-"));
    {
      await using started = await start({ dataDir });
      await started.client.launchTask({ ...launch({ limit: 1, intervalMs: 0 }), taskId: "ended" });
      for await (const _ of started.client.watchTask({ controller: "countdown", taskId: "ended" }));
      await started.client.launchTask(launch({ limit: 1_000_000, intervalMs: 5 }));
      for await (const { status } of started.client.watchTask({ controller: "countdown", taskId: "a" })) {
        if ((status?.progress?.current ?? 0n) >= 3n) break;
      }
    }
    {
      await using started = await start({ dataDir });
      const ended = await started.client.getTaskStatus({ controller: "countdown", taskId: "ended" });
      expect(ended.status?.state).toBe(StateCompleted);
      const { status } = await started.client.getTaskStatus({ controller: "countdown", taskId: "a" });
      expect(status?.attempt).toBe(2);
      expect(status?.progress?.current).toBeGreaterThanOrEqual(3n);
    }
    await rm(dataDir, { recursive: true });
  });

  test("is closed once, in time, and says when it is closed", async () => {
    const started = await start();
    await started.client.launchTask(launch({ limit: 1_000_000, intervalMs: 5 }));
    const closing = started.server.close();
    expect(started.server.close()).toBe(closing);
    await closing;
    await started.server.closed;
    expect((await callError(started.client.getServerInfo({}))).code).toBe("Unavailable");
  });
});

describe("a server that cannot start says why, and leaves nothing open", () => {
  test("because of the port", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    await expect(start({ listen: `127.0.0.1:${port}` })).rejects.toMatchObject({
      code: "LISTEN",
      message: `cannot listen on 127.0.0.1:${port}: something else listens there`,
    });
    taken.close();
  });

  test("because of a runner", async () => {
    const controllers = [{ name: "a", runner: { module: "/nowhere/a.ts" } }];
    await expect(start({ controllers })).rejects.toMatchObject({ code: "RUNNER" });
  });

  test("because of the store", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "stint-server-"));
    const first = await start({ dataDir, pid: 1 });
    const said: string[] = [];
    const say = (_: object, message: string): void => void said.push(message);
    const log = { debug: say, info: say, warn: say, error: say };
    await expect(start({ dataDir, log, pid: 2 })).rejects.toMatchObject({ code: "LOCKED" });
    expect(said, "of a server that never was up").toEqual([]);
    expect(await readFile(join(dataDir, "server.pid"), "utf8"), "the first server's").toBe("1\n");
    await first.server.close();
    await expect(readFile(join(dataDir, "server.pid"))).rejects.toMatchObject({ code: "ENOENT" });
    await (await start({ dataDir })).server.close();
    await rm(dataDir, { recursive: true });
  });

  test("because of an option", async () => {
    await expect(start({ listen: "0.0.0.0:0" })).rejects.toMatchObject({ code: "OPTION" });
    await expect(start({ controllers: [countdown, countdown] })).rejects.toMatchObject({ code: "OPTION" });
    await expect(start({ retentionHours: -1 })).rejects.toMatchObject({ code: "OPTION" });
    await expect(start({ historyHours: 1e300 })).rejects.toMatchObject({ code: "OPTION" });
  });
});

test.each([0.57, 1.1, 0.07, 0.14, 1e-300, 1_000_000])("a server starts with historyHours %d", async (historyHours) => {
  await using scratch = await makeScratchDirectory();
  await using _ = await start({ dataDir: scratch.path, historyHours });
});

test("times are whole milliseconds, and at least one where none would be none", () => {
  const times = { retentionHours: 0.57, pendingTimeoutSeconds: 0.0001, runningTimeoutSeconds: 4.35 };
  const { historyMs, afterEndMs, controllers } = resolveServerOptions({
    historyHours: 1e-300,
    retentionHours: 0.07,
    controllers: [{ ...countdown, ...times }],
  });
  expect([historyMs, afterEndMs]).toEqual([1, 252_000]);
  expect(controllers).toMatchObject([{ afterEndMs: 2_052_000, pendingTimeoutMs: 1, runningTimeoutMs: 4_350 }]);
});

test("a task that fails says why", async () => {
  await using started = await start();
  await started.client.launchTask(launch({ limit: 3, intervalMs: 0, failAt: 2 }));
  for await (const _ of started.client.watchTask({ controller: "countdown", taskId: "a" }));
  const { status } = await started.client.getTaskStatus({ controller: "countdown", taskId: "a" });
  expect(status).toMatchObject({ state: StateFailed, progress: { current: 1n } });
  expect(status?.error?.message).toContain("failed at step 2");
});
