import { describe, expect, test } from "vitest";
import { RunPhase, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import type { Harness } from "../support/controller-harness.ts";
import type { FakeLink } from "../support/fake-link.ts";
import { connect, leaseMs, offerOf, openRemoteHarness, passAlive, runningOn } from "../support/remote-harness.ts";

const released = { case: "released", value: {} } as const;
const done = { case: "done", value: {} } as const;

async function rejectedWrites(h: Harness): Promise<bigint> {
  await h.clock.advance(1_000);
  return (await h.controller.taskStatus("a")).rejectedWrites;
}

describe("what is on disk and is said again, as its answer was lost", () => {
  /** The runner has written under seq 2, and was then paused beyond its lease; another has the task. */
  async function paused(): Promise<{ h: Harness; link: FakeLink; old: TaskOffer; now: TaskOffer }> {
    const h = await openRemoteHarness();
    const link = connect(h, "one");
    const old = await runningOn(h, link, "a");
    await link.write(old, { current: 2, entries: ["kept"] });
    const other = connect(h, "two");
    await passAlive(h, leaseMs * 1.2, other);
    const now = await offerOf(h, other, "a", RunPhase.PENDING);
    void other.accept(now);
    // Its seqs say nothing of those of the old one.
    for (let i = 0; i < 9; i += 1) await other.write(now, { current: 10 + i });
    return { h, link, old, now };
  }

  test.each(["", "over a restart"])("is answered as written also when its fence is void, %s", async (how) => {
    const { h, link, old } = await paused();
    await using _ = h;
    if (how !== "") await h.crash();
    const again = how === "" ? link : connect(h, "one");
    again.take();
    await again.write(old, { current: 2, entries: ["kept"], seq: 2n });
    await again.write(old, { current: 3, seq: 3n });
    expect(again.take()).toEqual([`written a ${old.fence} 2`, `refused a ${old.fence} 3 STALE_FENCE`]);
    expect(await rejectedWrites(h)).toBe(1n);
    const { progress, logs } = await h.controller.taskStatus("a");
    expect([progress?.current, logs.filter(({ msg }) => msg === "kept").length]).toEqual([18n, 1]);
  });

  test.each(["", "over a restart"])("is answered as written where the runner gave the task up, %s", async (how) => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const old = await runningOn(h, link, "a");
    void link.end(old, RunPhase.RUNNING, released, 2n);
    await h.settle();
    if (how !== "") await h.crash();
    const again = how === "" ? link : connect(h, "one");
    again.take();
    await again.end(old, RunPhase.RUNNING, released, 2n);
    expect(again.take()).toContain(`written a ${old.fence} 2`);
    expect(await rejectedWrites(h)).toBe(0n);
  });

  test("is answered as written where a runner was told of an end, also over a restart and a write that was refused since", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one", { wantsCompleted: true });
    const run = await runningOn(h, link, "a");
    void link.end(run, RunPhase.RUNNING);
    const told = await offerOf(h, link, "a", RunPhase.COMPLETED);
    await link.end(told, RunPhase.COMPLETED);
    await h.settle();
    await link.write(run, { current: 1 });
    expect(await rejectedWrites(h)).toBe(1n);
    await h.crash();
    const again = connect(h, "one");
    await again.end(told, RunPhase.COMPLETED, done, 1n);
    expect(again.take()).toEqual([`written a ${told.fence} 1`]);
    expect(await rejectedWrites(h)).toBe(1n);
  });
});

describe("an end under a fence that is not the runner's", () => {
  test("is refused and counted, whatever its phase and outcome, and changes nothing", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one");
    const offer = await runningOn(h, link, "a");
    const liar = connect(h, "two");
    const { taskId, fence } = offer;
    for (const of of [offer, { taskId, fence: fence + 1_000n }]) {
      await liar.end(of, RunPhase.RUNNING, released, 9n);
      await liar.end(of, RunPhase.PENDING, released, 1n);
      await liar.end(of, RunPhase.COMPLETED, done, 1n);
    }
    expect(liar.take().map((each) => each.split(" ").at(-1))).toEqual(Array(6).fill("STALE_FENCE"));
    expect(await rejectedWrites(h)).toBe(6n);
    void link.end(offer, RunPhase.RUNNING);
    await h.settle();
    // Of a task that has ended it is so, too.
    await liar.end(offer, RunPhase.COMPLETED, done, 9n);
    await liar.end({ taskId: "no-such-task", fence }, RunPhase.COMPLETED, done, 1n);
    expect(liar.take().map((each) => each.split(" ").at(-1))).toEqual(Array(2).fill("STALE_FENCE"));
    expect(await rejectedWrites(h)).toBe(7n);
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
  });
});
