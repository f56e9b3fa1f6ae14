/** Runs whose runner has nothing to do in the pending phase: they start with the commit that offers them. */
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { StateCanceled, StatePending, StateRunning } from "../../src/task/state.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { createKVStore } from "../../src/store/task-store.ts";
import { controllerName, createHarness, Harness, openHarness } from "../support/controller-harness.ts";
import { Watching } from "../support/watching.ts";

test("a launch and its start are one commit, and two versions: the launch is answered with the first", async () => {
  await using h = await openHarness({ prepares: false });
  await h.launch("other");
  const before = h.handle.commits;
  const launched = await h.launch("a", { metadata: { text: "m".repeat(5_000) }, labels: { l: "1" } });
  expect(h.handle.commits).toBe(before + 1);
  expect(launched.status.state).toBe(StatePending);
  expect(await h.controller.readTask("a", { revision: launched.revision })).toMatchObject({
    status: { state: StatePending, metadata: launched.status.metadata },
  });
  const started = await h.controller.readTask("a");
  expect(started).toMatchObject({ revision: launched.revision + 1n, status: { state: StateRunning } });
  expect(await h.transitions("a")).toEqual(["Pending", "Running"]);
  const watching = new Watching(h.controller.watchTask("a", { sinceRevision: launched.revision - 1n }));
  const { context } = await h.runner.phase("a");
  expect(context.fence).toBe(launched.revision);
  await h.settle();
  expect(watching.changes.map(({ revision, status }) => [revision, status?.state])).toEqual([
    [launched.revision, StatePending],
    [launched.revision + 1n, StateRunning],
  ]);
  await h.check();
  (await h.runner.phase("a")).return();
});

test("a launch is answered before its runner is called", async () => {
  await using h = await openHarness({ prepares: false });
  const order: string[] = [];
  h.runner.scripts.running = () => void order.push("runner");
  await h.launch("a").then(() => order.push("answer"));
  await h.settle();
  expect(order).toEqual(["answer", "runner"]);
});

test("one that waited starts with its offer, in one commit", async () => {
  await using h = await openHarness({ concurrency: 1, prepares: false });
  await h.launch("a");
  await h.launch("b");
  const first = await h.runner.phase("a");
  const before = h.handle.commits;
  first.return();
  const second = await h.runner.phase("b");
  // The end, that it was told, and the offer with the start.
  expect(h.handle.commits).toBe(before + 3);
  expect(await h.transitions("b")).toEqual(["Pending", "Running"]);
  expect(second.context.fence).toBe((await h.controller.readTask("b")).revision);
  await h.check();
  second.return();
});

test("one that is canceled before its runner was called ends without that", async () => {
  await using h = await openHarness({ prepares: false });
  await Promise.all([h.launch("a"), h.controller.cancelTask("a")]);
  await h.settle();
  expect(h.runner.calls("a").filter((call) => call.startsWith("running"))).toEqual([]);
  const { status } = await h.controller.readTask("a");
  expect(status?.state).toBe(StateCanceled);
  // There was nobody to wait for.
  expect(status?.cancel?.acknowledgedAt).toBeDefined();
});

test("one that a program put into the store has its start in a commit behind what it was given", async () => {
  await using h = await createHarness({ prepares: false });
  await createKVStore(h.disk).put(`/tasks/${controllerName}/a`, create(TaskStatusSchema, { state: StatePending }));
  await h.open();
  const phase = await h.runner.phase("a");
  await h.settle();
  const { revision, status } = await h.controller.readTask("a");
  expect(status?.state).toBe(StateRunning);
  // A version of each: what it was given, and the start.
  const given = await h.controller.readTask("a", { revision: revision - 1n });
  expect(given.status).toMatchObject({ state: StatePending, runId: status?.runId });
  phase.return();
});

test("a store that makes no commit of what follows gets another for the start", async () => {
  await using h = new Harness(await openMemoryStore(), {
    prepares: false,
    wrap: (store) => new Proxy(store, { get: (target, name) => methodOf(target, name) }),
  });
  await h.open();
  const launched = await h.launch("a");
  (await h.runner.phase("a")).return();
  await h.settle();
  expect(launched.status.state).toBe(StatePending);
  expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
  await h.check();
});

function methodOf(store: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(store, name, store);
  if (typeof value !== "function") return value;
  return name === "commit"
    ? (changes: unknown, conditions: unknown): unknown => value.call(store, changes, conditions)
    : value.bind(store);
}
