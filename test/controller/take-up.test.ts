import { describe, expect, test } from "vitest";
import { refusal } from "../support/controller-harness.ts";
import { openHostHarness } from "../support/scripted-host.ts";

describe("a run that may still be with its runner when the controller is opened again", () => {
  test.each(["closing", "a crash"])(
    "is taken up after %s where it is, without a transition or a new version",
    async (after) => {
      await using world = await openHostHarness(2);
      const { h } = world;
      await h.launch("a");
      await h.launch("b");
      const a = await world.host.seat("a");
      const b = await world.host.running("b");
      await b.phase.task.write({ seq: 7n, entries: [{ level: 0, msg: "before" }] });
      const before = [await h.stored("a"), await h.stored("b")];
      if (after === "closing") await h.reopen();
      else await h.crash();
      const { host } = world;
      host.recalled.sort((one, other) => (one.taskId < other.taskId ? -1 : 1));
      expect(host.recalled.map(({ taskId, fence }) => [taskId, fence])).toEqual([
        ["a", a.phase.context.fence],
        ["b", b.phase.context.fence],
      ]);
      expect(host.recalled[0]).toMatchObject({ attempt: 1, instanceId: "an instance", runner: "host-7" });
      expect([await h.stored("a"), await h.stored("b")]).toEqual(before);
      const [again, goesOn] = [await host.seat("a"), await host.seat("b", "running")];
      expect(goesOn.phases.map(({ name }) => name)).toEqual(["running"]);
      expect(goesOn.phase.context).toMatchObject({ attempt: 1, fence: b.phase.context.fence });
      expect([again.phase.task.writtenSeq, goesOn.phase.task.writtenSeq]).toEqual([0n, 7n]);
      await goesOn.phase.task.write({ seq: 8n, entries: [{ level: 0, msg: "after" }] });
      goesOn.phase.done(9n, "b");
      again.phase.done(1n);
      (await host.seat("a", "running")).phase.done(2n, "a");
      await h.settle();
      expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
      expect((await h.controller.taskStatus("b")).logs.map(({ msg }) => msg)).toEqual(["before", "after"]);
      expect(host.releases).toEqual([["ended"], ["ended"]]);
    },
  );

  test("is told of a cancel that is on disk, and is not ended by the opening", async () => {
    await using world = await openHostHarness(1);
    const { h } = world;
    await h.launch("a");
    await world.host.running("a");
    await h.controller.cancelTask("a");
    await h.crash();
    const seat = await world.host.seat("a", "running");
    expect([await h.state("a"), seat.phase.abortKind]).toEqual(["Running", "CANCEL"]);
    expect((await h.controller.taskStatus("a")).cancel?.deliveredAt).toBeUndefined();
    seat.hasTold();
    await h.settle();
    expect((await h.controller.taskStatus("a")).cancel?.deliveredAt).toBeDefined();
    seat.phase.stopped(2n);
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
  });

  test("is told of a launch that is stored, which takes place when it has stopped", async () => {
    await using world = await openHostHarness(1);
    const { h } = world;
    await h.launch("a");
    await world.host.running("a");
    const { runId } = await h.launch("a");
    await h.crash();
    const seat = await world.host.seat("a", "running");
    expect(seat.phase.abortKind).toBe("RESTART");
    expect(await h.transitions("a")).toEqual(["Pending", "Running"]);
    seat.phase.stopped(2n);
    await h.settle();
    const next = await world.host.seat("a");
    expect(next.phase.context.runId).toBe(runId);
  });

  test("and is lost after that is offered again", async () => {
    await using world = await openHostHarness(1);
    const { h } = world;
    await h.launch("a");
    await world.host.running("a");
    await h.crash();
    (await world.host.seat("a", "running")).phase.lose("lost", "resumed: the lease of its runner is over");
    await h.settle();
    expect((await world.host.seat("a")).phase.context.attempt).toBe(2);
    expect((await h.transitions("a")).at(-1)).toBe("Pending: resumed: the lease of its runner is over");
  });

  test("is not counted among those that wait", async () => {
    await using world = await openHostHarness(1, { limits: { waitingMax: 1 } });
    const { h } = world;
    await h.launch("a");
    await world.host.seat("a");
    await h.crash();
    await h.launch("b");
    expect((await refusal(h.launch("c"))).code).toBe("RESOURCE_EXHAUSTED");
  });
});

describe("a run that no runner can have any more when the controller is opened again", () => {
  test("is resumed, and nobody's death is counted", async () => {
    await using world = await openHostHarness(1);
    const { h } = world;
    await h.launch("a");
    await world.host.running("a");
    world.prepare = (host) => (host.recalls = false);
    await h.crash();
    const seat = await world.host.seat("a");
    expect([seat.phase.context.attempt, (await h.controller.taskStatus("a")).crashCount]).toEqual([2, 0]);
    expect((await h.transitions("a")).at(-1)).toBe("Pending: resumed: the controller was opened again");
  });

  test("is resumed in the process, where that runs the tasks now", async () => {
    await using world = await openHostHarness(1);
    const { h } = world;
    await h.launch("a");
    await world.host.running("a");
    await h.crash({ hosting: undefined });
    const phase = await h.runner.phase("a");
    const { runner, crashCount } = await h.controller.taskStatus("a");
    expect([phase.context.attempt, runner, crashCount]).toEqual([2, "", 0]);
    expect((await h.transitions("a"))[2]).toBe("Pending: resumed: the controller was opened again");
  });

  test("ends where a cancel of it is stored", async () => {
    await using world = await openHostHarness(1);
    const { h } = world;
    await h.launch("a");
    await world.host.running("a");
    await h.controller.cancelTask("a");
    world.prepare = (host) => (host.recalls = false);
    await h.crash();
    expect(await h.state("a")).toBe("Canceled");
  });
});
