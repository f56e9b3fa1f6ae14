import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import {
  LogEntrySchema,
  type StateTransition,
  StateTransitionSchema,
  type TaskState,
  TaskStatusSchema,
} from "#gen/core/v1/core_pb.js";
import { createKVStore } from "../../src/store/task-store.ts";
import {
  StateCanceled,
  StateCompleted,
  StateFailed,
  StatePending,
  StateRunning,
  StateUnknown,
} from "../../src/task/state.ts";
import { controllerName, createHarness, type Harness, observed, openHarness } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";
import { openHostHarness } from "../support/scripted-host.ts";

/** Puts a status into the store as a program does that knows corev1 only. */
async function put(h: Harness, taskId: string, status: MessageInitShape<typeof TaskStatusSchema>): Promise<void> {
  await createKVStore(h.disk).put(`/tasks/${controllerName}/${taskId}`, create(TaskStatusSchema, status));
}

function went(...states: TaskState[]): { state: TaskState; transitions: StateTransition[] } {
  const transitions = states.map((state, i) =>
    create(StateTransitionSchema, { state, timestamp: timestampFromMs(1_699_000_000_000 + i) }),
  );
  return { state: states.at(-1) ?? StateUnknown, transitions };
}

describe("a status that a program put into the store", () => {
  test.each([true, false])("as Running is resumed with what it has (transitions: %s)", async (hasTransitions) => {
    const h = await createHarness();
    const logs = ["one", "two"].map((msg) => create(LogEntrySchema, { msg }));
    const base = hasTransitions ? went(StatePending, StateRunning) : { state: StateRunning };
    await put(h, "a", { ...base, metadata: '{"n":1}', progress: { current: 3n, total: 9n }, logs });
    await using _ = h;
    await h.open();
    const phase = await h.runner.phase("a");
    expect(await phase.task.loadTaskMetadata()).toEqual({ n: 1 });
    expect(await phase.task.getProgress()).toMatchObject({ current: 3n, total: 9n });
    await phase.task.addLogEntry("info", "three");
    const status = await h.controller.taskStatus("a");
    expect(status.logs.map((entry) => [entry.msg, entry.seq])).toEqual([
      ["one", 1n],
      ["two", 2n],
      ["three", 3n],
    ]);
    expect(status.runId).not.toBe("");
    phase.return();
    await h.settle();
    expect((await h.transitions("a")).slice(-3)).toEqual([
      "Pending: resumed: the controller was opened again",
      "Running",
      "Completed",
    ]);
  });

  test.each([true, false])("as Pending is started (transitions: %s)", async (hasTransitions) => {
    const h = await createHarness();
    await put(h, "a", { ...(hasTransitions ? went(StatePending) : { state: StatePending }), metadata: '{"n":1}' });
    await using _ = h;
    await h.open();
    const phase = await h.runner.phase("a");
    expect(await phase.task.loadTaskMetadata()).toEqual({ n: 1 });
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ state: 2, runId: phase.context.runId, attempt: phase.context.attempt });
    phase.return();
  });

  test.each([true, false])(
    "as Pending is offered to a runner that has a name (transitions: %s)",
    async (hasTransitions) => {
      await using world = await openHostHarness(1);
      const { h } = world;
      await h.close();
      await put(h, "a", hasTransitions ? went(StatePending) : { state: StatePending });
      const { revision } = (await h.disk.get(`/tasks/${controllerName}/a`)) ?? { revision: 0n };
      await h.open();
      const { phase } = await world.host.seat("a");
      const { status, record } = (await h.stored("a")) ?? {};
      expect([status?.runner, status?.transitions.length, record?.isTransition]).toEqual([
        "host-7",
        1,
        !hasTransitions,
      ]);
      expect(phase.context.fence).toBeGreaterThan(revision);
    },
  );

  test.each(["crash", "close"] as const)("as Pending is started again after a %s in its first attempt", async (how) => {
    const h = await createHarness();
    h.runner.scripts.pending = "hold";
    for (const id of ["a", "b"]) await put(h, id, { state: StatePending });
    await using _ = h;
    await h.open({ concurrency: 1 });
    const first = await h.runner.phase("a", "pending");
    await (how === "crash" ? h.crash() : h.reopen());
    const again = await h.runner.phase("a", "pending");
    expect(again.context).toMatchObject({ runId: first.context.runId, attempt: first.context.attempt + 1 });
    await h.runner.phase("b", "pending");
  });

  test("as Unknown is neither resumed nor cleaned, and can be launched", async () => {
    const h = await createHarness();
    await put(h, "a", { state: StateUnknown, metadata: '{"n":1}' });
    await using _ = h;
    await h.open({ retention: {} });
    await h.reopen({ retention: { afterEndMs: 0 } });
    await h.clock.advance(60_000);
    expect(h.runner.calls("a")).toEqual([]);
    const before = await h.controller.readTask("a");
    expect(before.status).toMatchObject({ state: 0, metadata: '{"n":1}' });
    await h.controller.cancelTask("a");
    expect(await h.controller.readTask("a")).toEqual(before);
    const { status, outcome } = await h.launch("a");
    expect([outcome, status.metadata]).toEqual(["launched", ""]);
    (await h.runner.phase("a")).return();
  });

  test.each([
    [StateCompleted, "Completed"],
    [StateFailed, "Failed"],
    [StateCanceled, "Canceled"],
  ])("as ended (%i) is not run, is read with its log, and is cleaned by the library", async (state, name) => {
    const h = await createHarness();
    await put(h, "a", { ...went(StatePending, StateRunning, state), logs: [create(LogEntrySchema, { msg: "old" })] });
    await h.open();
    await h.settle();
    expect(h.runner.calls("a")).toEqual([]);
    expect(await h.state("a")).toBe(name);
    expect((await h.controller.taskStatus("a")).logs.map((entry) => entry.msg)).toEqual(["old"]);
    await h.crash({ retention: {} });
    expect(await h.controller.listTasks()).toEqual([]);
    await using _ = h;
  });

  test("as ended is kept by a service for its time after its last transition", async () => {
    const h = await createHarness();
    const timestamp = timestampFromMs(h.clock.wall() - 3_600_000);
    await put(h, "a", {
      state: StateCompleted,
      transitions: [create(StateTransitionSchema, { state: StateCompleted, timestamp })],
    });
    await h.open({ retention: { afterEndMs: 2 * 3_600_000 } });
    await h.clock.advance(3_600_000 - 1);
    expect(await h.controller.listTasks()).toEqual(["a"]);
    await h.clock.advance(20_000);
    expect(await h.controller.listTasks()).toEqual([]);
    await using _ = h;
  });

  test("as ended is launched anew by the rules of its state", async () => {
    const h = await createHarness();
    await put(h, "a", {
      ...went(StatePending, StateRunning, StateFailed),
      labels: { l: "1" },
      logs: [create(LogEntrySchema, { msg: "old" })],
    });
    await using _ = h;
    await h.open();
    const { status } = await h.launch("a", { labels: { l: "1" } });
    expect(status.logs.map((entry) => entry.msg)).toEqual(["old", "restarting; the run before was Failed"]);
    expect(status.transitions.map((each) => each.state)).toEqual([1, 2, 4, 1]);
    (await h.runner.phase("a")).return();
  });

  test("is used by a launch that may, and the request id finds it again", async () => {
    const h = await createHarness();
    await put(h, "a", { state: StatePending });
    await put(h, "busy", { state: StatePending });
    await using _ = h;
    await h.open({ concurrency: 1, runner: { onTaskRunning: () => new Promise(() => {}) } });
    await h.settle();
    const options = { requestId: "r", ifActive: "use-existing" } as const;
    const used = await h.launch("busy", options);
    expect(used).toMatchObject({ outcome: "used-existing", status: { runId: used.runId } });
    expect(await h.launch("busy", options)).toMatchObject({ outcome: "used-existing", runId: used.runId });
    await h.crash();
    expect(await h.launch("busy", options)).toMatchObject({ outcome: "used-existing", runId: used.runId });
  });

  test("is deleted like any other", async () => {
    const h = await createHarness();
    await put(h, "a", { ...went(StateCompleted), labels: { l: "1" }, logs: [create(LogEntrySchema, { msg: "old" })] });
    await using _ = h;
    await h.open();
    await h.controller.deleteTask("a");
    await h.settle();
    expect(await h.keys("/index/")).toEqual([]);
    expect(await h.keys("/logs/")).toEqual([]);
  });
});

describe("a task that is written past the open controller", () => {
  test("is lost to its run, which writes nothing more", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await createKVStore(h.disk).delete(`/tasks/${controllerName}/a`);
    await expect(phase.task.setProgress({ current: 1 })).rejects.toMatchObject({ details: { reason: "STALE_FENCE" } });
    expect(phase.abortKind).toBe("LOST_FENCE");
    phase.return();
    await h.settle();
    expect(await h.controller.listTasks()).toEqual([]);
    await h.reopen();
  });

  test("but is still its run's own loses nothing that the run has said", async () => {
    const plan = new FaultPlan();
    await using h = await openHarness({ wrap: (store) => new FaultStore(store, plan) });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    // The first entry's commit hangs; what is said after the end comes in one commit with that, which hangs too.
    for (const nth of [1, 2]) plan.add({ at: plan.counts.commit + nth, of: "commit", kind: "late" });
    void phase.task.addLogEntry("info", "one");
    await h.settle();
    phase.return("done");
    await h.settle();
    const said = [observed(phase.task.addLogEntry("info", "two")), observed(phase.task.setProgress({ current: 2 }))];
    plan.heal();
    await h.settle();
    expect(said.map((each) => each.state())).toEqual(["waiting", "waiting"]);
    const key = `/tasks/${controllerName}/a`;
    const entry = await h.disk.get(key);
    await h.disk.commit([{ type: "put", key, value: entry?.value ?? new Uint8Array(0) }]);
    plan.heal();
    await h.settle();
    expect(said.map((each) => each.state())).toEqual(["done", "done"]);
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ state: 3, result: '"done"', progress: { current: 2n } });
    expect(status.logs.map((each) => each.msg)).toEqual(["one", "two"]);
  });

  test.each(["cancel", "launch"] as const)(
    "and is launched anew is not bound to the run that was lost: a %s of it has its effect",
    async (call) => {
      await using h = await openHarness();
      await h.launch("a");
      const old = await h.runner.phase("a");
      await createKVStore(h.disk).delete(`/tasks/${controllerName}/a`);
      await expect(old.task.setProgress({ current: 1 })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
      await h.launch("a", { metadata: { n: 1 } });
      if (call === "cancel") {
        expect((await h.controller.cancelTask("a")).stage).toBe("ended");
        old.return("zombie");
        await h.settle();
        expect(await h.state("a")).toBe("Canceled");
      } else {
        const { runId, status } = await h.launch("a", { metadata: { n: 2 } });
        expect(status.runId).toBe(runId);
        old.return("zombie");
        const next = await h.runner.phase("a");
        expect(await next.task.loadTaskMetadata()).toEqual({ n: 2 });
        next.return();
        await h.settle();
        expect(h.runner.all("a", "running")).toHaveLength(2);
      }
      await h.reopen();
    },
  );

  test("and is launched anew does not run beside the run that was lost", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const old = await h.runner.phase("a");
    await createKVStore(h.disk).delete(`/tasks/${controllerName}/a`);
    await expect(old.task.setProgress({ current: 1 })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    const { runId } = await h.launch("a");
    await h.settle();
    expect(h.runner.calls("a")).toEqual(["pending 1", "running 1"]);
    expect(await h.state("a")).toBe("Pending");
    old.return("zombie");
    const next = await h.runner.phase("a");
    expect(next.context.runId).toBe(runId);
    next.return();
    await h.settle();
    expect(await h.state("a")).toBe("Completed");
    await h.reopen();
  });
});
