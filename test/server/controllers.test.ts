import { resolve } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { RunnerKind, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { openStore } from "../../src/store/open.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { startServer } from "../../src/server/start-server.ts";
import { StateCanceled, StateCompleted, StatePending } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const runner = { module: resolve("examples/runners/countdown.ts") };
const [one, two] = ["one", "two"].map((name) => ({ name, runner }));

/** A directory for servers that come one after the other. */
async function openDirectory() {
  const { path: dataDir, ...scratch } = await makeScratchDirectory();
  return {
    dataDir,
    async start(controllers: ServerOptions["controllers"]) {
      const server = await startServer({ listen: "127.0.0.1:0", dataDir, controllers, runnerGraceMs: 500 });
      const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${server.address}` }));
      return { server, client, [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }) };
    },
    ...scratch,
  };
}

type Client = Awaited<ReturnType<Awaited<ReturnType<typeof openDirectory>>["start"]>>["client"];

function launch(client: Client, controller: string, taskId: string, metadata: object) {
  const payload = { case: "jsonMetadata" as const, value: JSON.stringify(metadata) };
  return client.launchTask({ controller, taskId, payload, labels: { l: "1" }, requestId: `${controller}-${taskId}` });
}

async function listed(client: Client) {
  const { controllers } = await client.listControllers({});
  return controllers.map(({ name, runnerKind, runnersConnected, tasks }) => ({
    name,
    runnerKind,
    runnersConnected,
    tasks: tasks.map(({ state, count }) => `${state}:${count}`).join(" "),
  }));
}

test("a controller that the configuration no longer names keeps its tasks until they are gone, and is forgotten then", {
  timeout: 60_000,
}, async () => {
  await using directory = await openDirectory();
  {
    await using started = await directory.start([one!, two!]);
    await launch(started.client, "two", "ended", { limit: 1, intervalMs: 0 });
    await started.client.waitTask({ controller: "two", taskId: "ended" });
    await launch(started.client, "two", "long", { limit: 1_000_000, intervalMs: 5 });
    for (const controller of ["one", "two"]) {
      expect(await callError(started.client.deleteController({ controller }))).toMatchObject({
        code: "FailedPrecondition",
        message: expect.stringContaining("the configuration names") as unknown,
      });
    }
  }
  {
    await using started = await directory.start([one!]);
    const { client } = started;
    expect(started.server.controllers).toEqual(["one"]);
    expect(await listed(client)).toEqual([
      { name: "one", runnerKind: RunnerKind.MODULE, runnersConnected: 1, tasks: "" },
      { name: "two", runnerKind: RunnerKind.MODULE, runnersConnected: 0, tasks: "1:1 3:1" },
    ]);
    expect(await callError(launch(client, "two", "new", {}))).toMatchObject({
      code: "FailedPrecondition",
      message: expect.stringContaining('no longer names the controller "two"') as unknown,
    });
    const long = { controller: "two", taskId: "long" };
    const { status } = await client.getTaskStatus(long);
    expect(status).toMatchObject({ state: StatePending, attempt: 2 });
    expect(status?.waitingFor).toContain("no longer names");
    expect((await client.waitTask({ controller: "two", taskId: "ended" })).status?.state).toBe(StateCompleted);
    expect((await client.waitTask({ ...long, timeout: {} })).done).toBe(false);

    expect(await callError(client.deleteController({ controller: "two" }))).toMatchObject({
      code: "FailedPrecondition",
      message: expect.stringContaining("has tasks") as unknown,
    });
    expect((await client.cancelTask(long)).status?.state).toBe(StateCanceled);
    for (const taskId of ["long", "ended"]) await client.deleteTask({ controller: "two", taskId });
    await client.deleteController({ controller: "two" });
    expect((await listed(client)).map(({ name }) => name)).toEqual(["one"]);
    const gone = { code: "NotFound", resource: "controller two" };
    expect(await callError(client.deleteController({ controller: "two" }))).toMatchObject(gone);
    expect(await callError(client.listTasks({ controller: "two" }))).toMatchObject(gone);
  }
  const store = await openStore(`level:${directory.dataDir}`);
  const left = (await store.scan({ prefix: "/", limit: 1_000 })).map((entry) => entry.key);
  await store.close();
  // Counters are all at zero, and cannot be removed.
  expect(left.filter((key) => key.includes("/two") && !key.startsWith("/counts/two/"))).toEqual([]);
  {
    await using started = await directory.start([one!, two!]);
    expect((await listed(started.client)).map(({ name, tasks }) => [name, tasks])).toEqual([
      ["one", ""],
      ["two", ""],
    ]);
    await launch(started.client, "two", "ended", { limit: 1, intervalMs: 0 });
    expect((await started.client.waitTask({ controller: "two", taskId: "ended" })).done).toBe(true);
  }
});

test("a controller that is named again goes on with its tasks", { timeout: 60_000 }, async () => {
  await using directory = await openDirectory();
  {
    await using started = await directory.start([one!]);
    await launch(started.client, "one", "a", { limit: 100, intervalMs: 5 });
    for await (const { status } of started.client.watchTask({ controller: "one", taskId: "a" }))
      if ((status?.progress?.current ?? 0n) >= 3n) break;
  }
  {
    await using started = await directory.start([]);
    const { status } = await started.client.getTaskStatus({ controller: "one", taskId: "a" });
    expect(status?.state).toBe(StatePending);
  }
  await using started = await directory.start([one!]);
  const { status, done } = await started.client.waitTask({ controller: "one", taskId: "a" });
  expect([done, status?.state, status?.result]).toEqual([true, StateCompleted, '{"counted":100}']);
});

test("a bad name is no controller to be forgotten, and names its field", async () => {
  await using directory = await openDirectory();
  await using started = await directory.start([]);
  for (const controller of ["", "X", "a/b"]) {
    expect(await callError(started.client.deleteController({ controller }))).toMatchObject({
      code: "InvalidArgument",
      fields: ["controller"],
    });
  }
});
