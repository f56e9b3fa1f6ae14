import { describe, expect, test } from "vitest";
import { Code } from "#gen/google/rpc/code_pb.js";
import { createHarness, invalidFields, observed, openHarness } from "../support/controller-harness.ts";

const timedOut = (phase: string, ms: number) => ({
  code: Code.DEADLINE_EXCEEDED,
  reason: "TIMEOUT",
  message: `the ${phase} phase took longer than ${ms} ms, and was told to stop`,
});

describe("onTaskRunning that takes longer than it may", () => {
  test("is told to stop, not before, and its task is Failed when it does", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.clock.advance(999);
    expect(phase.signal.aborted).toBe(false);
    await h.clock.advance(1);
    expect(phase.abortKind).toBe("TIMEOUT");
    expect(h.messages("warn")).toEqual(["a phase takes too long, and is told to stop"]);
    expect(h.faults.counts().phases_timed_out).toBe(1);
    phase.stop();
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect([await h.state("a"), status.error]).toEqual([
      "Failed",
      expect.objectContaining(timedOut("running", 1_000)) as unknown,
    ]);
    expect(h.runner.all("a", "completed")[0]?.args).toMatchObject([timedOut("running", 1_000)]);
  });

  test("and returns all the same has completed its task", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.clock.advance(1_000);
    phase.return("late");
    await h.settle();
    expect(await h.controller.taskStatus("a")).toMatchObject({ state: 3, result: '"late"' });
  });

  test("and throws something else has failed with that", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.clock.advance(1_000);
    phase.throw(new Error("the disk is full"));
    await h.settle();
    expect((await h.controller.taskStatus("a")).error).toMatchObject({
      reason: "RUNNER_ERROR",
      message: "the disk is full",
    });
  });

  test("and ignores that goes on, keeps its place, and what it says counts", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000, concurrency: 1 });
    await h.launch("a");
    await h.launch("b");
    const phase = await h.runner.phase("a");
    await h.clock.advance(60_000);
    await phase.task.setProgress({ current: 5 });
    expect(await h.states("a", "b")).toEqual(["Running", "Pending"]);
    phase.stop();
    await h.runner.phase("b");
    expect(await h.states("a", "b")).toEqual(["Failed", "Running"]);
  });
});

describe("onTaskPending that takes longer than it may", () => {
  test("is told to stop, and its task is Failed without having been Running", async () => {
    await using h = await openHarness({ pendingTimeoutMs: 500 });
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    const phase = await h.runner.phase("a", "pending");
    await h.clock.advance(500);
    expect(phase.abortKind).toBe("TIMEOUT");
    phase.stop();
    await h.settle();
    expect(await h.transitions("a")).toEqual(["Pending", expect.stringMatching(/^Failed/)]);
    expect((await h.controller.taskStatus("a")).error).toMatchObject(timedOut("pending", 500));
  });

  test("and returns all the same leads on to onTaskRunning, whose signal is fresh and whose time its own", async () => {
    await using h = await openHarness({ pendingTimeoutMs: 500, runningTimeoutMs: 1_000 });
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    const pending = await h.runner.phase("a", "pending");
    await h.clock.advance(600);
    pending.return();
    const running = await h.runner.phase("a");
    expect([pending.abortKind, running.signal.aborted]).toEqual(["TIMEOUT", false]);
    await h.clock.advance(999);
    expect(running.signal.aborted).toBe(false);
    await h.clock.advance(1);
    expect(running.abortKind).toBe("TIMEOUT");
    running.stop();
  });

  test.each([
    ["a cancel", "Canceled"],
    ["a launch anew", "Pending"],
  ])("and returns after %s came is judged by that", async (what, state) => {
    await using h = await openHarness({ pendingTimeoutMs: 500 });
    h.runner.scripts.pending = "hold";
    const { runId } = await h.launch("a");
    const pending = await h.runner.phase("a", "pending");
    await h.clock.advance(500);
    if (what === "a cancel") await h.controller.cancelTask("a");
    else await h.launch("a");
    pending.return();
    await h.settle();
    expect(await h.state("a")).toBe(state);
    expect((await h.controller.taskStatus("a")).runId === runId).toBe(what === "a cancel");
    expect(h.runner.all("a", "running")).toEqual([]);
  });

  test("and returns after the controller began to close is resumed at the next opening", async () => {
    await using h = await openHarness({ pendingTimeoutMs: 500 });
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    const pending = await h.runner.phase("a", "pending");
    await h.clock.advance(500);
    const closing = h.controller.close();
    pending.return();
    await closing;
    expect(h.runner.all("a", "running")).toEqual([]);
    await h.open();
    const next = await h.runner.phase("a", "pending");
    expect([next.context.attempt, next.signal.aborted]).toEqual([2, false]);
  });
});

describe("a timeout", () => {
  test("is none by default, and no timer is set", async () => {
    await using h = await openHarness();
    await h.settle();
    const before = h.clock.pending();
    await h.launch("a");
    await h.runner.phase("a");
    expect(h.clock.pending()).toBe(before);
  });

  test("is over when its phase is", async () => {
    await using h = await openHarness({ pendingTimeoutMs: 500, runningTimeoutMs: 1_000 });
    await h.settle();
    const before = h.clock.pending();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    expect(h.clock.pending()).toBe(before + 1);
    phase.return();
    await h.settle();
    expect(h.clock.pending()).toBe(before);
  });

  test("does not count the time that a task waits for its place", async () => {
    await using h = await openHarness({ concurrency: 1, pendingTimeoutMs: 500, runningTimeoutMs: 100_000 });
    await h.launch("busy");
    await h.launch("a");
    await h.clock.advance(10_000);
    (await h.runner.phase("busy")).return();
    expect((await h.runner.phase("a")).signal.aborted).toBe(false);
  });

  test("after a cancel changes nothing: the task is Canceled", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.controller.cancelTask("a");
    await h.clock.advance(1_000);
    expect(phase.abortKind).toBe("CANCEL");
    phase.stop();
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
    expect(h.messages("warn")).toEqual([]);
  });

  test("before a cancel is outranked by it, which was acknowledged", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.clock.advance(1_000);
    await h.controller.cancelTask("a");
    // What its code finds when it looks.
    expect([phase.abortKind, (phase.signal.reason as Error).message]).toEqual(["CANCEL", "the task was canceled"]);
    phase.stop();
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
  });

  test("after the controller began to close changes nothing: the task is resumed, with all its time", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.clock.advance(900);
    const closing = h.controller.close();
    await h.clock.advance(100);
    expect(phase.abortKind).toBe("SHUTDOWN");
    phase.stop();
    await closing;
    await h.open();
    const next = await h.runner.phase("a");
    await h.clock.advance(999);
    expect([next.context.attempt, next.signal.aborted]).toEqual([2, false]);
    await h.clock.advance(1);
    expect(next.abortKind).toBe("TIMEOUT");
    next.stop();
  });

  test("before the controller closes stands: the task is Failed", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.clock.advance(1_000);
    const closing = h.controller.close();
    phase.stop();
    await closing;
    expect((await h.stored("a"))?.status).toMatchObject({ state: 4, error: { reason: "TIMEOUT" } });
    await h.open();
    expect(h.runner.all("a", "running")).toHaveLength(1);
  });

  test("that is ignored while the controller closes is left with its run, and no timer stays", async () => {
    await using h = await openHarness({ runningTimeoutMs: 5_000, closeGraceMs: 1_000 });
    await h.launch("a");
    await h.runner.phase("a");
    const closing = observed(h.controller.close());
    await h.clock.advance(1_000);
    await closing.promise;
    expect(h.clock.pending()).toBe(0);
    h.runner.abandon();
    await h.open();
    expect((await h.runner.phase("a")).context.attempt).toBe(2);
  });

  test("begins anew after a crash", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    await h.runner.phase("a");
    await h.clock.advance(900);
    await h.crash();
    const next = await h.runner.phase("a");
    await h.clock.advance(900);
    expect([next.context.attempt, next.signal.aborted]).toEqual([2, false]);
    await h.clock.advance(100);
    expect(next.abortKind).toBe("TIMEOUT");
    next.stop();
  });

  test("after a launch anew changes nothing: the new run has all its time", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const old = await h.runner.phase("a");
    await h.clock.advance(900);
    const { runId } = await h.launch("a");
    await h.clock.advance(100);
    expect(old.abortKind).toBe("RESTART");
    old.stop();
    const next = await h.runner.phase("a");
    await h.clock.advance(999);
    expect([next.context.runId, next.signal.aborted]).toEqual([runId, false]);
  });

  test("before a launch anew stands, and the launch follows", async () => {
    await using h = await openHarness({ runningTimeoutMs: 1_000 });
    await h.launch("a");
    const old = await h.runner.phase("a");
    await h.clock.advance(1_000);
    const { runId } = await h.launch("a");
    old.stop();
    const next = await h.runner.phase("a");
    expect(next.context.runId).toBe(runId);
    expect(await h.transitions("a")).toEqual([
      "Pending",
      "Running",
      expect.stringMatching(/^Failed/),
      expect.stringMatching(/^Pending/),
      "Running",
    ]);
  });

  test("must be a time", async () => {
    const h = await createHarness();
    expect(await invalidFields(h.open({ pendingTimeoutMs: 0, runningTimeoutMs: Number.NaN }))).toEqual([
      "pendingTimeoutMs",
      "runningTimeoutMs",
    ]);
    expect(await invalidFields(h.open({ runningTimeoutMs: -1 }))).toEqual(["runningTimeoutMs"]);
  });
});
