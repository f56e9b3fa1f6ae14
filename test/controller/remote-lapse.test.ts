import { describe, expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { heldOf } from "../support/fake-link.ts";
import { connect, leaseMs, offerOf, openRemoteHarness, passAlive, runningOn } from "../support/remote-harness.ts";

describe("an offer that is not accepted", () => {
  test("holds no capacity: the task goes to another, an attempt later", async () => {
    await using h = await openRemoteHarness();
    const stuck = connect(h, "stuck");
    await h.launch("a");
    const first = await offerOf(h, stuck, "a", RunPhase.PENDING);
    const well = connect(h, "well");
    await passAlive(h, leaseMs / 2, stuck, well);
    const second = await offerOf(h, well, "a", RunPhase.PENDING);
    expect([second.attempt, second.fence > first.fence, second.status?.runner]).toEqual([2, true, "well"]);
    expect(await h.transitions("a")).toEqual(["Pending", "Pending: resumed: the offer was not accepted in time"]);
    void stuck.accept(first);
    await h.settle();
    expect(stuck.take().at(-1)).toBe(`refused a ${first.fence} 0 STALE_FENCE`);
    expect((await h.controller.taskStatus("a")).rejectedWrites).toBe(0n);
  });
});

describe("a runner that is gone", () => {
  test("and comes back within its lease goes on, without a transition", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    void link.write(offer, { current: 1 });
    link.attachment.detach("broken");
    await h.clock.advance(leaseMs * 0.9);
    const next = connect(h, "one", { held: heldOf(offer, RunPhase.RUNNING) });
    expect(next.held).toEqual([`a ${offer.fence} RUNNING 2`]);
    void next.write(offer, { current: 1, seq: 2n });
    void next.write(offer, { current: 2, entries: ["x"], seq: 3n });
    void next.end(offer, RunPhase.RUNNING, { case: "done", value: {} }, 4n);
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect([status.state, status.attempt, status.progress?.current, status.logCount]).toEqual([3, 1, 2n, 1n]);
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
    expect(h.faults.counts().leases_expired).toBe(0);
  });

  test("for longer has its tasks offered to another within 1.5 leases, with progress and log, an attempt later", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    void link.write(offer, { current: 7, entries: ["first"] });
    await h.settle();
    const other = connect(h, "two");
    const goneAt = h.clock.mono();
    link.attachment.detach("broken");
    await passAlive(h, leaseMs * 1.2, other);
    const again = await offerOf(h, other, "a", RunPhase.PENDING);
    expect(h.clock.mono() - goneAt).toBeLessThan(1.5 * leaseMs);
    expect(again).toMatchObject({ attempt: 2, status: { progress: { current: 7n }, runner: "two", logCount: 1n } });
    expect(again.fence).toBeGreaterThan(offer.fence);
    expect(h.faults.counts()).toMatchObject({ leases_expired: 1, stale_writes_refused: 0 });
    expect(await h.transitions("a")).toEqual([
      "Pending",
      "Running",
      "Pending: resumed: the lease of its runner is over",
    ]);
    void other.accept(again);
    void other.write(again, { current: 8, seq: 1n });
    await h.settle();
    expect((await h.controller.taskStatus("a")).progress?.current).toBe(8n);
  });

  test.each([
    ["with a task", 1, "its tasks are its own no more"],
    ["with none", 0, "it had no tasks"],
  ])("for longer, %s, is said to have lost what it had", async (_, tasks, what) => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    if (tasks > 0) await runningOn(h, link, "a");
    link.attachment.detach("broken");
    await passAlive(h, leaseMs * 1.2);
    const said = h.logged.filter(({ fields }) => fields["fault"] === "leases_expired");
    const message = `the lease of a runner is over; ${what}`;
    expect(said).toMatchObject([{ level: "warn", fields: { runner: "one", tasks }, message }]);
  });

  test("ends a task that was to be canceled, and begins the run that was to replace one", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    await runningOn(h, link, "a");
    await runningOn(h, link, "b");
    await h.controller.cancelTask("a");
    await h.launch("b", { metadata: { n: 2 } });
    await h.clock.advance(leaseMs * 1.2);
    expect(await h.states("a", "b")).toEqual(["Canceled", "Pending"]);
    expect((await h.controller.taskStatus("b")).metadata).toBe('{"n":2}');
  });
});
