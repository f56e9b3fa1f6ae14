import { describe, expect, test } from "vitest";
import { RunPhase, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import type { Change, Condition, Store } from "../../src/store/store.ts";
import type { Harness, HarnessOptions } from "../support/controller-harness.ts";
import { CutStore } from "../support/cut-store.ts";
import type { FakeLink } from "../support/fake-link.ts";
import { connect, leaseMs, offerOf, openRemoteHarness, passAlive, runningOn } from "../support/remote-harness.ts";

/** Says when a commit begins. */
class HookedStore extends CutStore {
  readonly #hook: { onCommit: () => void };

  constructor(inner: Store, hook: { onCommit: () => void }) {
    super(inner);
    this.#hook = hook;
  }

  override commit(changes: readonly Change[], conditions: readonly Condition[]): Promise<bigint> {
    this.#hook.onCommit();
    return super.commit(changes, conditions);
  }
}

describe("a task whose offer was not accepted yet", () => {
  const lateWords = ["an acceptance", "a write", "an end", "nothing"] as const;

  async function offered(options: HarnessOptions = {}): Promise<{ h: Harness; link: FakeLink; offer: TaskOffer }> {
    const h = await openRemoteHarness(options);
    const link = connect(h, "one", { capacity: 1 });
    await h.launch("a");
    const offer = await offerOf(h, link, "a", RunPhase.PENDING);
    link.take();
    return { h, link, offer };
  }

  function speak(link: FakeLink, offer: TaskOffer, what: (typeof lateWords)[number]): void {
    if (what === "an acceptance") void link.accept(offer);
    else if (what === "a write") void link.write(offer, { current: 9 });
    else if (what === "an end") void link.end(offer, RunPhase.PENDING);
  }

  test.each(lateWords)("is Canceled by the request itself; after it %s changes nothing", async (late) => {
    const { h, link, offer } = await offered();
    await using _ = h;
    const commits = h.handle.commits;
    expect(await h.controller.cancelTask("a")).toMatchObject({ stage: "ended", status: { state: 6 } });
    expect(h.handle.commits - commits).toBe(1);
    expect(link.take()).toEqual([`abort a ${offer.fence} LOST_FENCE`]);
    speak(link, offer, late);
    await h.settle();
    expect(link.take().map((each) => each.split(" ").at(-1))).toEqual(late === "nothing" ? [] : ["STALE_FENCE"]);
    await passAlive(h, leaseMs, link);
    const { state, progress, transitions } = await h.controller.taskStatus("a");
    expect([state, progress, transitions.length]).toEqual([6, undefined, 2]);
    expect(await h.keys("/leases/")).toEqual([]);
    // Its place is free.
    await runningOn(h, link, "b");
  });

  test.each(lateWords)("is Canceled also where %s comes while that is being committed", async (late) => {
    const hook = { onCommit: (): void => {} };
    const { h, link, offer } = await offered({ wrap: (store) => new HookedStore(store, hook) });
    await using _ = h;
    hook.onCommit = () => {
      hook.onCommit = () => {};
      speak(link, offer, late);
    };
    expect(await h.controller.cancelTask("a")).toMatchObject({ stage: "ended", status: { state: 6 } });
    await h.settle();
    expect(link.take()).toContain(`abort a ${offer.fence} LOST_FENCE`);
    expect((await h.controller.taskStatus("a")).progress).toBeUndefined();
    await runningOn(h, link, "b");
  });

  test("is told of its end as one that was offered", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one", { wantsCompleted: true });
    await h.launch("a");
    await offerOf(h, link, "a", RunPhase.PENDING);
    await h.controller.cancelTask("a");
    const told = await offerOf(h, link, "a", RunPhase.COMPLETED);
    expect(told.status?.state).toBe(6);
  });

  test.each(lateWords)("makes place for a new run at once; after it %s changes nothing", async (late) => {
    const { h, link, offer } = await offered();
    await using _ = h;
    const { runId, outcome } = await h.launch("a");
    expect(outcome).toBe("restarted");
    await h.settle();
    const next = await offerOf(h, link, "a", RunPhase.PENDING);
    expect([next.runId, next.attempt, next.fence > offer.fence]).toEqual([runId, 1, true]);
    expect(link.take()[0]).toBe(`abort a ${offer.fence} LOST_FENCE`);
    speak(link, offer, late);
    void link.accept(next);
    void link.end(next, RunPhase.PENDING);
    await h.settle();
    const { state, attempt, progress } = await h.controller.taskStatus("a");
    expect([state, attempt, progress]).toEqual([2, 1, undefined]);
    expect(await h.keys("/leases/")).toHaveLength(1);
  });
});
