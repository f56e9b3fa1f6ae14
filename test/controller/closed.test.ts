/** What a controller that has closed still does: nothing, whatever was under way and whatever its store does. */
import { describe, expect, test } from "vitest";
import { type Harness, type HarnessOptions, observed, openHarness, refusal } from "../support/controller-harness.ts";
import { type Fault, type FaultOperation, FaultPlan, FaultStore } from "../support/fault-store.ts";

/** A harness whose store can be told to fail, and what it was told. */
async function openFaulty(options: HarnessOptions = {}): Promise<Faulty> {
  const plan = new FaultPlan();
  const h = await openHarness({ closeGraceMs: 1_000, wrap: (store) => new FaultStore(store, plan), ...options });
  return { h, plan, fail: (fault, nth = 1) => plan.add({ ...fault, at: plan.counts[fault.of] + nth }) };
}

interface Faulty {
  readonly h: Harness;
  readonly plan: FaultPlan;
  /** The `nth` operation of a kind from now on fails. */
  fail(fault: Omit<Fault, "at"> & { of: FaultOperation }, nth?: number): void;
}

/** Closes with runners that do not stop; then lets hours pass, and sees that nothing happens any more. */
async function closeForGood(h: Harness): Promise<void> {
  const closing = h.controller.close();
  await h.clock.advance(10_000);
  await closing;
  await h.settle();
  expect(h.clock.pending(), "timers").toBe(0);
}

async function expectQuiet(h: Harness, what: () => unknown): Promise<void> {
  const revision = h.disk.revision();
  const phases = h.runner.phases.length;
  what();
  await h.settle();
  await h.clock.advance(3_600_000);
  expect(h.clock.pending(), "timers").toBe(0);
  expect(h.disk.revision(), "the store's revision").toBe(revision);
  expect(h.runner.phases.length, "calls of the runner").toBe(phases);
}

describe("a closed controller", () => {
  test("does not record an onTaskCompleted that returns afterwards, calls nobody back, and tells again when it is opened", async () => {
    await using h = await openHarness({ closeGraceMs: 1_000 });
    h.runner.scripts.completed = "hold";
    const calls: number[] = [];
    await h.launch("a", { onState: (state) => calls.push(state) });
    (await h.runner.phase("a")).return();
    const told = await h.runner.phase("a", "completed");
    await closeForGood(h);
    await expectQuiet(h, () => told.return());
    expect(calls).toEqual([]);
    expect(await h.keys("/deliveries/")).toHaveLength(1);
    await h.open();
    (await h.runner.phase("a", "completed")).return();
    await h.settle();
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("tells again of an end whose onTaskCompleted stopped because of the closing", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    (await h.runner.phase("a")).return();
    const told = await h.runner.phase("a", "completed");
    const closing = h.controller.close();
    await h.settle();
    expect(told.abortKind).toBe("SHUTDOWN");
    told.stop();
    await closing;
    expect(await h.keys("/deliveries/")).toHaveLength(1);
    await h.open();
    (await h.runner.phase("a", "completed")).return();
    await h.settle();
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test.each(["launch", "delete"] as const)(
    "has let no %s go before an end that the closing kept from being told",
    async (call) => {
      await using h = await openHarness();
      h.runner.scripts.completed = "hold";
      await h.launch("a");
      (await h.runner.phase("a")).return();
      const told = await h.runner.phase("a", "completed");
      const waiting = call === "launch" ? h.launch("a") : h.controller.deleteTask("a");
      await h.settle();
      const closing = h.controller.close();
      await h.settle();
      told.stop();
      expect((await refusal(waiting)).details.reason).toBe("DRAINING");
      await closing;
      expect((await h.stored("a"))?.status.state).toBe(3);
      await h.open();
      expect((await h.runner.phase("a", "completed")).context.runId).toBe(told.context.runId);
      (await h.runner.phase("a", "completed")).return();
    },
  );

  test.each(["setProgress", "addLogEntry", "getProgress", "loadTaskMetadata"] as const)(
    "rejects a runner's %s",
    async (method) => {
      await using h = await openHarness({ closeGraceMs: 1_000 });
      await h.launch("a", { metadata: { n: 1 } });
      const { task } = await h.runner.phase("a");
      await closeForGood(h);
      const call = {
        setProgress: () => task.setProgress({ current: 1 }),
        addLogEntry: () => task.addLogEntry("info", "x"),
        getProgress: () => task.getProgress(),
        loadTaskMetadata: () => task.loadTaskMetadata(),
      }[method];
      expect(["UNAVAILABLE", "FAILED_PRECONDITION"]).toContain((await refusal(call())).code);
      h.runner.abandon();
      await h.open();
    },
  );

  test.each(["refused", "hang"] as const)(
    "leaves no call of a runner or a client waiting for a store that failed until then (%s)",
    async (kind) => {
      const { h, plan, fail } = await openFaulty();
      await using _ = h;
      await h.launch("a");
      const { task } = await h.runner.phase("a");
      fail({ of: "commit", kind, lasting: true });
      const calls = [
        task.setProgress({ current: 1 }),
        task.addLogEntry("info", "x"),
        h.launch("b"),
        h.controller.cancelTask("a"),
      ].map((call: Promise<unknown>) => observed(call));
      await h.settle();
      expect(calls[0]?.state()).toBe("waiting");
      await closeForGood(h);
      expect(calls.map((call) => call.state())).toEqual(["failed", "failed", "failed", "failed"]);
      for (const { promise } of calls) expect((await refusal(promise)).code).toMatch(/^(UNAVAILABLE|FAILED_PRE)/);
      h.runner.abandon();
      plan.heal();
      await h.settle();
      await h.open();
    },
  );

  test.each(["a launch", "the line"])("starts no run whose offer gets to disk afterwards (from %s)", async (from) => {
    const { h, plan, fail } = await openFaulty({ concurrency: 1 });
    await using _ = h;
    if (from === "a launch") {
      fail({ of: "commit", kind: "late" });
    } else {
      await h.launch("busy");
      const busy = await h.runner.phase("busy");
      fail({ of: "commit", kind: "late" }, 4);
      busy.return();
    }
    void h.launch("a").catch(() => {});
    await h.settle();
    expect(plan.isFailing, "a commit hangs").toBe(true);
    await closeForGood(h);
    const phases = h.runner.phases.length;
    plan.heal();
    await h.settle();
    await h.clock.advance(3_600_000);
    expect(h.clock.pending(), "timers").toBe(0);
    expect(h.runner.phases.length, "calls of the runner").toBe(phases);
    expect(await h.keys("/leases/tests/a/"), "the offer is on disk").toHaveLength(1);
    h.runner.abandon();
    await h.open();
    expect((await h.runner.phase("a")).context.attempt).toBe(2);
  });
});
