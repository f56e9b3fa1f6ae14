import { describe, expect, test } from "vitest";
import { taskKey } from "../../src/store/keys.ts";
import { controllerName, invalidFields, observed, openHarness, refusal } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";
import { GatedStore } from "../support/gated-store.ts";

describe("a wait", () => {
  test("is over when the task ends, and answers with its end", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a");
    const timers = h.clock.pending();
    const waits = [{}, { timeoutMs: 60_000 }, { runId }].map((options) =>
      observed(h.controller.waitTask("a", options)),
    );
    const phase = await h.runner.phase("a");
    await phase.task.setProgress({ current: 1 });
    await h.clock.advance(30_000);
    expect(waits.map((wait) => wait.state())).toEqual(["waiting", "waiting", "waiting"]);
    phase.return({ n: 1 });
    await h.settle();
    const now = await h.controller.readTask("a");
    for (const wait of waits) expect(await wait.promise).toEqual({ ...now, done: true });
    expect(now.status.result).toBe('{"n":1}');
    expect(h.clock.pending()).toBe(timers);
  });

  test("for a task that has ended is over at once", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a");
    (await h.runner.phase("a")).throw(new Error("no"));
    await h.settle();
    expect(await h.controller.waitTask("a")).toMatchObject({ done: true, status: { state: 4 } });
    expect(await h.controller.waitTask("a", { runId, timeoutMs: 0 })).toMatchObject({ done: true });
  });

  test("takes as long as it was asked to at most, and then shows the task as it is", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const timers = h.clock.pending();
    const wait = observed(h.controller.waitTask("a", { timeoutMs: 5_000 }));
    await h.clock.advance(4_999);
    await phase.task.setProgress({ current: 7 });
    await h.settle();
    expect(wait.state()).toBe("waiting");
    await h.clock.advance(1);
    expect(await wait.promise).toMatchObject({ done: false, status: { state: 2, progress: { current: 7n } } });
    expect(h.clock.pending()).toBe(timers);
  });

  test("of no time at all answers at once", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.settle();
    expect(await h.controller.waitTask("a", { timeoutMs: 0 })).toMatchObject({ done: false, status: { state: 2 } });
  });

  test("without a run is for whichever run of the task ends", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const wait = observed(h.controller.waitTask("a"));
    const { runId } = await h.launch("a");
    (await h.runner.phase("a")).stop();
    await h.settle();
    expect(wait.state()).toBe("waiting");
    (await h.runner.phase("a")).return();
    expect(await wait.promise).toMatchObject({ done: true, status: { state: 3, runId } });
  });

  test("shows the task as it is when its signal is aborted", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const leave = new AbortController();
    const wait = observed(h.controller.waitTask("a", { signal: leave.signal }));
    await h.settle();
    leave.abort();
    expect(await wait.promise).toMatchObject({ done: false, status: { state: 2 } });
  });

  test("ends with UNAVAILABLE when the controller closes", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const wait = refusal(h.controller.waitTask("a"));
    await h.settle();
    await h.close();
    expect(await wait).toMatchObject({ code: "UNAVAILABLE", details: { reason: "DRAINING" } });
    await h.open();
  });

  test("ends when the task is deleted", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const wait = refusal(h.controller.waitTask("a", { runId: (await h.launch("a")).runId }));
    await h.settle();
    await h.controller.cancelTask("a");
    (await h.runner.phase("a")).stop();
    await h.settle();
    await h.controller.deleteTask("a");
    // The launch that it waited for was taken back by the cancel, before the task was deleted.
    expect((await wait).code).toBe("FAILED_PRECONDITION");
    expect((await refusal(h.controller.waitTask("a"))).code).toBe("NOT_FOUND");
  });
});

describe("a wait for a run", () => {
  test("that is not the current one is refused, and names that", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a");
    const error = await refusal(h.controller.waitTask("a", { runId: "other" }));
    expect(error).toMatchObject({ code: "FAILED_PRECONDITION", details: { metadata: { run_id: runId } } });
    (await h.runner.phase("a")).return();
    await h.settle();
    expect((await refusal(h.controller.waitTask("a", { runId: "other" }))).code).toBe("FAILED_PRECONDITION");
  });

  test("ends so when the run is replaced", async () => {
    await using h = await openHarness();
    const first = await h.launch("a");
    const wait = refusal(h.controller.waitTask("a", { runId: first.runId }));
    await h.settle();
    const second = await h.launch("a");
    (await h.runner.phase("a")).stop();
    expect(await wait).toMatchObject({
      code: "FAILED_PRECONDITION",
      details: { metadata: { run_id: second.runId } },
    });
  });

  test("that waits for the one before it to stop waits for it, too", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    await h.controller.cancelTask("a");
    const { runId, outcome } = await h.launch("a");
    expect(outcome).toBe("restarted");
    const wait = observed(h.controller.waitTask("a", { runId }));
    expect(await h.controller.waitTask("a", { runId, timeoutMs: 0 })).toMatchObject({ done: false });
    // The end of the run before is not the one that is waited for.
    (await h.runner.phase("a")).stop();
    await h.settle();
    expect([await h.state("a"), wait.state()]).toEqual(["Canceled", "waiting"]);
    expect(await h.controller.waitTask("a", { runId, timeoutMs: 0 })).toMatchObject({ done: false });
    h.runner.held("a", "completed")?.return();
    (await h.runner.phase("a")).return();
    expect(await wait.promise).toMatchObject({ done: true, status: { state: 3, runId } });
    h.runner.held("a", "completed")?.return();
  });

  test.each(["a cancel", "a newer launch", "a second cancel", "a second cancel while the runner is told of the end"])(
    "that %s takes back before it began ends at once",
    async (what) => {
      await using h = await openHarness();
      h.runner.scripts.completed = "hold";
      await h.launch("a");
      if (what.startsWith("a second")) await h.controller.cancelTask("a");
      const { runId } = await h.launch("a");
      if (what.endsWith("told of the end")) (await h.runner.phase("a")).stop();
      await h.settle();
      const wait = refusal(h.controller.waitTask("a", { runId }));
      await h.settle();
      if (what === "a newer launch") await h.launch("a");
      else await h.controller.cancelTask("a");
      expect((await wait).code).toBe("FAILED_PRECONDITION");
      h.runner.held("a", "completed")?.return();
    },
  );
});

describe("a wait is refused", () => {
  test("for a task that is not there", async () => {
    await using h = await openHarness();
    expect(await refusal(h.controller.waitTask("a", { runId: "x" }))).toMatchObject({
      code: "NOT_FOUND",
      details: { resource: { type: "task", name: "tests/a" } },
    });
  });

  test("with bad options, all of which it names", async () => {
    await using h = await openHarness();
    const bad = { runId: "a\nb", timeoutMs: -1 };
    expect(await invalidFields(h.controller.waitTask("..", bad))).toEqual(["task_id", "run_id", "timeout"]);
    expect(await invalidFields(h.controller.waitTask("a", { timeoutMs: Number.NaN }))).toEqual(["timeout"]);
  });

  test("where as many watch and wait as may, unless there is nothing to wait for", async () => {
    await using h = await openHarness({ limits: { watchersMax: 2 } });
    await h.launch("a");
    const leave = new AbortController();
    const waits = [0, 1].map(() => h.controller.waitTask("a", { signal: leave.signal }));
    await h.settle();
    expect(await refusal(h.controller.waitTask("a"))).toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      details: { reason: "LIMIT", metadata: { limit: "watchers_max", value: "2" } },
    });
    const watch = h.controller.watchTask("a")[Symbol.asyncIterator]();
    expect((await refusal(watch.next())).code).toBe("RESOURCE_EXHAUSTED");
    expect((await h.controller.waitTask("a", { timeoutMs: 0 })).done).toBe(false);
    leave.abort();
    await Promise.all(waits);
    const again = observed(h.controller.waitTask("a"));
    (await h.runner.phase("a")).return();
    expect((await again.promise).done).toBe(true);
  });

  test("while the store fails; one that waits already goes on when it is back", async () => {
    const plan = new FaultPlan();
    await using h = await openHarness({ wrap: (store) => new FaultStore(store, plan) });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const wait = observed(h.controller.waitTask("a"));
    await h.settle();
    plan.add({ at: plan.operations + 1, kind: "refused", lasting: true });
    phase.return();
    await h.settle();
    expect(await refusal(h.controller.waitTask("a"))).toMatchObject({
      code: "UNAVAILABLE",
      details: { reason: "STORE_UNAVAILABLE" },
    });
    expect(wait.state()).toBe("waiting");
    plan.heal();
    await h.clock.advance(5_000);
    expect((await wait.promise).done).toBe(true);
  });
});

describe("a cancel that waits", () => {
  test("has ended where a newer run has taken the place of the one it canceled before it looks", async () => {
    let store: GatedStore | undefined;
    await using h = await openHarness({ wrap: (inner) => (store = new GatedStore(inner)) });
    await h.launch("a");
    const call = observed(h.controller.cancelTask("a", { waitMs: 60_000 }));
    await h.settle();
    const { runId } = await h.launch("a");
    store?.hold(taskKey(controllerName, "a"));
    (await h.runner.phase("a")).stop();
    await h.settle();
    expect(call.state()).toBe("waiting");
    store?.release();
    expect(await call.promise).toMatchObject({ stage: "ended", status: { runId } });
  });
});
