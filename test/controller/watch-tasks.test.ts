import { describe, expect, test } from "vitest";
import type { TasksChange, WatchTasksOptions } from "../../src/controller/controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { Harness, openHarness, refusal } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";
import { TasksWatching } from "../support/watching.ts";

function watch(h: Harness, options?: WatchTasksOptions): TasksWatching {
  return new TasksWatching(h.controller.watchTasks(options));
}

async function complete(h: Harness, taskId: string): Promise<void> {
  (await h.runner.phase(taskId)).return();
  await h.settle();
}

describe("a watch of many tasks", () => {
  test("begins with the tasks that there are, ends them with a bookmark, and goes on with every change", async () => {
    await using h = await openHarness();
    await h.launch("b");
    await h.launch("a");
    await h.runner.phase("b");
    const { revision } = await h.controller.queryTasks();
    const watching = watch(h);
    await h.settle();
    expect(watching.changes.at(-1)).toMatchObject({ bookmark: true, revision, taskId: "", controller: "" });
    expect(watching.take()).toEqual(["a Running", "b Running", "bookmark"]);
    await (await h.runner.phase("a")).task.setProgress({ current: 1, total: 2 });
    await complete(h, "a");
    await h.launch("c");
    await h.settle();
    expect(watching.take()).toEqual(["a Running 1/2", "a Completed 1/2", "c Pending", "c Running"]);
    await h.controller.deleteTask("a");
    await h.settle();
    expect(watching.take()).toEqual(["a deleted"]);
  });

  test("has the revisions of the tasks' changes, rising, and the statuses without what may be large", async () => {
    await using h = await openHarness();
    const watching = watch(h);
    await h.launch("a", { metadata: { large: "x".repeat(5_000) }, labels: { env: "test" } });
    const { task } = await h.runner.phase("a");
    await task.addLogEntry("info", "one");
    await complete(h, "a");
    const changes = watching.changes.filter(({ bookmark }) => !bookmark);
    for (const { revision, status, controller } of changes) {
      const then = await h.controller.readTask("a", { revision });
      expect(then.revision).toBe(revision);
      expect(status).toEqual({ ...then.status, metadata: "", result: undefined, logs: [] });
      expect(controller).toBe(h.controller.name);
    }
    expect(changes.map(({ status }) => status?.state)).toEqual([1, 2, 2, 3]);
  });

  test("whose snapshot is read slowly shows in it what was there when it began, and what changed since behind it", async () => {
    await using h = await openHarness();
    const ids = Array.from({ length: 150 }, (_, i) => `task-${String(i).padStart(3, "0")}`);
    for (const taskId of ids) await h.launch(taskId);
    await h.settle();
    const { revision } = await h.controller.queryTasks();
    const slow = h.controller.watchTasks()[Symbol.asyncIterator]();
    const first = await slow.next();
    await complete(h, "task-148");
    await complete(h, "task-149");
    await h.controller.deleteTask("task-149");
    await h.launch("task-150");
    await h.settle();
    const snapshot: TasksChange[] = [first.value];
    while (!snapshot.at(-1)?.bookmark) snapshot.push((await slow.next()).value);
    expect(snapshot.slice(0, -1).map(({ taskId, status }) => [taskId, status?.state])).toEqual(
      // What is gone when its turn comes is not in it: that it went follows.
      ids.slice(0, -1).map((taskId) => [taskId, StateRunning]),
    );
    expect(snapshot.at(-1)?.revision).toBe(revision);
    const after = [];
    for (let i = 0; i < 5; i += 1) after.push((await slow.next()).value);
    expect(after.map(({ taskId, deleted, status }) => [taskId, deleted || status?.state])).toEqual([
      ["task-148", StateCompleted],
      ["task-149", StateCompleted],
      ["task-149", true],
      ["task-150", 1],
      ["task-150", StateRunning],
    ]);
    await slow.return?.();
  });

  test("shows only what matches, and says once when a task no longer does", async () => {
    await using h = await openHarness();
    await h.launch("run-1");
    await h.launch("run-2", { labels: { env: "test" } });
    await h.launch("other");
    await h.runner.phase("other");
    const byState = watch(h, { states: [StateRunning], idPrefix: "run-" });
    const byLabel = watch(h, { labels: { env: "test" } });
    await h.settle();
    expect(byState.take()).toEqual(["run-1 Running", "run-2 Running", "bookmark"]);
    expect(byLabel.take()).toEqual(["run-2 Running", "bookmark"]);
    await complete(h, "other");
    await complete(h, "run-2");
    await h.launch("run-2", { labels: { env: "live" } });
    await h.settle();
    await h.controller.cancelTask("run-1");
    (await h.runner.phase("run-1")).stop();
    await h.settle();
    await h.controller.deleteTask("run-1");
    await h.settle();
    // What was asked of the runner is still a change of a Running task.
    expect(byState.take().filter((line) => !line.startsWith("run-1 Running"))).toEqual([
      "run-2 Completed left",
      "run-2 Running",
      "run-1 Canceled left",
    ]);
    expect(byLabel.take()).toEqual(["run-2 Completed", "run-2 Pending left"]);
  });

  test("shows that a task that matched was deleted, and nothing of one that did not", async () => {
    await using h = await openHarness();
    for (const taskId of ["a", "b"]) {
      await h.launch(taskId, { labels: { name: taskId } });
      await complete(h, taskId);
    }
    const watching = watch(h, { labels: { name: "b" } });
    await h.settle();
    await h.controller.deleteTask("a");
    await h.controller.deleteTask("b");
    await h.launch("b", { labels: { name: "another" } });
    await h.settle();
    expect(watching.take()).toEqual(["b Completed", "bookmark", "b deleted"]);
  });

  test("goes on from a revision without a snapshot, and without a gap or a repeat at any", async () => {
    await using h = await openHarness();
    const all = watch(h);
    for (const taskId of ["a", "b", "c"]) {
      await h.launch(taskId);
      await (await h.runner.phase(taskId)).task.setProgress({ current: 1, total: 1 });
      await complete(h, taskId);
    }
    await h.controller.deleteTask("b");
    await h.settle();
    const changes = all.changes.filter(({ bookmark }) => !bookmark);
    for (let since = 1n; since <= h.disk.revision(); since += 1n) {
      const resumed = watch(h, { sinceRevision: since });
      await h.settle();
      expect(resumed.changes[0]).toMatchObject({ bookmark: true, revision: since });
      expect(resumed.changes.slice(1)).toEqual(changes.filter(({ revision }) => revision > since));
    }
  });

  test("can begin with the next change", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.runner.phase("a");
    const watching = watch(h, { skipSnapshot: true });
    await h.settle();
    expect(watching.take()).toEqual(["bookmark"]);
    await complete(h, "a");
    expect(watching.take()).toEqual(["a Completed"]);
  });

  test("tells that it is alive after 15 s of silence, with a revision that covers what it had no business with", async () => {
    await using h = await openHarness();
    const watching = watch(h, { idPrefix: "watched-" });
    await h.settle();
    watching.take();
    await h.launch("other");
    await complete(h, "other");
    await h.clock.advance(14_000);
    expect(watching.changes).toEqual([]);
    await h.clock.advance(2_000);
    expect(watching.changes).toMatchObject([{ bookmark: true, revision: h.disk.revision() }]);
    await h.clock.advance(15_000);
    expect(watching.take()).toEqual(["bookmark", "bookmark"]);
  });

  test("is told that it is alive, and how far it is, also while others change all the time", async () => {
    await using h = await openHarness();
    await h.launch("other");
    const { task } = await h.runner.phase("other");
    const watching = watch(h, { labels: { name: "watched" } });
    await h.settle();
    watching.take();
    let revision = 0n;
    for (let i = 0; i < 20; i += 1) {
      await task.setProgress({ current: i, total: 20 });
      revision = h.disk.revision();
      await h.clock.advance(1_000);
    }
    expect(watching.changes).toMatchObject([{ bookmark: true }]);
    expect(watching.lastRevision).toBeGreaterThan(revision - 10n);
  });

  test("has all tasks of a store in which a program has put keys that are none of a task's", async () => {
    await using h = await openHarness();
    const ids = Array.from({ length: 150 }, (_, i) => `task-${String(i).padStart(3, "0")}`);
    for (const taskId of ids) await h.launch(taskId);
    await h.settle();
    const stray = `/tasks/${h.controller.name}/task-010/stray`;
    await h.disk.commit([{ type: "put", key: stray, value: new Uint8Array(1) }]);
    const watching = watch(h);
    await h.settle();
    expect(watching.changes.map(({ taskId }) => taskId)).toEqual([...ids, ""]);
    expect(await h.query()).toEqual(ids);
    expect(await h.query({ pageSize: 20 })).toEqual(ids);
    expect(await h.controller.listTasks()).toEqual(ids);
    await h.disk.commit([{ type: "delete", key: stray }]);
  });

  test("is refused for a revision that lies ahead, or whose history is gone", async () => {
    await using h = await smallHistory();
    const ahead = await refusal((async () => h.controller.watchTasks({ sinceRevision: 10_000n }))());
    expect(ahead.code).toBe("OUT_OF_RANGE");
    const gone = await refusal((async () => h.controller.watchTasks({ sinceRevision: 1n }))());
    expect(gone).toMatchObject({
      code: "OUT_OF_RANGE",
      details: { reason: "COMPACTED", metadata: { first_revision: String(h.disk.firstRevision()) } },
    });
  });

  test("that reads too slowly for the history that is kept is told so, and begins anew with a snapshot", async () => {
    await using h = await smallHistory();
    const { task } = await h.runner.phase("a");
    const slow = h.controller.watchTasks({ sinceRevision: h.disk.revision() })[Symbol.asyncIterator]();
    expect((await slow.next()).value).toMatchObject({ bookmark: true });
    for (let i = 0; i < 100; i += 1) await task.setProgress({ current: i, total: 100 });
    const error = await refusal((async () => slow.next())());
    expect(error).toMatchObject({ code: "OUT_OF_RANGE", details: { reason: "COMPACTED" } });
    expect(await slow.next()).toEqual({ done: true, value: undefined });
    const anew = watch(h);
    await h.settle();
    expect(anew.take()).toEqual(["a Running 99/100", "bookmark"]);
  });

  test("ends when it is left, when its signal says so, and when the controller closes, and leaves nothing behind", async () => {
    await using h = await openHarness({ limits: { watchersMax: 3 } });
    await h.launch("a");
    const leaving = new AbortController();
    const aborted = watch(h, { signal: leaving.signal });
    const closed = watch(h);
    const left = h.controller.watchTasks()[Symbol.asyncIterator]();
    await left.next();
    await h.settle();
    expect(await refusal((async () => h.controller.watchTasks()[Symbol.asyncIterator]().next())())).toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      details: { metadata: { limit: "watchers_max" } },
    });
    await left.return?.();
    leaving.abort();
    await aborted.over;
    expect(aborted.error).toBeUndefined();
    await h.close();
    await closed.over;
    expect(closed.error).toMatchObject({ code: "UNAVAILABLE", details: { reason: "DRAINING" } });
    expect(h.clock.pending()).toBe(0);
    await h.open();
  });

  test("fails with UNAVAILABLE while the store does, and goes on from its last revision after that", async () => {
    const plan = new FaultPlan([{ at: 2, of: "watch", kind: "refused" }]);
    await using h = await openHarness({ wrap: (store) => new FaultStore(store, plan) });
    const watching = watch(h);
    await h.settle();
    await h.launch("a");
    await h.settle();
    await watching.over;
    expect(watching.error).toMatchObject({ code: "UNAVAILABLE", details: { reason: "STORE_UNAVAILABLE" } });
    expect(plan.injected).toHaveLength(1);
    const since = watching.lastRevision;
    await h.clock.advance(10_000);
    const resumed = watch(h, { sinceRevision: since });
    await h.settle();
    expect(resumed.take().slice(1)).toEqual(["a Running"]);
  });
});

/** A harness with a Running task "a", and a store that keeps a short history, which is past the beginning. */
async function smallHistory(): Promise<Harness> {
  const h = new Harness(await openMemoryStore({ historyBytes: 4_000 }), {});
  await h.open();
  await h.launch("a");
  const { task } = await h.runner.phase("a");
  for (let i = 0; i < 100; i += 1) await task.setProgress({ current: i, total: 100 });
  expect(h.disk.firstRevision()).toBeGreaterThan(1n);
  return h;
}
