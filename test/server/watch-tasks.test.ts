/** WatchTasks on a whole server: over its controllers, its stops and its starts. */
import { resolve } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import {
  TaskControllerService,
  type WatchTasksRequestSchema,
  type WatchTasksResponse,
} from "#gen/stint/v1/controller_pb.js";
import { startServer } from "../../src/server/start-server.ts";
import { taskKey } from "../../src/store/keys.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { Interrupted } from "../../src/cli/io.ts";
import { runProgram } from "../../src/cli/program.ts";
import { createFakeIo } from "../cli/support/fake-io.ts";
import { readError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const runner = { module: resolve("examples/runners/countdown.ts") };
const controllers = ["first", "second"].map((name) => ({ name, runner }));

async function start(dataDir: string, port = 0) {
  const server = await startServer({ listen: `127.0.0.1:${port}`, controllers, dataDir });
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${server.address}` }));
  const launch = (controller: string, taskId: string, limit: number) =>
    client.launchTask({
      controller,
      taskId,
      payload: { case: "jsonMetadata", value: JSON.stringify({ limit, intervalMs: 20 }) },
    });
  return { server, client, launch, [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }) };
}

type Started = Awaited<ReturnType<typeof start>>;

function collect({ client }: Started, request: MessageInitShape<typeof WatchTasksRequestSchema> = {}) {
  const changes: WatchTasksResponse[] = [];
  const over = (async () => {
    for await (const change of client.watchTasks(request)) changes.push(change);
  })();
  return { changes, over: over.then(() => undefined, ConnectError.from) };
}

/** What came of a task, as its states without repeats. */
function statesOf(changes: readonly WatchTasksResponse[], taskId: string): number[] {
  const states = changes.filter((change) => change.taskId === taskId).map(({ status }) => status?.state ?? -1);
  return states.filter((state, i) => state !== states[i - 1]);
}

test("all controllers are watched at once, over a restart of the server, each change once and in order", async () => {
  await using scratch = await makeScratchDirectory();
  const seen: WatchTasksResponse[] = [];
  {
    await using started = await start(scratch.path);
    await started.launch("first", "ended", 1);
    await eventually(async () => {
      const { status } = await started.client.getTaskStatus({ controller: "first", taskId: "ended" });
      expect(status?.state).toBe(StateCompleted);
    });
    const { changes, over } = collect(started);
    await eventually(() => expect(changes.at(-1)?.bookmark).toBe(true));
    expect(changes.map(({ controller, taskId }) => [controller, taskId])).toEqual([
      ["first", "ended"],
      ["", ""],
    ]);
    await started.launch("second", "b", 1_000);
    await started.launch("first", "a", 1_000);
    await eventually(() => expect(statesOf(changes, "a")).toEqual([1, 2]));
    await started.server.close();
    const error = await over;
    expect(error && readError(error)).toMatchObject({
      code: "Unavailable",
      reason: "DRAINING",
      metadata: { since_revision: String(changes.at(-1)?.revision) },
    });
    seen.push(...changes);
  }
  await using started = await start(scratch.path);
  const { changes } = collect(started, { sinceRevision: seen.at(-1)?.revision ?? 0n });
  // Canceled before it is Running it would never be.
  await eventually(() => {
    for (const taskId of ["a", "b"]) expect(statesOf(changes, taskId).at(-1)).toBe(2);
  });
  await started.client.cancelTask({ controller: "first", taskId: "a" });
  await started.client.cancelTask({ controller: "second", taskId: "b" });
  await eventually(() => {
    expect(statesOf(changes, "a").at(-1)).toBe(6);
    expect(statesOf(changes, "b").at(-1)).toBe(6);
  });
  seen.push(...changes.slice(1));
  expect(statesOf(seen, "a")).toEqual([1, 2, 1, 2, 6]);
  expect(statesOf(seen, "b")).toEqual([1, 2, 1, 2, 6]);
  const revisions = seen.slice(2).map(({ revision }) => revision);
  expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => (a < b ? -1 : 1)));
});

test("one controller is watched, by state; an unknown one is NOT_FOUND", async () => {
  await using scratch = await makeScratchDirectory();
  await using started = await start(scratch.path);
  await started.launch("first", "a", 2);
  await started.launch("second", "b", 2);
  const { changes } = collect(started, { controller: "second", states: [StateRunning], sinceRevision: 1n });
  await eventually(() => expect(changes.at(-1)?.left).toBe(true));
  expect(new Set(changes.map(({ taskId }) => taskId))).toEqual(new Set(["", "b"]));
  expect(changes.at(-1)?.status?.state).toBe(StateCompleted);
  const { over } = collect(started, { controller: "third" });
  expect((await over)?.code).toBe(Code.NotFound);
});

test("the command line watches all tasks of a controller, over a restart of the server, and prints each line once", {
  timeout: 120_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const io = createFakeIo();
  let over: Promise<number> | undefined;
  let port = 0;
  {
    await using started = await start(scratch.path);
    ({ port } = started.server);
    await started.launch("first", "a", 100);
    await started.launch("second", "a", 1);
    over = runProgram(["watch", "first", "--server", `127.0.0.1:${port}`], io);
    await eventually(() => expect(io.stdout.text).toMatch(/ first\/a [3-9]\/100/), 30_000);
  }
  await using again = await start(scratch.path, port);
  await again.launch("first", "b", 2);
  await eventually(() => expect(io.stdout.text).toMatch(/ first\/a Completed 100\/100/), 30_000);
  await eventually(() => expect(io.stdout.text).toMatch(/ first\/b Completed 2\/2/), 30_000);
  io.interrupt(new Interrupted("SIGINT"));
  expect(await over).toBe(130);
  expect(io.stderr.text).toContain("Connected again.");
  const lines = io.stdout.lines;
  expect(new Set(lines).size).toBe(lines.length);
  expect(lines.filter((line) => !line.includes(" first/"))).toEqual([]);
  const states = lines.flatMap((line) => / first\/a ([A-Z]\w+)/.exec(line)?.[1] ?? []);
  expect(states.slice(-4)).toEqual(["Running", "Pending", "Running", "Completed"]);
});

test("however many watch all controllers, nothing is taken for a leak", async () => {
  await using scratch = await makeScratchDirectory();
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): void => void warnings.push(message);
  process.on("warning", onWarning);
  {
    await using started = await start(scratch.path);
    const watching = Array.from({ length: 12 }, () => collect(started, {}));
    await eventually(async () => {
      for (const { changes } of watching) expect(changes).toHaveLength(1);
    });
  }
  process.off("warning", onWarning);
  expect(warnings).toEqual([]);
});

test("tasks that are damaged are left out of a watch of all, and each is counted once by its own controller", async () => {
  await using scratch = await makeScratchDirectory();
  {
    await using started = await start(scratch.path);
    for (const { name } of controllers) await started.launch(name, "a", 1);
    await started.launch("first", "b", 1);
  }
  {
    const store = await openLevelStore(scratch.path);
    for (const { name } of controllers)
      await store.commit([{ type: "put", key: taskKey(name, "a"), value: Buffer.from("no task") }]);
    await store.close();
  }
  await using started = await start(scratch.path);
  for (let i = 0; i < 3; i += 1) {
    const changes: string[] = [];
    for await (const { bookmark, taskId } of started.client.watchTasks({})) {
      if (bookmark) break;
      changes.push(taskId);
    }
    expect(changes.filter((taskId) => taskId === "a")).toEqual([]);
    expect(changes).toContain("b");
  }
  const { faults } = await started.client.getServerInfo({});
  expect(faults["tasks_quarantined"]).toBe(2n);
});
