/** The calls of TaskControllerService, one after the other, against a server with real runners. */
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { CancelStage, LaunchOutcome, TaskControllerService, TaskOrder } from "#gen/stint/v1/controller_pb.js";
import { startServer } from "../../src/server/start-server.ts";
import { StateCanceled, StateCompleted, StateFailed, StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const countdown = { name: "countdown", runner: { module: resolve("examples/runners/countdown.ts") } };

async function start() {
  const directory = await makeScratchDirectory();
  const module = join(directory.path, "stubborn.mjs");
  await writeFile(module, "export const runner = { onTaskRunning: () => new Promise(() => {}) };\n");
  const server = await startServer({
    listen: "127.0.0.1:0",
    store: "memory:",
    controllers: [countdown, { name: "stubborn", runner: { module } }],
    runnerGraceMs: 100,
  });
  const baseUrl = `http://${server.address}`;
  return {
    grpc: createClient(TaskControllerService, createGrpcTransport({ baseUrl })),
    json: createClient(TaskControllerService, createConnectTransport({ baseUrl, httpVersion: "1.1" })),
    async [Symbol.asyncDispose]() {
      await server.close({ graceMs: 0 });
      await directory[Symbol.asyncDispose]();
    },
  };
}

function launchOf(taskId: string, metadata: object, labels: Record<string, string> = {}) {
  const payload = { case: "jsonMetadata" as const, value: JSON.stringify(metadata) };
  return { controller: "countdown", taskId, payload, labels };
}

test("a page token is of one list: of a controller, a task, and what was asked for", async () => {
  await using started = await start();
  const { grpc } = started;
  for (const taskId of ["a", "b"]) await grpc.launchTask(launchOf(taskId, { limit: 3, intervalMs: 0 }));
  for (const taskId of ["a", "b"]) while (!(await grpc.waitTask({ controller: "countdown", taskId })).done);
  const list = { controller: "countdown", pageSize: 1 };
  const { nextPageToken: pageToken } = await grpc.listTasks(list);
  expect((await grpc.listTasks({ ...list, pageToken })).tasks.map(({ taskId }) => taskId)).toEqual(["b"]);
  const logs = { ...list, taskId: "a" };
  const { nextPageToken: logToken } = await grpc.listTaskLogs(logs);
  expect((await grpc.listTaskLogs({ ...logs, pageToken: logToken })).entries).toHaveLength(1);
  const others = [
    grpc.listTasks({ ...list, controller: "stubborn", pageToken }),
    grpc.listTasks({ ...list, orderBy: TaskOrder.NEWEST, pageToken }),
    grpc.listTasks({ ...list, pageToken: logToken }),
    grpc.listTaskLogs({ ...logs, taskId: "b", pageToken: logToken }),
    grpc.listTaskLogs({ ...logs, minLevel: 0, pageToken: logToken }),
  ];
  const errors = await Promise.all(others.map(callError));
  expect(errors.map(({ code, fields }) => [code, ...fields])).toEqual(
    others.map(() => ["InvalidArgument", "page_token"]),
  );
});

describe.each(["grpc", "json"] as const)("over %s", (protocol) => {
  test("tasks are launched together, waited for, listed, their logs read page by page, and deleted", async () => {
    await using started = await start();
    const client = started[protocol];
    const requests = [
      launchOf("a-1", { limit: 5, intervalMs: 0 }, { kind: "good" }),
      launchOf("a-2", { limit: 3, intervalMs: 0, failAt: 2 }, { kind: "bad" }),
      launchOf("b-1", { limit: 1, intervalMs: 0 }, { kind: "good" }),
    ];
    const { results } = await client.batchLaunchTasks({ requests });
    const outcomes = results.map(({ result }) => (result.case === "launched" ? result.value.outcome : undefined));
    expect(outcomes).toEqual(Array(3).fill(LaunchOutcome.LAUNCHED));
    const states: (number | undefined)[] = [];
    for (const { taskId } of requests) {
      const { done, status } = await client.waitTask({ controller: "countdown", taskId });
      states.push(done ? status?.state : undefined);
    }
    expect(states).toEqual([StateCompleted, StateFailed, StateCompleted]);

    const list = async (options: object): Promise<string[]> =>
      (await client.listTasks({ controller: "countdown", ...options })).tasks.map((task) => task.taskId);
    expect(await list({ labels: { kind: "good" }, idPrefix: "a" })).toEqual(["a-1"]);
    expect(await list({ states: [StateCompleted], orderBy: TaskOrder.NEWEST })).toHaveLength(2);
    expect(await list({ states: [StateFailed], labels: { kind: "bad" } })).toEqual(["a-2"]);
    const masked = await client.listTasks({
      controller: "countdown",
      readMask: { paths: ["result", "progress.total"] },
    });
    expect(masked.tasks.map(({ status }) => [status?.result, status?.progress?.total, status?.runId])).toEqual([
      ['{"counted":5}', 5n, ""],
      [undefined, 3n, ""],
      ['{"counted":1}', 1n, ""],
    ]);

    const messages: string[] = [];
    let pageToken = "";
    do {
      const page = await client.listTaskLogs({ controller: "countdown", taskId: "a-1", pageSize: 2, pageToken });
      messages.push(...page.entries.map((entry) => entry.msg));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(messages).toEqual([1, 2, 3, 4, 5].map((step) => `step ${step} of 5`));

    await client.deleteTask({ controller: "countdown", taskId: "a-1" });
    const gone = { controller: "countdown", taskId: "a-1" };
    for (const call of [client.getTaskStatus(gone), client.listTaskLogs(gone), client.waitTask(gone)])
      expect(await callError(call)).toMatchObject({ code: "NotFound", resource: "task countdown/a-1" });
    expect(await callError(client.deleteTask(gone))).toMatchObject({ code: "NotFound" });
  });

  test("a cancel that waits says how far it came: to the end, or to a runner that ignores it", async () => {
    await using started = await start();
    const client = started[protocol];
    await client.launchTask(launchOf("a", { limit: 1_000_000, intervalMs: 20 }));
    await client.launchTask({ controller: "stubborn", taskId: "b" });
    const ended = await client.cancelTask({
      controller: "countdown",
      taskId: "a",
      reason: "why",
      wait: { seconds: 20n },
    });
    expect(ended).toMatchObject({
      stage: CancelStage.ENDED,
      status: { state: StateCanceled, cancel: { reason: "why" } },
    });
    const ignored = { controller: "stubborn", taskId: "b", wait: { nanos: 2e8 } };
    const delivered = await client.cancelTask(ignored);
    expect(delivered).toMatchObject({ stage: CancelStage.DELIVERED, status: { state: StateRunning } });
    expect(delivered.status?.cancel?.deliveredAt).toBeDefined();
    const { done } = await client.waitTask({ controller: "stubborn", taskId: "b", timeout: {} });
    expect(done).toBe(false);
    expect(await callError(client.deleteTask({ controller: "stubborn", taskId: "b" }))).toMatchObject({
      code: "FailedPrecondition",
    });
  });

  test("preconditions that do not hold are told apart, in their order", async () => {
    await using started = await start();
    const client = started[protocol];
    const { runId } = await client.launchTask(launchOf("a", { limit: 1, intervalMs: 0 }));
    await client.waitTask({ controller: "countdown", taskId: "a", runId });
    const task = { controller: "countdown", taskId: "a" };
    const { revision } = await client.getTaskStatus(task);
    const lost = { code: "Aborted", reason: "CONFLICT", metadata: { revision: String(revision) } };
    const ifRevision = revision + 7n;
    expect(await callError(client.cancelTask({ ...task, ifRevision, runId: "other" }))).toMatchObject(lost);
    expect(await callError(client.deleteTask({ ...task, ifRevision }))).toMatchObject(lost);
    expect(await callError(client.launchTask({ ...launchOf("a", {}), ifRevision }))).toMatchObject(lost);
    const notTheRun = { code: "FailedPrecondition", message: expect.stringContaining(runId) as unknown };
    expect(await callError(client.cancelTask({ ...task, runId: "other" }))).toMatchObject(notTheRun);
    expect(await callError(client.waitTask({ ...task, runId: "other" }))).toMatchObject(notTheRun);
    expect(await callError(client.watchTask({ ...task, runId: "other" }))).toMatchObject(notTheRun);
    const ahead = await callError(client.getTaskStatus({ ...task, revision: revision + 1_000n }));
    expect(ahead).toMatchObject({ code: "OutOfRange", reason: undefined });
    expect((await client.getTaskStatus(task)).revision).toBe(revision);
  });
});
