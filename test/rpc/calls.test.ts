/** The calls over a controller that is one: what its answers look like on the wire. */
import type { Client } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import {
  CancelStage,
  IfActive,
  IfEnded,
  LaunchOutcome,
  TaskOrder,
  type TaskControllerService,
  type WatchTaskResponse,
} from "#gen/stint/v1/controller_pb.js";
import { openController } from "../../src/controller/open-controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { StateCanceled, StateCompleted, StatePending, StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { ScriptedRunner } from "../support/scripted-runner.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";

interface Served extends AsyncDisposable {
  readonly client: Client<typeof TaskControllerService>;
  readonly runner: ScriptedRunner;
  readonly served: ServedFake;
}

async function serveTasks(options: { concurrency?: number } = {}): Promise<Served> {
  const runner = new ScriptedRunner();
  const controller = await openController({
    name: "tests",
    store: await openMemoryStore(),
    runner,
    retention: { afterEndMs: 3_600_000 },
    closeGraceMs: 0,
    ...options,
  });
  const served = await serveFake({ controllers: [controller] });
  return {
    client: served.client(),
    runner,
    served,
    async [Symbol.asyncDispose]() {
      await served.close(0);
      await controller.close();
    },
  };
}

const task = { controller: "tests", taskId: "a" };
const json = (value: object) => ({ payload: { case: "jsonMetadata" as const, value: JSON.stringify(value) } });

/** Ends the task's run, and waits until that is stored. */
async function complete({ client, runner }: Served, taskId: string, result?: unknown): Promise<void> {
  await eventually(() => expect(runner.held(taskId)).toBeDefined());
  runner.held(taskId)?.return(result);
  await eventually(async () => {
    const { status } = await client.getTaskStatus({ ...task, taskId });
    expect(status?.state).toBe(StateCompleted);
  });
}

async function run({ client, runner }: Served, request: object = {}): Promise<void> {
  await client.launchTask({ ...task, ...request });
  await eventually(() => expect(runner.held("a")).toBeDefined());
}

describe("LaunchTask", () => {
  test("says what it did: launched, used what there is, or put a new run in the place of one that is alive", async () => {
    await using tasks = await serveTasks();
    const { client, runner } = tasks;
    const launched = await client.launchTask({ ...task, ...json({ n: 1 }), labels: { env: "test" } });
    expect(launched).toMatchObject({
      taskId: "a",
      outcome: LaunchOutcome.LAUNCHED,
      status: { state: StatePending, metadata: '{"n":1}', labels: { env: "test" }, attempt: 1, runId: launched.runId },
    });
    await eventually(() => expect(runner.held("a")).toBeDefined());

    const used = await client.launchTask({ ...task, ifActive: IfActive.USE_EXISTING });
    expect(used).toMatchObject({ outcome: LaunchOutcome.USED_EXISTING, runId: launched.runId });
    const refused = await callError(client.launchTask({ ...task, ifActive: IfActive.FAIL }));
    expect(refused).toMatchObject({ code: "AlreadyExists", reason: undefined });

    const restarted = await client.launchTask({ ...task, ...json({ n: 2 }) });
    expect(restarted).toMatchObject({ outcome: LaunchOutcome.RESTARTED, status: { runId: launched.runId } });
    expect(restarted.runId).not.toBe(launched.runId);
    runner.held("a")?.stop();
    await eventually(async () => {
      const { status } = await client.getTaskStatus(task);
      expect(status).toMatchObject({ runId: restarted.runId, metadata: '{"n":2}' });
    });
  });

  test("of a task that has ended does what if_ended says", async () => {
    await using tasks = await serveTasks();
    const { client } = tasks;
    const first = await client.launchTask(task);
    await complete(tasks, "a");
    expect(await callError(client.launchTask({ ...task, ifEnded: IfEnded.FAIL }))).toMatchObject({
      code: "AlreadyExists",
    });
    for (const ifEnded of [IfEnded.USE_EXISTING, IfEnded.RELAUNCH_UNLESS_COMPLETED]) {
      const used = await client.launchTask({ ...task, ifEnded });
      expect(used).toMatchObject({ outcome: LaunchOutcome.USED_EXISTING, runId: first.runId });
    }
    const again = await client.launchTask({ ...task, ifEnded: IfEnded.RELAUNCH });
    expect(again.outcome).toBe(LaunchOutcome.LAUNCHED);
    expect(again.runId).not.toBe(first.runId);
  });

  test("with a request_id has one effect, and the second answer is the first with today's status", async () => {
    await using tasks = await serveTasks();
    const { client } = tasks;
    const request = { controller: "tests", requestId: "once", ...json({ n: 1 }) };
    const first = await client.launchTask(request);
    await complete(tasks, first.taskId);
    const second = await client.launchTask(request);
    expect(second).toMatchObject({ taskId: first.taskId, runId: first.runId, outcome: LaunchOutcome.LAUNCHED });
    expect(second.status?.state).toBe(StateCompleted);
    expect(second.revision).toBeGreaterThan(first.revision);
    const other = await callError(client.launchTask({ ...request, ...json({ n: 2 }) }));
    expect(other).toMatchObject({ code: "AlreadyExists", reason: "REQUEST_ID_REUSED" });
    expect(other.message).not.toContain(first.taskId);
    expect((await client.listTasks({ controller: "tests" })).totalSize).toBe(1n);
  });

  test("with an if_revision that is lost is ABORTED, and says which revision there is", async () => {
    await using tasks = await serveTasks({ concurrency: 1 });
    const { client } = tasks;
    expect(await callError(client.launchTask({ ...task, ifRevision: 7n }))).toMatchObject({ code: "Aborted" });
    const { revision } = await client.launchTask({ ...task, ifRevision: 0n });
    expect(await callError(client.launchTask({ ...task, ifRevision: revision + 100n }))).toMatchObject({
      code: "Aborted",
      reason: "CONFLICT",
    });
  });
});

describe("CancelTask", () => {
  test("of a task that waits ends it, and of one that has ended changes nothing", async () => {
    await using tasks = await serveTasks({ concurrency: 1 });
    const { client } = tasks;
    await run(tasks);
    await client.launchTask({ ...task, taskId: "b" });
    const canceled = await client.cancelTask({ ...task, taskId: "b", reason: "not wanted" });
    expect(canceled).toMatchObject({
      stage: CancelStage.ENDED,
      status: { state: StateCanceled, cancel: { reason: "not wanted" } },
    });
    const again = await client.cancelTask({ ...task, taskId: "b", reason: "really" });
    expect(again).toMatchObject({ stage: CancelStage.ENDED, revision: canceled.revision });
    expect(again.status?.cancel?.reason).toBe("not wanted");
  });

  test("of a task that runs says how far it has come, and waits for the end as long as it is asked to", async () => {
    await using tasks = await serveTasks();
    const { client, runner } = tasks;
    await run(tasks);
    const requested = await client.cancelTask(task);
    expect([CancelStage.REQUESTED, CancelStage.DELIVERED]).toContain(requested.stage);
    expect(runner.held("a")?.abortKind).toBe("CANCEL");
    await eventually(async () => expect((await client.cancelTask(task)).stage).toBe(CancelStage.DELIVERED));
    expect((await client.cancelTask({ ...task, wait: { nanos: 1_000_000 } })).stage).toBe(CancelStage.DELIVERED);
    const waiting = client.cancelTask({ ...task, wait: { seconds: 20n } });
    runner.held("a")?.stop();
    expect(await waiting).toMatchObject({ stage: CancelStage.ENDED, status: { state: StateCanceled } });
  });

  test("of a run that is not the current one is FAILED_PRECONDITION, and names that", async () => {
    await using tasks = await serveTasks();
    await run(tasks);
    const { status, revision } = await tasks.client.getTaskStatus(task);
    const refused = await callError(tasks.client.cancelTask({ ...task, runId: "another" }));
    expect(refused).toMatchObject({ code: "FailedPrecondition", metadata: { run_id: status?.runId } });
    expect(refused.message).toContain(status?.runId ?? "");
    const lost = await callError(tasks.client.cancelTask({ ...task, ifRevision: revision + 1n }));
    expect(lost).toMatchObject({ code: "Aborted", reason: "CONFLICT" });
    expect((await tasks.client.getTaskStatus(task)).revision).toBe(revision);
  });
});

describe("GetTaskStatus", () => {
  test("shows a task as it is, and as it was", async () => {
    await using tasks = await serveTasks();
    const { client, runner } = tasks;
    const launched = await client.launchTask({ ...task, ...json({ n: 1 }) });
    await eventually(() => expect(runner.held("a")).toBeDefined());
    const running = runner.held("a");
    for (let i = 1; i <= 3; i += 1) await running?.task.addLogEntry("info", `line ${i}`);
    await running?.task.setProgress({ current: 1, total: 2, unit: "rows" });
    const now = await client.getTaskStatus({ ...task, logLimit: 2 });
    expect(now.status).toMatchObject({
      state: StateRunning,
      metadata: '{"n":1}',
      progress: { current: 1n, total: 2n, unit: "rows" },
      logs: [
        { msg: "line 2", seq: 2n },
        { msg: "line 3", seq: 3n },
      ],
      logCount: 3n,
    });
    const then = await client.getTaskStatus({ ...task, revision: launched.revision });
    expect(then).toMatchObject({ revision: launched.revision, status: { state: StatePending, logs: [] } });
    expect(then.status?.progress).toBeUndefined();
    const ahead = await callError(client.getTaskStatus({ ...task, revision: now.revision + 1_000n }));
    expect(ahead).toMatchObject({ code: "OutOfRange" });
    const masked = await client.getTaskStatus({ ...task, readMask: { paths: ["progress.unit"] } });
    expect(masked.status).toMatchObject({ state: 0, metadata: "", logs: [], progress: { current: 0n, unit: "rows" } });
  });
});

describe("ListTasks", () => {
  async function serveMany(): Promise<Served> {
    const tasks = await serveTasks({ concurrency: 1 });
    for (const taskId of ["a", "b1", "b2", "b3", "c"]) {
      const labels = { env: taskId < "b3" ? "test" : "live", ...(taskId === "b2" ? { team: "data" } : {}) };
      await tasks.client.launchTask({ ...task, taskId, labels, ...json({ taskId }) });
    }
    await eventually(async () => {
      const { status } = await tasks.client.getTaskStatus(task);
      expect(status?.state).toBe(StateRunning);
    });
    return tasks;
  }

  test("shows all pages under the revision of the first", async () => {
    await using tasks = await serveMany();
    const pages: string[][] = [];
    const revisions = new Set<bigint>();
    let pageToken = "";
    do {
      const page = await tasks.client.listTasks({ controller: "tests", pageSize: 2, pageToken });
      expect(page.totalSize).toBe(5n);
      pages.push(page.tasks.map(({ taskId }) => taskId));
      revisions.add(page.revision);
      pageToken = page.nextPageToken;
      await tasks.client.cancelTask({ ...task, taskId: "c" });
    } while (pageToken !== "");
    expect(pages.flat()).toEqual(["a", "b1", "b2", "b3", "c"]);
    expect(pages[0]).toEqual(["a", "b1"]);
    expect(revisions.size).toBe(1);
  });

  test.each([
    ["by state", { states: [StateRunning] }, ["a"], 1n],
    ["by one of two states", { states: [StateRunning, StatePending] }, ["a", "b1", "b2", "b3", "c"], 5n],
    ["by a label", { labels: { env: "test" } }, ["a", "b1", "b2"], undefined],
    ["by two labels", { labels: { env: "test", team: "data" } }, ["b2"], undefined],
    ["by the beginning of the id", { idPrefix: "b" }, ["b1", "b2", "b3"], undefined],
    ["by all of them", { states: [StatePending], labels: { env: "test" }, idPrefix: "b" }, ["b1", "b2"], undefined],
    ["the newest first", { orderBy: TaskOrder.NEWEST }, ["c", "b3", "b2", "b1", "a"], 5n],
  ])("%s", async (_, query, ids, totalSize) => {
    await using tasks = await serveMany();
    const page = await tasks.client.listTasks({ controller: "tests", ...query });
    expect(page.tasks.map(({ taskId }) => taskId)).toEqual(ids);
    expect([page.totalSize, page.nextPageToken]).toEqual([totalSize, ""]);
  });

  test("has metadata only when it is named, and refuses the page of another list", async () => {
    await using tasks = await serveMany();
    const plain = await tasks.client.listTasks({ controller: "tests", pageSize: 1 });
    expect(plain.tasks[0]?.status).toMatchObject({ state: StateRunning, metadata: "" });
    const named = await tasks.client.listTasks({ controller: "tests", pageSize: 1, readMask: { paths: ["metadata"] } });
    expect(named.tasks[0]?.status).toMatchObject({ state: 0, metadata: '{"taskId":"a"}' });
    const other = { controller: "tests", pageToken: plain.nextPageToken, orderBy: TaskOrder.NEWEST };
    for (const request of [other, { controller: "tests", pageToken: "bogus" }]) {
      expect(await callError(tasks.client.listTasks(request))).toMatchObject({
        code: "InvalidArgument",
        fields: ["page_token"],
      });
    }
  });

  test("has a counterpart that counts: ListControllers", async () => {
    await using tasks = await serveMany();
    await tasks.client.cancelTask({ ...task, taskId: "c" });
    const { controllers } = await tasks.client.listControllers({});
    expect(controllers.map(({ name }) => name)).toEqual(["countdown", "tests"]);
    expect(controllers[1]?.tasks).toMatchObject([
      { state: StatePending, count: 3n },
      { state: StateRunning, count: 1n },
      { state: StateCanceled, count: 1n },
    ]);
  });
});

describe("WatchTask", () => {
  async function collect(messages: AsyncIterable<WatchTaskResponse>): Promise<WatchTaskResponse[]> {
    const collected: WatchTaskResponse[] = [];
    for await (const message of messages) collected.push(message);
    return collected;
  }

  test("shows each transition once, the log entries if they are asked for, and ends with the task", async () => {
    await using tasks = await serveTasks();
    const { client, runner } = tasks;
    const watching = collect(client.watchTask({ ...task, waitForLaunch: true, includeLogs: true }));
    const { revision } = await client.launchTask(task);
    await eventually(() => expect(runner.held("a")).toBeDefined());
    await runner.held("a")?.task.addLogEntry("warn", "half way");
    runner.held("a")?.return({ done: true });
    const messages = await watching;
    expect(messages.flatMap(({ logs }) => logs)).toMatchObject([{ msg: "half way", level: 4, seq: 1n }]);
    expect(messages.at(-1)?.status).toMatchObject({ state: StateCompleted, result: '{"done":true}', logs: [] });

    const after = await collect(client.watchTask({ ...task, sinceRevision: revision }));
    expect(after.map(({ status }) => status?.state)).toEqual([StateRunning, StateCompleted]);
    const end = messages.at(-1)?.revision ?? 0n;
    const past = await collect(client.watchTask({ ...task, sinceRevision: end }));
    expect(past.map(({ status, logs }) => [status, logs])).toEqual([[undefined, []]]);
    const ahead = await callError(client.watchTask({ ...task, sinceRevision: end + 1_000n }));
    expect(ahead).toMatchObject({ code: "OutOfRange" });
  });

  test("of a run ends when another takes its place", async () => {
    await using tasks = await serveTasks();
    const { client, runner } = tasks;
    await run(tasks);
    const { status } = await client.getTaskStatus(task);
    const watching = callError(collect(client.watchTask({ ...task, runId: status?.runId ?? "" })));
    const { runId } = await client.launchTask(task);
    runner.held("a")?.stop();
    expect(await watching).toMatchObject({ code: "FailedPrecondition", metadata: { run_id: runId } });
    expect(await callError(client.watchTask({ ...task, runId: "another" }))).toMatchObject({
      code: "FailedPrecondition",
    });
  });
});
