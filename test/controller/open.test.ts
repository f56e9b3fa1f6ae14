import { describe, expect, test } from "vitest";
import { openController } from "../../src/controller/open-controller.ts";
import { createHarness, invalidFields, observed, openHarness, refusal } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";
import { ScriptedRunner } from "../support/scripted-runner.ts";

describe("opening a controller", () => {
  const bad: ReadonlyArray<[string, object, string[]]> = [
    ["no name", { name: undefined }, ["name"]],
    ["a name with capitals", { name: "A" }, ["name"]],
    ["a name with a slash", { name: "a/b" }, ["name"]],
    ["a name that is too long", { name: "a".repeat(64) }, ["name"]],
    ["no runner", { runner: undefined }, ["runner"]],
    ["a runner without onTaskRunning", { runner: {} }, ["runner"]],
    ["a runner whose onTaskRunning is no function", { runner: { onTaskRunning: 5 } }, ["runner"]],
    ["a concurrency of none", { concurrency: 0 }, ["concurrency"]],
    ["a concurrency that is no whole number", { concurrency: 1.5 }, ["concurrency"]],
    ["a concurrency above the limit", { concurrency: 10_001 }, ["concurrency"]],
    ["a concurrency above its own limit", { concurrency: 3, limits: { activeMax: 2 } }, ["concurrency"]],
    ["a negative retention", { retention: { afterEndMs: -1 } }, ["retention.afterEndMs"]],
    ["a grace time that is none", { closeGraceMs: Number.NaN }, ["closeGraceMs"]],
    [
      "everything wrong",
      { name: "", runner: null, concurrency: -1, closeGraceMs: -1, retention: { afterEndMs: Number.NaN } },
      ["name", "runner", "concurrency", "closeGraceMs", "retention.afterEndMs"],
    ],
  ];
  test.each(bad)("with %s is refused, and names every bad option", async (_, options, fields) => {
    const h = await createHarness();
    expect(await invalidFields(h.open(options))).toEqual(fields);
    expect(await h.keys("/")).toEqual([]);
    expect(h.clock.pending()).toBe(0);
  });

  test("without a store is refused", async () => {
    const call = openController({ name: "a", store: undefined as never, runner: new ScriptedRunner() });
    expect(await invalidFields(call)).toEqual(["store"]);
  });

  test("on an empty store writes nothing", async () => {
    await using h = await openHarness();
    await h.settle();
    expect(h.handle.commits).toBe(0);
  });

  test("closes it when its signal is aborted, and leaves no listener there", async () => {
    const stop = new AbortController();
    await using h = await openHarness({ signal: stop.signal });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    stop.abort();
    await h.settle();
    expect(phase.abortKind).toBe("SHUTDOWN");
    const closed = observed(h.controller.close());
    await h.settle();
    expect(closed.state()).toBe("waiting");
    phase.stop();
    await closed.promise;
    expect((await refusal(h.launch("b"))).code).toBe("UNAVAILABLE");
    await h.open({ signal: undefined });
  });

  test("with a signal that is aborted already gives a closed one, which runs nothing", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.settle();
    await h.crash({ signal: AbortSignal.abort() });
    await h.settle();
    expect(h.runner.held("a")).toBeUndefined();
    expect((await refusal(h.launch("b"))).details.reason).toBe("DRAINING");
    await h.controller.close();
    expect(h.clock.pending()).toBe(1);
    await h.open();
    expect((await h.runner.phase("a")).context.attempt).toBe(2);
  });

  test.each(["refused", "hang"] as const)(
    "is given up where its signal is aborted while the store fails (%s)",
    async (kind) => {
      const plan = new FaultPlan([{ at: 3, kind, lasting: true }]);
      const stop = new AbortController();
      const h = await createHarness({ closeGraceMs: 1_000, signal: stop.signal, wrap: (s) => new FaultStore(s, plan) });
      const opening = observed(h.open());
      await h.clock.advance(60_000);
      expect(opening.state()).toBe("waiting");
      stop.abort();
      await h.clock.advance(10_000);
      expect((await refusal(opening.promise)).code).toBe("UNAVAILABLE");
      expect(h.clock.pending()).toBe(0);
    },
  );

  test("finishes what an opening that was cut off at any commit began", async () => {
    for (const applied of [false, true]) {
      for (let nth = 1; nth <= 6; nth += 1) {
        await using h = await openHarness({ concurrency: 3 });
        for (const id of ["running", "canceled", "restarted", "waiting"]) await h.launch(id);
        for (const id of ["running", "canceled", "restarted"]) await h.runner.phase(id);
        await h.controller.cancelTask("canceled");
        await h.launch("restarted", { metadata: { n: 2 } });
        h.handle.cut();
        h.runner.abandon();
        const opening = h.open();
        h.handle.cutAtCommit(nth, { applied });
        void opening.catch(() => {});
        await h.settle();
        await h.crash();
        await h.settle();
        expect(await h.state("canceled")).toBe("Canceled");
        expect(h.runner.all("canceled", "running")).toHaveLength(1);
        expect(await (await h.runner.phase("restarted")).task.loadTaskMetadata()).toEqual({ n: 2 });
        await h.runner.phase("running");
        (await h.runner.phase("running")).return();
        await h.runner.phase("waiting");
        expect(h.runner.all("canceled", "completed").length).toBeGreaterThanOrEqual(1);
      }
    }
  });
});

describe("two controllers on one store", () => {
  test("have tasks, counts, lists, request ids and queues of their own", async () => {
    await using h = await openHarness({ concurrency: 1 });
    const runner = new ScriptedRunner();
    // A name that begins like the other's.
    const other = await openController({
      name: "tests-2",
      store: h.disk,
      runner,
      clock: h.clock,
      concurrency: 1,
      retention: { afterEndMs: 3_600_000 },
    });
    await h.launch("a", { labels: { l: "1" }, requestId: "r" });
    await other.launchTask("a", { labels: { l: "1" }, requestId: "r" });
    await other.launchTask("b");
    await h.settle();
    expect([h.runner.calls("a"), runner.calls("a"), runner.calls("b")]).toEqual([
      ["pending 1", "running 1"],
      ["pending 1", "running 1"],
      [],
    ]);
    expect(await h.controller.listTasks()).toEqual(["a"]);
    expect(await other.listTasks()).toEqual(["a", "b"]);
    expect(await h.query({ labels: { l: "1" } })).toEqual(["a"]);
    expect(await h.query({ order: "newest" })).toEqual(["a"]);
    expect((await h.controller.countTasks()).get(2)).toBe(1n);
    expect([...(await other.countTasks())].sort()).toEqual([
      [1, 1n],
      [2, 1n],
    ]);
    (await runner.phase("a")).return();
    await h.settle();
    await other.deleteTask("a");
    expect(await h.state("a")).toBe("Running");
    // One closes, the other goes on.
    const closing = other.close();
    (await runner.phase("b")).stop();
    await closing;
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(await h.state("a")).toBe("Completed");
  });
});

test("two of a name are not open on a store at one time", async () => {
  await using h = await openHarness();
  const again = openController({ name: h.controller.name, store: h.handle, runner: h.runner });
  expect((await refusal(again)).code).toBe("FAILED_PRECONDITION");
  await using other = await openController({ name: "another", store: h.handle, runner: h.runner });
  expect(other.name).toBe("another");
});
