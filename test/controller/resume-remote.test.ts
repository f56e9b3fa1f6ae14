import { describe, expect, test } from "vitest";
import { AbortReason, RunPhase, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import type { Entry, ScanOptions, Store } from "../../src/store/store.ts";
import type { Harness } from "../support/controller-harness.ts";
import { heldOf } from "../support/fake-link.ts";
import {
  connect,
  leaseMs,
  offerOf,
  openRemoteHarness,
  passAlive,
  remoteOptions,
  runningOn,
} from "../support/remote-harness.ts";

/** How the process ends that has the controller. */
const ends = [
  ["a crash", (h: Harness) => h.crash()],
  ["a stop", (h: Harness) => h.reopen()],
] as const;

/** A store whose entries of deliveries, which an opening reads late, are there when the gate is open. */
function waitingForDeliveries(store: Store, gate: Promise<void>): Store {
  async function scan(options: ScanOptions): Promise<Entry[]> {
    if (options.prefix.startsWith("/deliveries/")) await gate;
    return store.scan(options);
  }
  return new Proxy(store, {
    get(target, name): unknown {
      if (name === "scan") return scan;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe.each(ends)("after %s, a runner", (_, restart) => {
  test("that comes back goes on with its tasks, in their phases, without a transition", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const running = await runningOn(h, link, "a");
    void link.write(running, { current: 1, entries: ["x"] });
    await h.launch("b");
    const pending = await offerOf(h, link, "b", RunPhase.PENDING);
    void link.accept(pending);
    await h.settle();
    const before = await h.keys("/leases/");
    await restart(h);
    expect(await h.keys("/leases/")).toEqual(before);
    expect(await h.states("a", "b")).toEqual(["Running", "Pending"]);
    expect((await h.controller.taskStatus("b")).waitingFor).toBe("");

    const held = [...(heldOf(running, RunPhase.RUNNING) ?? []), ...(heldOf(pending, RunPhase.PENDING) ?? [])];
    const next = connect(h, "one", { held });
    expect(next.held).toEqual([`a ${running.fence} RUNNING 2`, `b ${pending.fence} PENDING 0`]);
    // What was answered is said again all the same, and what was not, for the first time.
    void next.write(running, { current: 1, entries: ["x"], seq: 2n });
    void next.write(running, { current: 2, entries: ["y"], seq: 3n });
    void next.end(running, RunPhase.RUNNING, { case: "done", value: { result: "1" } }, 4n);
    void next.end(pending, RunPhase.PENDING, { case: "done", value: {} }, 1n);
    const second = await offerOf(h, next, "b", RunPhase.RUNNING);
    expect(second.fence).toBe(pending.fence);
    const a = await h.controller.taskStatus("a");
    expect([a.state, a.attempt, a.result, a.logs.map(({ msg }) => msg)]).toEqual([3, 1, "1", ["x", "y"]]);
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
    expect(await h.transitions("b")).toEqual(["Pending", "Running"]);
  });

  test("that does not come back loses them when its lease is over, which begins anew", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    void link.write(offer, { current: 7 });
    await h.settle();
    await restart(h);
    const other = connect(h, "two");
    await passAlive(h, leaseMs, other);
    expect(await h.state("a")).toBe("Running");
    await passAlive(h, leaseMs / 4, other);
    const again = await offerOf(h, other, "a", RunPhase.PENDING);
    expect(again).toMatchObject({ attempt: 2, status: { progress: { current: 7n } } });
    expect(await h.transitions("a")).toEqual([
      "Pending",
      "Running",
      "Pending: resumed: the lease of its runner is over",
    ]);
    const late = connect(h, "one", { held: heldOf(offer, RunPhase.RUNNING) });
    expect([late.held, late.take()]).toEqual([[], [`abort a ${offer.fence} LOST_FENCE`]]);
    await late.write(offer, { current: 99, seq: 3n });
    await h.clock.advance(1_000);
    expect(await h.controller.taskStatus("a")).toMatchObject({ progress: { current: 7n }, rejectedWrites: 1n });
  });

  test("that says an end again which is on disk is answered, and so is what it had said before", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    void link.write(offer, { current: 1 });
    void link.end(offer, RunPhase.RUNNING, { case: "done", value: {} });
    await h.settle();
    await restart(h);
    const next = connect(h, "one", { held: heldOf(offer, RunPhase.RUNNING) });
    await next.write(offer, { current: 1, seq: 2n });
    await next.end(offer, RunPhase.RUNNING, { case: "done", value: {} }, 3n);
    await next.write(offer, { current: 9, seq: 4n });
    expect(next.take().slice(1)).toEqual([
      `written a ${offer.fence} 2`,
      `written a ${offer.fence} 3`,
      `refused a ${offer.fence} 4 STALE_FENCE`,
    ]);
  });

  test("that says the end of a failed PENDING, or of a canceled task, again is answered as well", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const a = await runningOn(h, link, "a");
    const b = await runningOn(h, link, "b");
    await h.controller.cancelTask("a");
    void link.end(a, RunPhase.RUNNING, { case: "aborted", value: {} });
    void link.end(b, RunPhase.RUNNING, { case: "failed", value: {} });
    await h.settle();
    expect(await h.states("a", "b")).toEqual(["Canceled", "Failed"]);
    await restart(h);
    const next = connect(h, "one");
    await next.end(a, RunPhase.RUNNING, { case: "aborted", value: {} }, 2n);
    await next.end(b, RunPhase.RUNNING, { case: "failed", value: {} }, 2n);
    expect(next.take()).toEqual([`written a ${a.fence} 2`, `written b ${b.fence} 2`]);
  });

  test("is told of a cancel that was stored before, and the status shows when it was", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    link.attachment.detach("broken");
    expect((await h.controller.cancelTask("a", { reason: "enough" })).stage).toBe("requested");
    await restart(h);
    expect(await h.state("a")).toBe("Running");
    const next = connect(h, "one", { held: heldOf(offer, RunPhase.RUNNING) });
    expect(next.take()).toEqual([`abort a ${offer.fence} CANCEL`]);
    expect(next.aborts.at(-1)?.cancel?.reason).toBe("enough");
    next.aborted(offer, AbortReason.CANCEL);
    await h.settle();
    expect((await h.controller.taskStatus("a")).cancel?.deliveredAt).toBeDefined();
    void next.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} }, 2n);
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
  });

  test("is told of a launch that was stored before, and the new run begins when it has stopped", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    const { runId } = await h.launch("a", { metadata: { n: 2 } });
    await restart(h);
    const next = connect(h, "one", { held: heldOf(offer, RunPhase.RUNNING) });
    expect(next.take()).toEqual([`abort a ${offer.fence} RESTART`]);
    void next.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} }, 2n);
    expect((await offerOf(h, next, "a", RunPhase.PENDING)).runId).toBe(runId);
    expect(await h.keys("/intents/")).toEqual([]);
  });

  test("that does not come back has its canceled task ended, and its replaced one launched, when its lease is over", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    for (const id of ["a", "b"]) await runningOn(h, link, id);
    await h.controller.cancelTask("a");
    const { runId } = await h.launch("b");
    await restart(h);
    await h.clock.advance(leaseMs * 1.2);
    expect(await h.states("a", "b")).toEqual(["Canceled", "Pending"]);
    expect((await h.controller.taskStatus("b")).runId).toBe(runId);
  });
});

describe("taking up what remote runners had", () => {
  test("counts who waits: those that are taken up do not", async () => {
    await using h = await openRemoteHarness({ limits: { waitingMax: 2 } });
    const link = connect(h, "one", { capacity: 1 });
    await h.launch("a");
    void link.accept(await offerOf(h, link, "a", RunPhase.PENDING));
    await h.launch("b");
    await h.reopen();
    await h.launch("c");
    await expect(h.launch("d")).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
    // It comes back to the line: three wait, and nothing is lost.
    await h.clock.advance(leaseMs * 1.2);
    const other = connect(h, "two");
    await h.settle();
    for (const id of ["a", "b", "c"]) void other.accept(await offerOf(h, other, id, RunPhase.PENDING));
    await h.settle();
    expect(other.offers.map(({ taskId }) => taskId)).toEqual(["a", "b", "c"]);
  });

  test("goes on over one restart after the other, each before its lease is over", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer: TaskOffer = await runningOn(h, link, "a");
    for (let i = 0; i < 5; i += 1) {
      await h.clock.advance(leaseMs * 0.9);
      await h.crash();
    }
    const next = connect(h, "one", { held: heldOf(offer, RunPhase.RUNNING) });
    void next.end(offer, RunPhase.RUNNING, { case: "done", value: {} }, 2n);
    await h.settle();
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
  });

  test("waits for the server to take calls: until then no lease runs", async () => {
    let isServing = true;
    await using h = await openRemoteHarness({ remote: { ...remoteOptions, isServing: () => isServing } });
    const link = connect(h, "one");
    await runningOn(h, link, "a");
    isServing = false;
    await h.crash();
    await h.clock.advance(10 * leaseMs);
    isServing = true;
    await h.clock.advance(leaseMs * 0.9);
    expect(await h.state("a")).toBe("Running");
    await h.clock.advance(leaseMs * 0.3);
    expect(await h.state("a")).toBe("Pending");
  });

  test("waits for the opening, which may take its time", async () => {
    await using h = await openRemoteHarness();
    await runningOn(h, connect(h, "one"), "a");
    let goOn: () => void = () => {};
    const gate = new Promise<void>((resolve) => (goOn = resolve));
    const opening = h.crash({ wrap: (store) => waitingForDeliveries(store, gate) });
    await h.clock.advance(10 * leaseMs);
    goOn();
    await opening;
    await h.clock.advance(leaseMs * 0.9);
    expect(await h.state("a")).toBe("Running");
    await h.clock.advance(leaseMs * 0.3);
    expect(await h.state("a")).toBe("Pending");
  });

  test("is done by a remote controller only: another offers them anew, and takes nobody's death for the task's", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    for (let i = 0; i < 3; i += 1) await h.crash();
    await h.crash({ remote: undefined });
    const phase = await h.runner.phase("a");
    expect(phase.context.fence).toBeGreaterThan(offer.fence);
    expect(await h.controller.taskStatus("a")).toMatchObject({ attempt: 2, crashCount: 0, runner: "" });
    expect(await h.transitions("a")).toEqual([
      "Pending",
      "Running",
      "Pending: resumed: the controller was opened again",
      "Running",
    ]);
  });

  test("leaves those alone that a retired controller has: they wait", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    await runningOn(h, link, "a");
    await h.crash({ remote: undefined, retired: true });
    expect(await h.state("a")).toBe("Pending");
    expect(await h.keys("/leases/")).toEqual([]);
  });

  test("an offer that was made in vain, as the process died before it was sent, is made again when its runner comes", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    link.isStuck = true;
    await h.launch("a");
    await h.crash();
    const next = connect(h, "one");
    const offer = await offerOf(h, next, "a", RunPhase.PENDING);
    expect(offer.attempt).toBe(2);
    expect(await h.transitions("a")).toEqual(["Pending", "Pending: resumed: the runner came back without the task"]);
  });
});

describe("closing", () => {
  test("changes no lease, and does not wait for remote runners", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    await h.controller.cancelTask("a");
    const revision = h.disk.revision();
    const leases = await h.keys("/leases/");
    await h.controller.close();
    expect([await h.keys("/leases/"), await h.keys("/released/"), h.disk.revision()]).toEqual([leases, [], revision]);
    expect(link.told).toEqual([`abort a ${offer.fence} CANCEL`, "closed UNAVAILABLE"]);
    expect(h.messages("warn")).toEqual([]);
    await h.open();
  });

  test("stores the end that was said before, which is answered on the next stream", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    void link.end(offer, RunPhase.RUNNING, { case: "done", value: {} });
    await h.reopen();
    expect(await h.state("a")).toBe("Completed");
    const next = connect(h, "one");
    await next.end(offer, RunPhase.RUNNING, { case: "done", value: {} }, 2n);
    expect(next.take()).toEqual([`written a ${offer.fence} 2`]);
  });
});
