import { describe, expect, test } from "vitest";
import { create } from "@bufbuild/protobuf";
import { TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { AbortReason, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { createHarness, invalidFields, refusal } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";
import { connect, leaseMs, offerOf, openRemoteHarness, passAlive, runningOn } from "../support/remote-harness.ts";

describe("a task of a remote runner", () => {
  test("goes from its launch to its end, and its status shows who has it", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    await h.launch("a", { metadata: { n: 1 } });
    const pending = await offerOf(h, link, "a", RunPhase.PENDING);
    expect(pending).toMatchObject({ attempt: 1, status: { metadata: '{"n":1}', runner: "one", state: 1 } });
    void link.accept(pending);
    void link.end(pending, RunPhase.PENDING);
    const running = await offerOf(h, link, "a", RunPhase.RUNNING);
    expect([running.fence, running.runId, running.status?.state]).toEqual([pending.fence, pending.runId, 2]);
    void link.accept(running, RunPhase.RUNNING);
    void link.write(running, { current: 3, entries: ["x", "y"] });
    await h.settle();
    expect(link.take().at(-1)).toBe(`written a ${running.fence} 2`);
    expect(await h.controller.taskStatus("a")).toMatchObject({
      runner: "one",
      progress: { current: 3n },
      logCount: 2n,
    });
    void link.end(running, RunPhase.RUNNING, { case: "done", value: { result: '{"sum": 1.0}' } });
    await h.settle();
    expect(link.take()).toEqual([`written a ${running.fence} 3`]);
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ state: 3, result: '{"sum": 1.0}', attempt: 1, rejectedWrites: 0n });
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
  });

  test("fails with what its runner says", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    const error = create(TaskErrorSchema, { code: 5, message: "no such file", reason: "EXIT_CODE" });
    void link.end(offer, RunPhase.RUNNING, { case: "failed", value: { error } });
    await h.settle();
    expect((await h.controller.taskStatus("a")).error).toMatchObject({
      code: 5,
      reason: "EXIT_CODE",
      message: "no such file",
    });
  });

  test("that is launched anew is told to stop, and its next run begins when it has", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    await h.launch("a");
    expect(link.take()).toEqual([`abort a ${offer.fence} RESTART`]);
    void link.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} });
    const next = await offerOf(h, link, "a", RunPhase.PENDING);
    expect([next.runId === offer.runId, next.attempt, next.fence > offer.fence]).toEqual([false, 1, true]);
  });

  test("that was replaced has its end answered, also again, though nothing on disk tells of it any more", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    await h.launch("a");
    void link.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} });
    await h.settle();
    expect(link.take()).toContain(`written a ${offer.fence} 2`);
    const next = connect(h, "one");
    await next.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} }, 2n);
    await next.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} }, 3n);
    expect(next.take().filter((each) => each.includes(` ${offer.fence} `))).toEqual([
      `written a ${offer.fence} 2`,
      `refused a ${offer.fence} 3 STALE_FENCE`,
    ]);
    await h.clock.advance(1_000);
    expect((await h.controller.taskStatus("a")).rejectedWrites).toBe(1n);
  });

  test("that takes too long is told so, and is Failed when its runner stops", async () => {
    await using h = await openRemoteHarness({ runningTimeoutMs: 5_000 });
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    await h.clock.advance(5_000);
    expect(link.take()).toEqual([`abort a ${offer.fence} TIMEOUT`]);
    void link.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} });
    await h.settle();
    expect((await h.controller.taskStatus("a")).error).toMatchObject({ reason: "TIMEOUT" });
  });

  test("that was written past the controller is lost at once, though its runner was told to stop before and does not", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    await h.controller.cancelTask("a");
    await h.disk.commit([{ type: "unindex", key: (await h.keys("/leases/"))[0] ?? "" }], []);
    await link.write(offer, { current: 1 });
    await h.settle();
    expect(link.take().slice(1)).toEqual([
      `abort a ${offer.fence} LOST_FENCE`,
      `refused a ${offer.fence} 2 STALE_FENCE`,
    ]);
    // Now nobody has it, on disk either: the next opening brings it into order.
    await h.reopen();
  });
});

describe("a write", () => {
  test("that is over a limit is refused with why, and the task goes on; a long entry is cut", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    const entries = Array.from({ length: 9 }, () => "x".repeat(16 * 1_024));
    void link.write(offer, { entries });
    void link.write(offer, { entries: ["y".repeat(200_000)] });
    await h.settle();
    expect(link.take()).toEqual([`refused a ${offer.fence} 2 INVALID_ARGUMENT`, `written a ${offer.fence} 3`]);
    expect(link.refusals[0]?.error.message).toContain("131072 bytes");
    const { logs, rejectedWrites } = await h.controller.taskStatus("a");
    expect([logs.length, Buffer.byteLength(logs[0]?.msg ?? ""), rejectedWrites]).toEqual([1, 16 * 1_024, 0n]);
  });

  test("of many is stored in few commits, each whole, in order, and all are answered", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    const before = h.disk.revision();
    for (let i = 0; i < 500; i += 1) void link.write(offer, { current: i, entries: [`e${i}`] });
    await h.settle();
    expect(link.take().at(-1)).toBe(`written a ${offer.fence} 501`);
    expect(h.disk.revision() - before).toBeLessThan(5n);
    const { entries } = await h.controller.taskLogs("a", { pageSize: 1_000 });
    expect(entries.map(({ msg }) => msg)).toEqual(Array.from({ length: 500 }, (_, i) => `e${i}`));
    expect((await h.stored("a"))?.record.writtenSeq).toBe(501n);
  });
});

describe("opening", () => {
  test("names every option that is wrong", async () => {
    await using h = await createHarness();
    const remote = { leaseMs: 0, runnersMax: -1, runnerCapacityMax: Number.NaN };
    const open = h.open({ remote, pendingTimeoutMs: 0 });
    expect(await invalidFields(open)).toEqual([
      "remote.leaseMs",
      "remote.runnersMax",
      "remote.runnerCapacityMax",
      "pendingTimeoutMs",
    ]);
  });
});

describe("waiting", () => {
  test("goes on while no runner is connected, and the status says for what", async () => {
    await using h = await openRemoteHarness();
    await h.launch("a");
    expect((await h.controller.taskStatus("a")).waitingFor).toBe("a runner: none is connected to this controller");
    const link = connect(h, "one", { capacity: 1 });
    await offerOf(h, link, "a", RunPhase.PENDING);
    await h.launch("b");
    expect((await h.controller.taskStatus("a")).waitingFor).toBe("");
    expect((await h.controller.taskStatus("b")).waitingFor).toBe("the place of the runner that is connected");
  });

  test("is in order: the oldest is offered first, and one that comes back to the line has its old place", async () => {
    await using h = await openRemoteHarness();
    for (const id of ["a", "b", "c"]) await h.launch(id);
    const link = connect(h, "one", { capacity: 1 });
    const offer = await offerOf(h, link, "a", RunPhase.PENDING);
    void link.accept(offer);
    void link.end(offer, RunPhase.PENDING, { case: "released", value: {} });
    await h.settle();
    expect(link.offers.map(({ taskId, attempt }) => `${taskId} ${attempt}`)).toEqual(["a 1", "a 2"]);
    expect(await h.transitions("a")).toEqual(["Pending", "Pending: resumed: the runner gave the task up"]);
  });
});

describe("a cancel", () => {
  test("is told at once, and the status shows when it was delivered and acknowledged", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    const { stage } = await h.controller.cancelTask("a", { requestedBy: "ann", reason: "enough" });
    expect([stage, link.take()]).toEqual(["requested", [`abort a ${offer.fence} CANCEL`]]);
    expect(link.aborts.at(-1)?.cancel).toMatchObject({ requestedBy: "ann", reason: "enough" });
    await h.settle();
    expect((await h.controller.taskStatus("a")).cancel?.deliveredAt).toBeUndefined();
    link.aborted(offer, AbortReason.CANCEL);
    await h.settle();
    const { cancel } = await h.controller.taskStatus("a");
    expect([cancel?.deliveredAt === undefined, cancel?.acknowledgedAt]).toEqual([false, undefined]);
    void link.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} });
    await h.settle();
    expect(await h.controller.taskStatus("a")).toMatchObject({ state: 6 });
  });

  test.each(["RESTART", "TIMEOUT"] as const)(
    "after %s is told as one, and shown as delivered only when that was answered",
    async (kind) => {
      await using h = await openRemoteHarness({ runningTimeoutMs: 5_000 });
      const link = connect(h, "one");
      const offer = await runningOn(h, link, "a");
      if (kind === "RESTART") await h.launch("a");
      else await passAlive(h, 5_000, link);
      expect(link.take()).toEqual([`abort a ${offer.fence} ${kind}`]);
      link.aborted(offer, AbortReason[kind]);
      await h.settle();
      await h.controller.cancelTask("a", { reason: "enough" });
      await h.settle();
      expect(link.take()).toEqual([`abort a ${offer.fence} CANCEL`]);
      expect(link.aborts.at(-1)?.cancel).toMatchObject({ reason: "enough" });
      expect((await h.controller.taskStatus("a")).cancel?.deliveredAt).toBeUndefined();
      link.aborted(offer, AbortReason.CANCEL);
      await h.settle();
      expect((await h.controller.taskStatus("a")).cancel).toMatchObject({ deliveredAt: {} });
      void link.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} });
      await h.settle();
      // Nothing comes after it: with the cancel the launch is gone.
      expect(await h.controller.taskStatus("a")).toMatchObject({
        state: 6,
        runId: offer.runId,
        cancel: { acknowledgedAt: {} },
      });
    },
  );

  test("whose runner is lost ends as Canceled, and nobody has acknowledged it", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    await h.controller.cancelTask("a");
    link.aborted(offer, AbortReason.CANCEL);
    await h.settle();
    await h.clock.advance(leaseMs * 1.2);
    const { state, cancel } = await h.controller.taskStatus("a");
    expect([state, cancel?.deliveredAt === undefined, cancel?.acknowledgedAt]).toEqual([6, false, undefined]);
  });

  test("that comes when its runner has ended already is not acknowledged by that", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    const canceling = h.controller.cancelTask("a");
    void link.end(offer, RunPhase.RUNNING);
    await canceling;
    await h.settle();
    const { state, cancel } = await h.controller.taskStatus("a");
    expect([state, cancel?.deliveredAt, cancel?.acknowledgedAt]).toEqual([3, undefined, undefined]);
  });

  test("that is answered by the end alone was delivered, too", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    await h.controller.cancelTask("a");
    void link.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} });
    await h.settle();
    const { state, cancel } = await h.controller.taskStatus("a");
    expect([state, cancel]).toMatchObject([6, { deliveredAt: {}, acknowledgedAt: {} }]);
  });

  test("of a task that its runner prepares reaches that", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    await h.launch("a");
    const offer = await offerOf(h, link, "a", RunPhase.PENDING);
    void link.accept(offer);
    await h.controller.cancelTask("a");
    expect(link.take().at(-1)).toBe(`abort a ${offer.fence} CANCEL`);
    void link.end(offer, RunPhase.PENDING);
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
  });
});

describe("a store that fails", () => {
  test("costs nobody a task, however long it takes; what was said is stored and answered when it is back", async () => {
    const plan = new FaultPlan();
    await using h = await openRemoteHarness({ wrap: (store) => new FaultStore(store, plan) });
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    plan.add({ at: plan.operations + 1, kind: "refused", lasting: true });
    void link.write(offer, { current: 5 });
    await h.clock.advance(20 * leaseMs);
    expect([link.take(), (await refusal(Promise.resolve().then(() => connect(h, "two")))).details.reason]).toEqual([
      [],
      "STORE_UNAVAILABLE",
    ]);
    plan.heal();
    await h.clock.advance(leaseMs * 0.9);
    expect(link.take()).toEqual([`written a ${offer.fence} 2`]);
    expect(await h.transitions("a")).toEqual(["Pending", "Running"]);
    expect((await h.controller.taskStatus("a")).progress?.current).toBe(5n);
  });
});
