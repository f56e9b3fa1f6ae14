import { describe, expect, test } from "vitest";
import { RunPhase, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import { observed, type Harness } from "../support/controller-harness.ts";
import type { FakeLink } from "../support/fake-link.ts";
import { connect, leaseMs, offerOf, openRemoteHarness, passAlive, runningOn } from "../support/remote-harness.ts";

const listens = { wantsCompleted: true };

/** Launches a task and ends it on the link. */
async function endOn(h: Harness, link: FakeLink, taskId: string): Promise<TaskOffer> {
  const offer = await runningOn(h, link, taskId);
  void link.end(offer, RunPhase.RUNNING, { case: "done", value: { result: "1" } });
  await h.settle();
  return offer;
}

function completed(link: FakeLink): string[] {
  return link.offers.filter(({ phase }) => phase === RunPhase.COMPLETED).map(({ taskId }) => taskId);
}

describe("an end of a remote run", () => {
  test("is told to a runner that asked for it, after it is on disk, under the revision of the end", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one", listens);
    const run = await endOn(h, link, "a");
    const told = await offerOf(h, link, "a", RunPhase.COMPLETED);
    const { revision } = await h.controller.readTask("a");
    expect(told).toMatchObject({ fence: revision, runId: run.runId, attempt: 1, status: { state: 3, result: "1" } });
    expect(await h.keys("/deliveries/")).toHaveLength(1);
    void link.end(told, RunPhase.COMPLETED);
    await h.settle();
    expect(await h.keys("/deliveries/")).toEqual([]);
    void link.end(told, RunPhase.COMPLETED, { case: "done", value: {} }, 1n);
    await h.settle();
    expect(link.take().at(-1)).toBe(`written a ${told.fence} 1`);
  });

  test("is told to nobody where nobody asked, or where the run was never offered", async () => {
    await using h = await openRemoteHarness();
    await h.launch("b");
    await h.controller.cancelTask("b");
    const link = connect(h, "one");
    await endOn(h, link, "a");
    expect([completed(link), await h.keys("/deliveries/")]).toEqual([[], []]);
  });

  test("waits in front of deleting and launching the task again, while somebody is there to be told", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one", listens);
    await endOn(h, link, "a");
    const deleting = observed(h.controller.deleteTask("a"));
    await h.settle();
    expect(deleting.state()).toBe("waiting");
    void link.end(await offerOf(h, link, "a", RunPhase.COMPLETED), RunPhase.COMPLETED);
    await deleting.promise;
    expect(await h.keys("/tasks/")).toEqual([]);
  });

  test("is kept where nobody is connected, and dropped when the task is deleted or launched again", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one", listens);
    for (const id of ["a", "b", "c"]) await endOn(h, link, id);
    link.attachment.detach("finished");
    await h.settle();
    expect(await h.keys("/deliveries/")).toHaveLength(3);
    await h.controller.deleteTask("a");
    await h.launch("b");
    expect(await h.keys("/deliveries/")).toHaveLength(1);
    const next = connect(h, "two", listens);
    await h.settle();
    expect(completed(next)).toEqual(["c"]);
  });

  test("is told to the next that asks for it, over a restart too; one that does not ask drops it", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one", listens);
    const ids = Array.from({ length: 70 }, (_, i) => `t${i}`);
    for (const id of ids) await endOn(h, link, id);
    await h.crash();
    expect(await h.keys("/deliveries/")).toHaveLength(70);
    const next = connect(h, "two", listens);
    await h.settle();
    expect(completed(next)).toHaveLength(64);
    for (let i = 0; i < 3; i += 1) {
      for (const offer of next.offers.splice(0)) void next.end(offer, RunPhase.COMPLETED);
      await h.settle();
    }
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("is dropped where the first to connect after a restart does not want to know", async () => {
    await using h = await openRemoteHarness();
    await endOn(h, connect(h, "one", listens), "a");
    await h.crash();
    connect(h, "two");
    await h.settle();
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("that is kept is told before the task is deleted, when somebody has just come who can be told", async () => {
    await using h = await openRemoteHarness();
    const link = connect(h, "one", listens);
    await endOn(h, link, "a");
    await h.crash();
    const next = connect(h, "two", listens);
    const relaunched = observed(h.launch("a"));
    await h.settle();
    expect([completed(next), relaunched.state()]).toEqual([["a"], "waiting"]);
    void next.end(await offerOf(h, next, "a", RunPhase.COMPLETED), RunPhase.COMPLETED);
    await relaunched.promise;
    expect(await h.state("a")).toBe("Pending");
  });

  test("is told again to another when its runner is gone before it has ended the phase", async () => {
    await using h = await openRemoteHarness();
    const [one, two] = ["one", "two"].map((name) => connect(h, name, listens)) as [FakeLink, FakeLink];
    const at = one;
    await h.launch("a");
    await h.settle();
    const [has, other] = at.offers.length > 0 ? [one, two] : [two, one];
    const offer = await offerOf(h, has, "a", RunPhase.PENDING);
    void has.end(offer, RunPhase.PENDING, { case: "failed", value: {} });
    await h.settle();
    expect([completed(has), completed(other)]).toEqual([["a"], []]);
    has.attachment.detach("broken");
    await h.settle();
    expect(completed(other)).toEqual(["a"]);
    await passAlive(h, 2 * leaseMs, other);
    // It has lived for 30 s with it: that counts.
    expect(await h.keys("/deliveries/")).toEqual([]);
  });
});
