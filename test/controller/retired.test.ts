import { describe, expect, test } from "vitest";
import { openRetiredController } from "../../src/controller/open-controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { StatePending } from "../../src/task/state.ts";
import { observed, openHarness, refusal } from "../support/controller-harness.ts";
import { Watching } from "../support/watching.ts";

const waitsFor = 'a runner: the configuration no longer names the controller "tests"';

describe("a controller that nothing names any more", () => {
  test("keeps its tasks: what ran waits, with all that it had, and says what for", async () => {
    await using h = await openHarness({ concurrency: 2 });
    await h.launch("running", { metadata: { n: 1 } });
    await (await h.runner.phase("running")).task.setProgress({ current: 3 });
    await h.launch("ended");
    (await h.runner.phase("ended")).return("r");
    await h.settle();
    await h.launch("other");
    await h.launch("waiting");
    await h.settle();
    const waiting = await h.controller.readTask("waiting");
    await h.crash({ retired: true });
    await h.clock.advance(600_000);

    expect(await h.states("running", "other", "waiting", "ended")).toEqual([
      "Pending",
      "Pending",
      "Pending",
      "Completed",
    ]);
    const status = await h.controller.taskStatus("running");
    expect(status).toMatchObject({ attempt: 2, progress: { current: 3n }, metadata: '{"n":1}', waitingFor: waitsFor });
    expect((await h.transitions("running")).at(-1)).toMatch(/^Pending: resumed/);
    // One that was never offered has not changed.
    expect(await h.controller.readTask("waiting")).toMatchObject({
      revision: waiting.revision,
      status: { attempt: 1, waitingFor: waitsFor },
    });
    expect(await h.query({ states: [StatePending] })).toEqual(["other", "running", "waiting"]);
    expect(h.runner.phases.filter((phase) => !phase.isAbandoned)).toEqual([]);

    // Nothing changes with the next openings, and a runner that comes back goes on with all of them.
    const before = await h.controller.readTask("running");
    await h.crash({ retired: true });
    expect(await h.controller.readTask("running")).toEqual(before);
    await h.crash({ retired: false, concurrency: 10 });
    expect((await h.runner.phase("running")).context.attempt).toBe(2);
    expect((await h.runner.phase("waiting")).context.attempt).toBe(1);
    expect(await (await h.runner.phase("running")).task.getProgress()).toMatchObject({ current: 3n });
  });

  test("refuses launches, and says why; a launch that it has done before is answered", async () => {
    await using h = await openHarness();
    const { runId, revision } = await h.launch("a", { requestId: "r" });
    await h.reopen({ retired: true });
    const refused = { code: "FAILED_PRECONDITION", message: expect.stringContaining("no longer names") as unknown };
    expect(await refusal(h.launch("b"))).toMatchObject(refused);
    for (const ifActive of ["restart", "use-existing", "fail"] as const)
      expect(await refusal(h.launch("a", { ifActive }))).toMatchObject(refused);
    expect(await h.launch("a", { requestId: "r" })).toMatchObject({ runId, outcome: "launched" });
    const [first, second] = await h.controller.launchTasks([{ taskId: "b" }, { taskId: "a", requestId: "r" }]);
    expect(first).toMatchObject({ status: "rejected", reason: refused });
    expect(second).toMatchObject({ status: "fulfilled", value: { runId } });
    // What is wrong with the request itself, and a lost if_revision, come first.
    expect((await refusal(h.launch("../b"))).code).toBe("INVALID_ARGUMENT");
    expect((await refusal(h.launch("a", { ifRevision: revision + 100n }))).code).toBe("ABORTED");
    expect(await h.controller.listTasks()).toEqual(["a"]);
    // A request that was refused may be repeated when the controller is named again.
    expect((await refusal(h.launch("c", { requestId: "rc" }))).code).toBe("FAILED_PRECONDITION");
    await h.reopen({ retired: false });
    expect((await h.launch("c", { requestId: "rc" })).outcome).toBe("launched");
  });

  test("cancels at once, shows it to watchers and waits, and deletes", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.runner.phase("a");
    await h.crash({ retired: true });
    const { runId } = await h.controller.taskStatus("a");
    const watching = new Watching(h.controller.watchTask("a"));
    const wait = observed(h.controller.waitTask("a", { runId }));
    expect((await refusal(h.controller.deleteTask("a"))).code).toBe("FAILED_PRECONDITION");
    await h.settle();
    const canceled = await h.controller.cancelTask("a", { reason: "gone", waitMs: 1_000 });
    expect(canceled).toMatchObject({ stage: "ended", status: { state: 6, waitingFor: "" } });
    expect(await wait.promise).toMatchObject({ done: true });
    await watching.over;
    expect(watching.lines).toEqual(["Pending", "Canceled"]);
    expect(await h.controller.taskLogs("a")).toEqual({ entries: [], nextPageToken: "" });
    await h.controller.deleteTask("a");
    expect(await h.controller.listTasks()).toEqual([]);
    for (const list of ["waiting", "leases", "released", "deliveries"]) expect(await h.keys(`/${list}/`)).toEqual([]);
  });

  test("ends what was to be canceled when its process died, and gives a stored launch its place", async () => {
    await using h = await openHarness();
    for (const id of ["cancel", "restart"]) {
      await h.launch(id);
      await h.runner.phase(id);
    }
    await h.controller.cancelTask("cancel");
    const { runId } = await h.launch("restart", { metadata: { n: 2 } });
    await h.crash({ retired: true });
    expect(await h.states("cancel", "restart")).toEqual(["Canceled", "Pending"]);
    expect(await h.controller.taskStatus("restart")).toMatchObject({ runId, attempt: 1, metadata: '{"n":2}' });
    expect(await h.keys("/intents/")).toEqual([]);
  });

  test("sweeps what has ended long ago", async () => {
    await using h = await openHarness();
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.settle();
    await h.crash({ retired: true, retention: { afterEndMs: 60_000 } });
    expect(await h.controller.listTasks()).toEqual(["a"]);
    await h.clock.advance(80_000);
    expect(await h.controller.listTasks()).toEqual([]);
  });

  test("is opened with what is wrong with its name refused, as any", async () => {
    const store = await openMemoryStore();
    expect((await refusal(openRetiredController({ name: "X", store }))).details.violations).toHaveLength(1);
  });
});

describe("an end without a runner to tell", () => {
  test("is told when there is one again, where the run was offered to one before", async () => {
    await using h = await openHarness({ concurrency: 1 });
    await h.launch("offered");
    await h.runner.phase("offered");
    await h.launch("never");
    await h.crash({ retired: true });
    for (const id of ["offered", "never"]) await h.controller.cancelTask(id);
    await h.crash({ retired: true });
    await h.crash({ retired: false });
    await h.settle();
    expect([h.runner.calls("offered"), h.runner.calls("never")]).toEqual([
      ["pending 1", "running 1", "completed 2"],
      [],
    ]);
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("that took place before is told then, too, or dropped with the task", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    for (const id of ["kept", "deleted"]) {
      await h.launch(id);
      (await h.runner.phase(id)).return();
    }
    await h.settle();
    await h.crash({ retired: true });
    await h.controller.deleteTask("deleted");
    expect(await h.keys("/deliveries/")).toHaveLength(1);
    h.runner.scripts.completed = () => undefined;
    await h.crash({ retired: false });
    await h.settle();
    expect(h.runner.calls("kept").filter((call) => call.startsWith("completed"))).toHaveLength(2);
    expect(h.runner.calls("deleted").filter((call) => call.startsWith("completed"))).toHaveLength(1);
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("is dropped where a stored launch gives the task a new run", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    await h.controller.cancelTask("a");
    const { runId } = await h.launch("a");
    (await h.runner.phase("a")).stop();
    await h.settle();
    expect(await h.keys("/deliveries/")).toHaveLength(1);
    await h.crash({ retired: true });
    expect(await h.controller.taskStatus("a")).toMatchObject({ runId, state: StatePending });
    expect(await h.keys("/deliveries/")).toEqual([]);
    h.runner.scripts.completed = () => undefined;
  });
});
