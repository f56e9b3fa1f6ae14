import { describe, expect, test } from "vitest";
import type { LaunchedRun, TaskLaunch } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { leaseKey } from "../../src/store/keys.ts";
import { observed, openHarness, refusal } from "../support/controller-harness.ts";
import { CutStore } from "../support/cut-store.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";

/** What became of each: the outcome, or the code of the refusal. */
function outcomes(results: readonly PromiseSettledResult<LaunchedRun>[]): string[] {
  return results.map((result) => {
    if (result.status === "fulfilled") return result.value.outcome;
    if (result.reason instanceof ControllerError) return result.reason.code;
    throw result.reason;
  });
}

function many(count: number): TaskLaunch[] {
  return Array.from({ length: count }, (_, i) => ({ taskId: `t${i}`, metadata: { i } }));
}

describe("launching many tasks", () => {
  test("launches each as it would be alone, and answers in their order", async () => {
    await using h = await openHarness();
    const results = await h.controller.launchTasks(many(300));
    expect(outcomes(results)).toEqual(Array(300).fill("launched"));
    for (const [i, result] of results.entries()) {
      if (result.status !== "fulfilled") throw result.reason;
      const { taskId, runId, revision } = result.value;
      const status = await h.controller.taskStatus(taskId);
      expect([taskId, status.runId, status.metadata]).toEqual([`t${i}`, runId, `{"i":${i}}`]);
      expect(revision).toBeGreaterThan(0n);
    }
    expect(await h.controller.launchTasks([])).toEqual([]);
  });

  test("refuses one without harm to the others, as if it had been launched alone", async () => {
    await using h = await openHarness();
    const { revision } = await h.launch("there");
    const launches: TaskLaunch[] = [
      { taskId: "a" },
      { taskId: "../b", labels: { "": "" } },
      { taskId: "there", ifActive: "fail" },
      { taskId: "there", ifRevision: revision + 1_000n },
      { taskId: "absent", ifRevision: 7n },
      { taskId: "there", ifActive: "use-existing" },
      { taskId: "c", jsonMetadata: "[]" },
      { taskId: "d" },
    ];
    const results = await h.controller.launchTasks(launches);
    expect(outcomes(results)).toEqual([
      "launched",
      "INVALID_ARGUMENT",
      "ALREADY_EXISTS",
      "ABORTED",
      "ABORTED",
      "used-existing",
      "INVALID_ARGUMENT",
      "launched",
    ]);
    const [, bad] = results;
    const { taskId, ...options } = launches[1] as TaskLaunch;
    const alone = await refusal(h.controller.launchTask(taskId, options));
    expect((bad as PromiseRejectedResult).reason).toEqual(alone);
    expect(await h.controller.listTasks()).toEqual(["a", "d", "there"]);
  });

  test("launches those of the same task in their order, one after the other", async () => {
    await using h = await openHarness({ concurrency: 1 });
    await h.launch("busy");
    const launches: TaskLaunch[] = [];
    for (let n = 0; n < 5; n += 1) {
      for (const taskId of ["a", "b", "c"]) {
        // Some look for their request id first, which takes longer.
        launches.push({ taskId, metadata: { n }, requestId: n % 2 === 0 ? `${taskId}-${n}` : undefined });
      }
    }
    launches.push({ taskId: "a", ifActive: "fail" });
    const results = await h.controller.launchTasks(launches);
    expect(outcomes(results)).toEqual([
      ...Array<string>(3).fill("launched"),
      ...Array<string>(12).fill("restarted"),
      "ALREADY_EXISTS",
    ]);
    for (const [i, taskId] of ["a", "b", "c"].entries()) {
      const last = results[12 + i] as PromiseFulfilledResult<LaunchedRun>;
      const status = await h.controller.taskStatus(taskId);
      expect([status.metadata, status.runId]).toEqual(['{"n":4}', last.value.runId]);
    }
  });

  test("again with the same request ids changes nothing, and says what was done", async () => {
    await using h = await openHarness();
    const launches = many(20).map((launch, i) => ({ ...launch, requestId: `r${i}` }));
    const first = await h.controller.launchTasks(launches);
    await h.settle();
    const commits = h.handle.commits;
    const again = await h.controller.launchTasks(launches);
    expect(again.map((result) => (result as PromiseFulfilledResult<LaunchedRun>).value.runId)).toEqual(
      first.map((result) => (result as PromiseFulfilledResult<LaunchedRun>).value.runId),
    );
    expect(outcomes(again)).toEqual(outcomes(first));
    expect(h.handle.commits).toBe(commits);
    const other = await h.controller.launchTasks([{ taskId: "t0", requestId: "r1" }]);
    expect(outcomes(other)).toEqual(["ALREADY_EXISTS"]);
  });

  test("with one request id twice launches once, also where the server makes the task ids", async () => {
    await using h = await openHarness();
    const launches = ["x", "y", "z"].map((taskId) => ({ taskId, generatedTaskId: true, requestId: "r" }));
    const results = await h.controller.launchTasks(launches);
    const ids = results.map((result) => (result as PromiseFulfilledResult<LaunchedRun>).value.taskId);
    expect(new Set(ids).size).toBe(1);
    expect(await h.controller.listTasks()).toEqual([ids[0]]);
  });

  test("has many commits under way at once, and a bounded number", async () => {
    let active = 0;
    let most = 0;
    class BusyStore extends CutStore {
      override async commit(...args: Parameters<CutStore["commit"]>): Promise<bigint> {
        active += 1;
        most = Math.max(most, active);
        for (let i = 0; i < 10; i += 1) await Promise.resolve();
        active -= 1;
        return super.commit(...args);
      }
    }
    await using h = await openHarness({ wrap: (store) => new BusyStore(store), concurrency: 1 });
    await h.launch("busy");
    await h.settle();
    most = 0;
    await h.controller.launchTasks(many(1_000));
    expect(most).toBeGreaterThan(64);
    expect(most).toBeLessThanOrEqual(256);
    expect(await h.controller.countTasks()).toEqual(
      new Map([
        [1, 1_000n],
        [2, 1n],
      ]),
    );
  });

  test("tells each of what the store does not take, and the rest is on disk", async () => {
    const plan = new FaultPlan();
    await using h = await openHarness({ wrap: (store) => new FaultStore(store, plan) });
    plan.add({ at: plan.counts.commit + 10, of: "commit", kind: "refused" });
    const results = await h.controller.launchTasks(many(30));
    const done = results.filter((result) => result.status === "fulfilled").length;
    expect(done).toBeGreaterThan(0);
    expect(done).toBeLessThan(30);
    expect(new Set(outcomes(results))).toEqual(new Set(["launched", "UNAVAILABLE"]));
    await h.clock.advance(5_000);
    const stored = await h.controller.listTasks();
    expect(stored.length).toBe(done);
  });
});

describe("launches that wait until the runner was told of the end before them", () => {
  test("hold up nobody but those of their task, and say so, each once", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    h.runner.scripts.completed = "hold";
    // More than are launched side by side.
    const told = many(300);
    await h.controller.launchTasks(told);
    await h.settle();
    h.runner.scripts.running = "hold";
    let [free, waiting, over] = [0, 0, 0];
    const hooks = {
      onFree: (count: number) => void (free += count),
      onWait: (count: number) => {
        waiting += count;
        return () => void (over += count);
      },
    };
    const others = Array.from({ length: 20 }, (_, i) => ({ taskId: `other${i}` }));
    const again = [...told, { taskId: "t0" }, { taskId: "t0" }, ...others, { taskId: "../bad" }];
    const call = observed(h.controller.launchTasks(again, {}, hooks));
    await h.settle();
    expect(call.state()).toBe("waiting");
    for (const { taskId } of others) expect(await h.state(taskId)).toBe("Running");
    expect({ free, waiting, over }).toEqual({ free: 21, waiting: 302, over: 0 });
    h.runner.scripts.completed = () => undefined;
    for (const { taskId } of told) h.runner.held(taskId, "completed")?.return();
    expect(outcomes(await call.promise)).toEqual([
      ...Array<string>(300).fill("launched"),
      ...Array<string>(2).fill("restarted"),
      ...Array<string>(20).fill("launched"),
      "INVALID_ARGUMENT",
    ]);
    expect({ free, waiting, over }).toEqual({ free: 21, waiting: 302, over: 302 });
  });

  test("say so where they are launched alone, and those that wait for nothing do not", async () => {
    await using h = await openHarness();
    let waits = 0;
    const launch = () => observed(h.controller.launchTask("a", {}, () => void (waits += 1)));
    await launch().promise;
    h.runner.scripts.completed = "hold";
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(waits).toBe(0);
    const call = launch();
    await h.settle();
    expect([call.state(), waits]).toEqual(["waiting", 1]);
    h.runner.scripts.completed = () => undefined;
    h.runner.held("a", "completed")?.return();
    expect((await call.promise).outcome).toBe("launched");
    expect(waits).toBe(1);
  });
});

describe("launching many tasks under a signal", () => {
  test("begins no more once it is aborted, and says so of all that is not done", async () => {
    await using h = await openHarness();
    await h.launch("a");
    h.runner.scripts.completed = "hold";
    (await h.runner.phase("a")).return();
    await h.settle();
    // The first waits until the runner was told of the end before it; those of its task wait behind it.
    const leave = new AbortController();
    const launches = [{ taskId: "b" }, { taskId: "a" }, { taskId: "a" }, { taskId: "c" }];
    const call = observed(h.controller.launchTasks(launches, { signal: leave.signal }));
    await h.settle();
    expect(call.state()).toBe("waiting");
    leave.abort(new ControllerError("UNAVAILABLE", "left"));
    expect(outcomes(await call.promise)).toEqual(["launched", "UNAVAILABLE", "UNAVAILABLE", "launched"]);
    // The one that was under way takes place all the same; the one behind it does not.
    h.runner.held("a", "completed")?.return();
    await h.settle();
    const { runId, attempt } = await h.controller.taskStatus("a");
    expect(await h.keys("/leases/")).toContain(leaseKey("tests", "a", runId, attempt));
    expect(await h.transitions("a")).toEqual(["Pending: launched again after Completed", "Running"]);
    expect(await h.keys("/intents/")).toEqual([]);
    h.runner.scripts.completed = () => undefined;
  });

  test("that is aborted already launches nothing", async () => {
    await using h = await openHarness();
    const signal = AbortSignal.abort(new ControllerError("UNAVAILABLE", "left"));
    expect(outcomes(await h.controller.launchTasks(many(3), { signal }))).toEqual(Array(3).fill("UNAVAILABLE"));
    await h.settle();
    expect(await h.controller.listTasks()).toEqual([]);
  });
});

test("a controller that is closed takes none", async () => {
  await using h = await openHarness();
  await h.close();
  expect((await refusal(h.controller.launchTasks(many(2)))).code).toBe("UNAVAILABLE");
  await h.open();
});
