import { describe, expect, test } from "vitest";
import { timestampMs } from "../../src/task/task.ts";
import { invalidFields, observed, openHarness, refusal } from "../support/controller-harness.ts";

describe("a cancel of a task that waits", () => {
  test("ends it in the same commit, without running it", async () => {
    await using h = await openHarness({ concurrency: 1 });
    await h.launch("busy");
    await h.launch("a");
    const commits = h.handle.commits;
    const canceled = await h.controller.cancelTask("a", { reason: "not wanted", requestedBy: "ann" });
    expect(canceled).toMatchObject({
      stage: "ended",
      status: { state: 6, cancel: { reason: "not wanted", requestedBy: "ann" } },
    });
    expect(h.handle.commits - commits).toBeLessThanOrEqual(2);
    expect(timestampMs(canceled.status.cancel?.acknowledgedAt)).toBe(h.clock.wall());
    expect(canceled.status.transitions.at(-1)?.reason).toBe("not wanted");
    (await h.runner.phase("busy")).return();
    await h.settle();
    expect(h.runner.calls("a")).toEqual(["completed 1"]);
    expect(await h.state("a")).toBe("Canceled");
  });

  test("gives its place in the line to others", async () => {
    await using h = await openHarness({ concurrency: 1 });
    for (const id of ["busy", "a", "b"]) await h.launch(id);
    await h.controller.cancelTask("a");
    (await h.runner.phase("busy")).return();
    (await h.runner.phase("b")).return();
    await h.launch("c");
    (await h.runner.phase("c")).return();
    await h.settle();
    expect(await h.states("a", "b", "c")).toEqual(["Canceled", "Completed", "Completed"]);
  });
});

describe("a cancel of a task that runs", () => {
  test("is on disk before the signal fires, and the runner's stop ends the task", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const onDisk: unknown[] = [];
    phase.signal.addEventListener("abort", () => {
      void h.stored("a").then((task) => onDisk.push(task?.status.cancel?.reason));
    });
    const canceled = await h.controller.cancelTask("a", { reason: "why" });
    expect([phase.signal.aborted, phase.abortKind]).toEqual([true, "CANCEL"]);
    expect(canceled.status.state).toBe(2);
    await h.settle();
    expect(onDisk).toEqual(["why"]);
    expect((await h.controller.taskStatus("a")).cancel?.deliveredAt).toBeDefined();
    phase.stop();
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect(status.state).toBe(6);
    expect(status.cancel).toMatchObject({ reason: "why", acknowledgedAt: status.endTime });
    expect(status.error).toBeUndefined();
  });

  test.each([
    ["returns", "Completed"],
    ["throws the reason", "Canceled"],
    ["throws an error caused by it", "Canceled"],
    ["throws an AbortError", "Canceled"],
    ["throws something else", "Failed"],
  ])("and that then %s is %s", async (how, state) => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.controller.cancelTask("a");
    if (how === "returns") phase.return("done anyway");
    else if (how === "throws the reason") phase.stop();
    else if (how === "throws an error caused by it") phase.throw(new Error("x", { cause: phase.signal.reason }));
    else if (how === "throws an AbortError") phase.throw(new DOMException("x", "AbortError"));
    else phase.throw(new Error("boom"));
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect(await h.state("a")).toBe(state);
    expect(status.cancel?.acknowledgedAt).toBeDefined();
    expect(status.result).toBe(state === "Completed" ? '"done anyway"' : undefined);
    expect(status.error?.message).toBe(state === "Failed" ? "boom" : undefined);
  });

  test.each(["return", "stop"] as const)("in onTaskPending, and that then does %s, is Canceled", async (how) => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    const phase = await h.runner.phase("a", "pending");
    await h.controller.cancelTask("a");
    phase[how]();
    await h.settle();
    expect(await h.transitions("a")).toEqual(["Pending", "Canceled"]);
    expect(h.runner.all("a", "running")).toEqual([]);
  });

  test("whose runner ignores it goes on, and the status shows that", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const first = await h.controller.cancelTask("a");
    expect(["requested", "delivered"]).toContain(first.stage);
    await h.clock.advance(3_600_000);
    await phase.task.setProgress({ current: 7 });
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ state: 2, progress: { current: 7n } });
    expect([status.cancel?.deliveredAt !== undefined, status.cancel?.acknowledgedAt]).toEqual([true, undefined]);
    expect((await h.controller.cancelTask("a")).stage).toBe("delivered");
  });

  test("twice keeps what the first said", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.controller.cancelTask("a", { reason: "first", requestedBy: "ann" });
    await h.settle();
    const before = await h.controller.readTask("a");
    const again = await h.controller.cancelTask("a", { reason: "second", requestedBy: "bob" });
    expect(again).toEqual({ ...before, stage: "delivered" });
    expect(before.status.cancel).toMatchObject({ reason: "first", requestedBy: "ann" });
  });

  test("and ends in the same moment has one end", async () => {
    await using h = await openHarness();
    const ends: number[] = [];
    for (let i = 0; i < 12; i += 1) {
      const id = `t${i}`;
      await h.launch(id, { onState: (state) => ends.push(state) });
      const phase = await h.runner.phase(id);
      const cancel = h.controller.cancelTask(id);
      for (let k = 0; k < i; k += 1) await Promise.resolve();
      const wasTold = phase.signal.aborted;
      phase.return(i);
      await cancel;
      await h.settle();
      const { transitions, state, cancel: asked } = await h.controller.taskStatus(id);
      expect([transitions.length, state]).toEqual([3, 3]);
      // A runner that has returned before it could be told has answered nothing.
      if (i === 0) expect([asked?.requestedAt !== undefined, asked?.acknowledgedAt]).toEqual([true, undefined]);
      if (wasTold) expect(asked?.acknowledgedAt).toBeDefined();
    }
    expect(ends).toEqual(Array.from({ length: 12 }, () => 3));
  });
});

describe("a cancel", () => {
  test("of an ended task changes nothing", async () => {
    await using h = await openHarness();
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.settle();
    const before = await h.controller.readTask("a");
    expect(await h.controller.cancelTask("a", { reason: "late" })).toEqual({ ...before, stage: "ended" });
    expect(await h.controller.readTask("a")).toEqual(before);
  });

  test("of another run is refused, and names the current one", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a");
    const error = await refusal(h.controller.cancelTask("a", { runId: "other" }));
    expect(error).toMatchObject({ code: "FAILED_PRECONDITION", details: { metadata: { run_id: runId } } });
    expect((await h.runner.phase("a")).signal.aborted).toBe(false);
    await h.controller.cancelTask("a", { runId });
    expect((await h.runner.phase("a")).signal.aborted).toBe(true);
  });

  test("of a run that is not the current one of an ended task is refused too", async () => {
    await using h = await openHarness();
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.settle();
    expect((await refusal(h.controller.cancelTask("a", { runId: "other" }))).code).toBe("FAILED_PRECONDITION");
  });

  test("with bad options is refused, and names them all", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const error = await refusal(
      h.controller.cancelTask("..", { reason: "x".repeat(4_097), requestedBy: "\ud800", runId: "a\nb", waitMs: -1 }),
    );
    const fields = error.details.violations?.map((each) => each.field);
    expect(fields).toEqual(["task_id", "reason", "requested_by", "run_id", "wait"]);
    expect(await invalidFields(h.controller.cancelTask("a", { waitMs: Number.NaN }))).toEqual(["wait"]);
    expect((await h.runner.phase("a")).signal.aborted).toBe(false);
  });

  test("waits for the end as long as it is asked to, and then says how far it is", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const before = h.clock.pending();
    const call = observed(h.controller.cancelTask("a", { waitMs: 5_000 }));
    await h.clock.advance(4_999);
    expect(call.state()).toBe("waiting");
    await h.clock.advance(1);
    expect(await call.promise).toMatchObject({ stage: "delivered", status: { state: 2 } });
    expect(h.clock.pending()).toBe(before);
  });

  test("waits no longer than until the end", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const call = observed(h.controller.cancelTask("a", { waitMs: 5_000 }));
    await h.clock.advance(10);
    phase.stop();
    await h.settle();
    expect(await call.promise).toMatchObject({ stage: "ended", status: { state: 6 } });
  });

  test("stops waiting when its signal is aborted, the run is replaced, or the controller closes", async () => {
    await using h = await openHarness();
    for (const id of ["a", "b", "c"]) await h.launch(id);
    const leave = new AbortController();
    const [a, b, c] = ["a", "b", "c"].map((id) =>
      observed(h.controller.cancelTask(id, { waitMs: 60_000, signal: leave.signal })),
    );
    await h.settle();
    (await h.runner.phase("b")).stop();
    await h.settle();
    expect([a?.state(), b?.state(), c?.state()]).toEqual(["waiting", "done", "waiting"]);
    leave.abort();
    await h.settle();
    expect([a?.state(), c?.state()]).toEqual(["done", "done"]);
    const last = observed(h.controller.cancelTask("c", { waitMs: 60_000 }));
    await h.settle();
    const closing = h.controller.close();
    await h.settle();
    expect(last.state()).toBe("done");
    for (const id of ["a", "c"]) (await h.runner.phase(id)).stop();
    await closing;
    await h.open();
  });

  test.each(["crash", "close"] as const)(
    "of a running task holds over a %s: the task is Canceled without running again",
    async (how) => {
      await using h = await openHarness();
      await h.launch("a", { metadata: { n: 1 } });
      await (await h.runner.phase("a")).task.setProgress({ current: 4 });
      await h.controller.cancelTask("a", { reason: "why" });
      // A runner that neither stops for the cancel nor for the closing is left.
      if (how === "crash") await h.crash();
      else {
        const closing = h.controller.close();
        await h.clock.advance(30_000);
        await closing;
        h.runner.abandon();
        await h.open();
      }
      await h.settle();
      const status = await h.controller.taskStatus("a");
      expect(await h.transitions("a")).toEqual(["Pending", "Running", "Canceled: why"]);
      expect(status).toMatchObject({ attempt: 1, progress: { current: 4n }, cancel: { reason: "why" } });
      expect(h.runner.calls("a")).toEqual(["pending 1", "running 1", "completed 1"]);
      expect(h.runner.all("a", "completed")[0]?.state).toBe(6);
      // Nobody has answered it.
      expect(status.cancel?.acknowledgedAt).toBeUndefined();
    },
  );

  test("of a running task whose runner stops for the closing is Canceled, as it was asked for first", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.controller.cancelTask("a");
    await h.reopen();
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Canceled"]);
  });

  test.each([false, true])(
    "that is not acknowledged when the process dies is whole or not there (applied: %s)",
    async (applied) => {
      await using h = await openHarness();
      await h.launch("a");
      await h.settle();
      h.handle.cutAtCommit(1, { applied });
      const call = observed(h.controller.cancelTask("a"));
      await h.settle();
      expect([h.handle.isCut, call.state()]).toEqual([true, "waiting"]);
      expect((await h.runner.phase("a")).signal.aborted).toBe(false);
      await h.crash();
      await h.settle();
      expect(await h.state("a")).toBe(applied ? "Canceled" : "Running");
    },
  );
});
