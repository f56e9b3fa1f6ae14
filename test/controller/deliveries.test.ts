import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { ControllerError } from "../../src/controller/error.ts";
import type { Entry, ScanOptions, Store } from "../../src/store/store.ts";
import { observed, openHarness, refusal } from "../support/controller-harness.ts";

/** Pages of deliveries arrive when what they show is gone; `onRead` is called when they are read. */
function readDeliveriesLate(store: Store, onRead: () => void): Store {
  async function scan(options: ScanOptions): Promise<Entry[]> {
    const page = await store.scan(options);
    if (!options.prefix.startsWith("/deliveries/")) return page;
    onRead();
    for (const { key } of page) while ((await store.get(key)) !== undefined) await nextTurn();
    await nextTurn();
    return page;
  }
  return new Proxy(store, {
    get(target, name): unknown {
      if (name === "scan") return scan;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("onTaskCompleted", () => {
  test("is called once after the end is on disk, with the state, the run and the task", async () => {
    await using h = await openHarness();
    const onDisk: unknown[] = [];
    h.runner.scripts.completed = async (phase) => {
      const stored = await h.stored(phase.taskId);
      onDisk.push([
        stored?.status.state,
        await phase.task.loadTaskMetadata(),
        (await phase.task.getProgress())?.current,
      ]);
    };
    const { runId } = await h.launch("a", { metadata: { n: 1, text: "x".repeat(3_000) } });
    const phase = await h.runner.phase("a");
    await phase.task.setProgress({ current: 2 });
    phase.return("r");
    await h.settle();
    expect(onDisk).toEqual([[3, { n: 1, text: "x".repeat(3_000) }, 2n]]);
    const [completed] = h.runner.all("a", "completed");
    expect(completed).toMatchObject({ state: 3, args: [], context: { runId, attempt: 1, fence: phase.context.fence } });
    expect(completed?.signal.aborted).toBe(false);
  });

  test("has the error for Failed, and nothing more for the others", async () => {
    await using h = await openHarness();
    for (const id of ["f", "c"]) await h.launch(id);
    (await h.runner.phase("f")).throw(new Error("no"));
    await h.controller.cancelTask("c");
    (await h.runner.phase("c")).stop();
    await h.settle();
    const [failed] = h.runner.all("f", "completed");
    expect([failed?.state, failed?.args.length, failed?.args[0]?.message, failed?.args[0]?.reason]).toEqual([
      4,
      1,
      "no",
      "RUNNER_ERROR",
    ]);
    expect(h.runner.all("c", "completed").map(({ state, args }) => [state, args])).toEqual([[6, []]]);
  });

  test("can write nothing to the task any more", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    (await h.runner.phase("a")).return();
    const { task } = await h.runner.phase("a", "completed");
    await expect(task.setProgress({ current: 1 })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await expect(task.addLogEntry("info", "x")).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  });

  test("that takes 30 s is told to stop, is logged and counts as told", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const states: number[] = [];
    await h.launch("a", { onState: (state) => states.push(state) });
    (await h.runner.phase("a")).return();
    const completed = await h.runner.phase("a", "completed");
    await h.clock.advance(29_999);
    expect([completed.signal.aborted, states, (await h.keys("/deliveries/")).length]).toEqual([false, [], 1]);
    await h.clock.advance(1);
    expect([completed.abortKind, states, (await h.keys("/deliveries/")).length]).toEqual(["TIMEOUT", [3], 0]);
    expect(h.messages("warn")).toEqual([expect.stringContaining("30000 ms")]);
    expect(h.faults.counts().completions_failed).toBe(1);
    completed.throw(new Error("late"));
    await h.settle();
    expect(states).toEqual([3]);
  });

  test.each(["before", "after"] as const)(
    "is called again over a crash %s it has returned, if that is not on disk",
    async (when) => {
      await using h = await openHarness();
      h.runner.scripts.completed = "hold";
      await h.launch("a");
      (await h.runner.phase("a")).throw(new Error("no"));
      const first = await h.runner.phase("a", "completed");
      if (when === "after") {
        h.handle.cutAtCommit(1, { applied: false });
        first.return();
        await h.settle();
      }
      await h.crash();
      const again = await h.runner.phase("a", "completed");
      expect([again.state, again.args[0]?.message, again.context.runId]).toEqual([4, "no", first.context.runId]);
      again.return();
      await h.settle();
      await h.crash();
      await h.settle();
      expect(h.runner.all("a", "completed")).toHaveLength(2);
    },
  );

  test("is called once for an end that the opening itself makes, also where that was told while the entries were read", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.runner.phase("a");
    await h.controller.cancelTask("a");
    let read = (): void => {};
    const isRead = new Promise<void>((resolve) => (read = resolve));
    h.runner.scripts.completed = () => isRead;
    await h.crash({ wrap: (store) => readDeliveriesLate(store, () => read()) });
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
    expect(h.runner.all("a", "completed")).toHaveLength(1);
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("is waited for by a deletion, a launch and the sweep, and not by watchers and readers", async () => {
    await using h = await openHarness({ retention: { afterEndMs: 0 } });
    h.runner.scripts.completed = "hold";
    for (const id of ["deleted", "launched", "swept"]) await h.launch(id);
    const watch = h.controller.watchTask("deleted")[Symbol.asyncIterator]();
    for (const id of ["deleted", "launched", "swept"]) (await h.runner.phase(id)).return();
    await h.settle();
    const seen: unknown[] = [];
    for (let next = await watch.next(); !next.done; next = await watch.next()) seen.push(next.value.status?.state);
    expect(seen.at(-1)).toBe(3);

    const deletion = observed(h.controller.deleteTask("deleted"));
    const launch = observed(h.launch("launched"));
    await h.clock.advance(20_000);
    expect([deletion.state(), launch.state()]).toEqual(["waiting", "waiting"]);
    expect(await h.states("deleted", "launched", "swept")).toEqual(["Completed", "Completed", "Completed"]);
    for (const id of ["deleted", "launched", "swept"]) (await h.runner.phase(id, "completed")).return();
    await deletion.promise;
    expect((await launch.promise).outcome).toBe("launched");
    await h.clock.advance(10_000);
    expect(await h.controller.listTasks()).toEqual(["launched"]);
  });

  test("keeps nobody else who asks for the task waiting, also while a launch and a deletion wait for it", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const { runId } = await h.launch("a");
    (await h.runner.phase("a")).return();
    const completed = await h.runner.phase("a", "completed");
    const launch = observed(h.launch("a", { requestId: "r" }));
    const deletion = observed(h.controller.deleteTask("a"));
    await h.settle();
    expect([launch.state(), deletion.state()]).toEqual(["waiting", "waiting"]);
    expect((await refusal(h.launch("a", { ifEnded: "fail" }))).code).toBe("ALREADY_EXISTS");
    expect((await h.launch("a", { ifEnded: "use-existing" })).outcome).toBe("used-existing");
    expect((await refusal(h.controller.deleteTask("a", { ifRevision: 1n }))).code).toBe("ABORTED");
    expect((await h.controller.cancelTask("a", { runId })).stage).toBe("ended");
    expect((await h.controller.waitTask("a", { runId })).done).toBe(true);
    expect((await refusal(h.controller.waitTask("a", { runId: "none" }))).code).toBe("FAILED_PRECONDITION");
    completed.return();
    // Whichever comes first: the task is there, with the new run.
    const deleted = await deletion.promise.then(
      () => "deleted",
      (error: ControllerError) => error.code,
    );
    expect(["deleted", "FAILED_PRECONDITION"]).toContain(deleted);
    expect([(await launch.promise).outcome, await h.controller.listTasks()]).toEqual(["launched", ["a"]]);
  });

  test("is called for each end of an id", async () => {
    await using h = await openHarness();
    for (let i = 0; i < 3; i += 1) {
      await h.launch("a", { metadata: { i } });
      (await h.runner.phase("a")).return();
      await h.settle();
    }
    const runs = h.runner.all("a", "completed").map((phase) => phase.context.runId);
    expect(new Set(runs).size).toBe(3);
  });

  test("may launch its own task again without waiting for that", async () => {
    await using h = await openHarness();
    const launches: Array<Promise<unknown>> = [];
    h.runner.scripts.completed = (phase) => {
      if (launches.length < 3) launches.push(h.launch(phase.taskId));
    };
    h.runner.scripts.running = () => undefined;
    await h.launch("a");
    await h.settle();
    await Promise.all(launches);
    await h.settle();
    expect(h.runner.all("a", "completed")).toHaveLength(4);
  });

  test("that is no longer there when the controller is opened again is not waited for", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.runner.phase("a", "completed");
    await h.crash({ runner: { onTaskRunning: () => {} } });
    await h.settle();
    expect(await h.keys("/deliveries/")).toEqual([]);
    await h.controller.deleteTask("a");
    expect(await h.controller.listTasks()).toEqual([]);
  });
});

describe("callbacks of a launch", () => {
  test("are called once, at the end, after onTaskCompleted, the state first", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const calls: unknown[] = [];
    await h.launch("a", {
      metadata: { text: "m".repeat(3_000) },
      onStatus: (status) => calls.push([status.state, status.result, status.metadata.length, status.logs.length]),
      onState: (state) => calls.push(state),
    });
    const phase = await h.runner.phase("a");
    await phase.task.addLogEntry("info", "x");
    phase.return("r".repeat(3_000));
    const completed = await h.runner.phase("a", "completed");
    await h.settle();
    expect(calls).toEqual([]);
    completed.return();
    await h.settle();
    expect(calls).toEqual([3, [3, `"${"r".repeat(3_000)}"`, 3_011, 1]]);
    await h.launch("a");
    (await h.runner.phase("a")).return();
    (await h.runner.phase("a", "completed")).return();
    await h.settle();
    expect(calls).toHaveLength(2);
  });

  test.each([
    ["Completed", 3],
    ["Failed", 4],
    ["Canceled", 6],
  ])("are called for %s", async (name, state) => {
    await using h = await openHarness();
    const calls: number[] = [];
    await h.launch("a", { onState: (each) => calls.push(each) });
    const phase = await h.runner.phase("a");
    if (name === "Completed") phase.return();
    if (name === "Failed") phase.throw(new Error("no"));
    if (name === "Canceled") {
      await h.controller.cancelTask("a");
      phase.stop();
    }
    await h.settle();
    expect(calls).toEqual([state]);
  });

  test("of every launch of a run are called, over a restart and a resume at the id's next end", async () => {
    await using h = await openHarness();
    const calls: string[] = [];
    await h.launch("a", { onState: () => calls.push("first") });
    await h.launch("a", { ifActive: "use-existing", onState: () => calls.push("existing") });
    await h.launch("a", { onState: () => calls.push("restart") });
    (await h.runner.phase("a")).stop();
    await h.settle();
    expect(calls).toEqual([]);
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(calls).toEqual(["first", "existing", "restart"]);
  });

  test("of a request that is repeated while its launch waits for the end before it are called at the end of its own run", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    const first = await h.runner.phase("a");
    await h.controller.cancelTask("a");
    await h.launch("a", { requestId: "r" });
    first.stop();
    const told = await h.runner.phase("a", "completed");
    const calls: unknown[] = [];
    await h.launch("a", { requestId: "r", onState: (state) => calls.push(state) });
    h.runner.scripts.completed = () => undefined;
    told.return();
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(calls).toEqual([3]);
  });

  test("of a launch that is repeated by its request id are called too", async () => {
    await using h = await openHarness();
    const calls: string[] = [];
    await h.launch("a", { requestId: "r", onState: () => calls.push("first") });
    await h.launch("a", { requestId: "r", onState: () => calls.push("again") });
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(calls).toEqual(["first", "again"]);
  });

  test("that come in while the runner is told of an end are for the next", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const calls: number[] = [];
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.runner.phase("a", "completed");
    await h.launch("a", { ifEnded: "use-existing", onState: (state) => calls.push(state) });
    (await h.runner.phase("a", "completed")).return();
    await h.settle();
    expect(calls).toEqual([]);
    await h.launch("a");
    (await h.runner.phase("a")).throw(new Error("no"));
    (await h.runner.phase("a", "completed")).return();
    await h.settle();
    expect(calls).toEqual([4]);
  });

  test("of a launch that is refused are never called", async () => {
    await using h = await openHarness();
    const calls: number[] = [];
    await h.launch("a");
    await h.launch("a", { ifActive: "fail", onState: (state) => calls.push(state) }).catch(() => {});
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(calls).toEqual([]);
  });

  test("are not called on close, nor after a crash", async () => {
    await using h = await openHarness();
    const calls: number[] = [];
    await h.launch("a", { onState: (state) => calls.push(state) });
    await h.reopen();
    await h.crash();
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(calls).toEqual([]);
  });

  test("that throw, at once or later, or whatever, are logged, and the others are called", async () => {
    await using h = await openHarness();
    const calls: string[] = [];
    const hostile = new Proxy(
      {},
      {
        get: () => {
          throw new Error("trap");
        },
      },
    );
    await h.launch("a", {
      onState: () => {
        throw new Error("at once");
      },
      onStatus: () => calls.push("own"),
    });
    await h.launch("a", {
      ifActive: "use-existing",
      onState: async () => {
        throw new Error("later");
      },
    });
    await h.launch("a", {
      ifActive: "use-existing",
      onState: () => {
        throw hostile;
      },
      onStatus: () => {
        throw undefined;
      },
    });
    await h.launch("a", { ifActive: "use-existing", onState: () => calls.push("other") });
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(calls).toEqual(["own", "other"]);
    expect(h.messages("warn")).toEqual(Array.from({ length: 4 }, () => "a callback of a launch threw"));
  });
});
