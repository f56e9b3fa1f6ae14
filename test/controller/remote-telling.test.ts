import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { create } from "@bufbuild/protobuf";
import { TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { observed } from "../support/controller-harness.ts";
import { createHostWorld, type HostedRun, type HostWorld, leaseMs } from "../support/fake-hosted-task.ts";
import { FakeLink, helloOf } from "../support/fake-link.ts";

function listen(world: HostWorld, name: string): FakeLink {
  return new FakeLink().attach(world.host, helloOf(name, { wantsCompleted: true }));
}

const end = { taskId: "a", fence: 9n };

describe("an end", () => {
  test("is told to a runner that wants to know, until it has ended the phase", async () => {
    const world = await createHostWorld();
    const link = listen(world, "one");
    const told = observed(world.tell("a", 9n));
    await nextTurn();
    expect(link.take()).toEqual(["offer a COMPLETED 9"]);
    expect(link.offers[0]).toMatchObject({ runId: "r", attempt: 2, status: { state: 3 } });
    void link.accept(end, RunPhase.COMPLETED);
    await nextTurn();
    expect(told.state()).toBe("waiting");
    void link.end(end, RunPhase.COMPLETED);
    expect([await told.promise, link.take()]).toEqual(["told", ["written a 9 1"]]);
  });

  test("takes no seat, and nothing can be written to the task", async () => {
    const world = await createHostWorld();
    const link = new FakeLink().attach(world.host, helloOf("one", { wantsCompleted: true, capacity: 1 }));
    void world.tell("a", 9n);
    void link.write(end, { current: 1 });
    expect([link.take(), world.rejected]).toEqual([["refused a 9 1 INVALID_ARGUMENT"], []]);
    expect(world.offer("b")).toBeDefined();
  });

  test("counts as told also where the runner failed", async () => {
    const world = await createHostWorld();
    const link = listen(world, "one");
    const told = world.tell("a", 9n);
    const error = create(TaskErrorSchema, { message: "no" });
    void link.end(end, RunPhase.COMPLETED, { case: "failed", value: { error } });
    expect(await told).toBe("told");
  });

  test("counts as told after 30 s in which the runner is alive", async () => {
    const world = await createHostWorld();
    const link = listen(world, "one");
    const told = observed(world.tell("a", 9n));
    const states: string[] = [];
    for (let second = 0; second < 33; second += 1) {
      await world.clock.advance(1_000);
      link.beAlive();
      states.push(told.state());
    }
    expect([states[28], states[32]]).toEqual(["waiting", "done"]);
  });

  test("is told to the one that had the run if it is there, and to another if it goes away", async () => {
    const world = await createHostWorld();
    const links = ["one", "two"].map((name) => listen(world, name));
    const run = world.offer("a") as HostedRun;
    const own = links[run.seat.runner === "one" ? 0 : 1] as FakeLink;
    const other = links[run.seat.runner === "one" ? 1 : 0] as FakeLink;
    const told = world.tell("a", 9n, run.seat);
    await nextTurn();
    expect([own.told.includes("offer a COMPLETED 9"), other.told]).toEqual([true, []]);
    own.attachment.detach("broken");
    await nextTurn();
    expect(other.take()).toEqual(["offer a COMPLETED 9"]);
    void other.end(end, RunPhase.COMPLETED);
    expect(await told).toBe("told");
  });

  test("that a runner gives back because it stops is told to another, or kept for the next", async () => {
    const world = await createHostWorld();
    const [one, two] = [listen(world, "one"), listen(world, "two")];
    const told = world.tell("a", 9n);
    await nextTurn();
    const giveBack = (link: FakeLink): void => {
      void link.say({ case: "drain", value: {} });
      void link.end(end, RunPhase.COMPLETED, { case: "released", value: {} });
    };
    giveBack(one);
    await nextTurn();
    expect([one.take(), two.take()]).toEqual([["offer a COMPLETED 9", "written a 9 1"], ["offer a COMPLETED 9"]]);
    giveBack(two);
    expect([await told, world.host.canTell]).toEqual(["kept", false]);
  });

  test("that a runner gives back which takes more counts as told", async () => {
    const world = await createHostWorld();
    const link = listen(world, "one");
    const told = world.tell("a", 9n);
    void link.end(end, RunPhase.COMPLETED, { case: "released", value: {} });
    expect(await told).toBe("told");
  });

  test("is told anew on the new stream of the same runner", async () => {
    const world = await createHostWorld();
    listen(world, "one");
    const told = world.tell("a", 9n);
    const next = listen(world, "one");
    await nextTurn();
    expect(next.take()).toEqual(["offer a COMPLETED 9"]);
    void next.end(end, RunPhase.COMPLETED);
    expect(await told).toBe("told");
  });

  test("is kept where nobody is connected, or the only one that was is gone or silent for its lease", async () => {
    const world = await createHostWorld();
    expect([await world.tell("a", 9n), world.host.canTell]).toEqual(["kept", false]);
    const link = listen(world, "one");
    const told = world.tell("a", 9n);
    await world.clock.advance(leaseMs * 1.2);
    expect([await told, world.host.canTell, world.tellers]).toEqual(["kept", false, 1]);
    link.beAlive();
    expect([world.host.canTell, world.tellers]).toEqual([true, 2]);
    const again = world.tell("a", 9n);
    link.attachment.detach("broken");
    expect([await again, world.host.canTell]).toEqual(["kept", false]);
    listen(world, "two");
    expect(world.tellers).toBe(3);
  });

  test("is told to nobody where those that are connected do not want to know", async () => {
    const world = await createHostWorld();
    new FakeLink().attach(world.host, helloOf("one"));
    expect([world.host.canTell, world.tellers, await world.tell("a", 9n)]).toEqual([true, 1, "told"]);
  });

  test("is kept for a runner of before this opening that has not said yet whether it wants to know", async () => {
    const world = await createHostWorld();
    const lease = { taskId: "a", runId: "r", attempt: 1, fence: 7n, instanceId: "instance-of-one", runner: "one" };
    world.host.recall(lease);
    const deaf = new FakeLink().attach(world.host, helloOf("deaf"));
    expect([world.host.canTell, world.tellers, await world.tell("b", 9n)]).toEqual([false, 0, "kept"]);
    // It does not come back, so nobody wants to know.
    for (let i = 0; i < 8; i += 1) {
      await world.clock.advance(leaseMs / 4);
      deaf.beAlive();
    }
    expect([world.host.canTell, world.tellers, await world.tell("b", 9n)]).toEqual([true, 1, "told"]);
  });

  test("is kept when the controller closes", async () => {
    const world = await createHostWorld();
    listen(world, "one");
    const told = world.tell("a", 9n);
    world.host.close();
    expect([await told, await world.tell("b", 10n)]).toEqual(["kept", "kept"]);
  });
});

describe("the commit of an end", () => {
  test("says that it is to be told where the run was offered, and somebody may want to know", async () => {
    const world = await createHostWorld();
    const { host } = world;
    expect(host.keepsEnd({ attempt: 1, seat: undefined })).toBe(false);
    expect(host.keepsEnd({ attempt: 2, seat: undefined })).toBe(true);
    const deaf = new FakeLink().attach(host, helloOf("deaf"));
    const { seat } = world.offer("a") as HostedRun;
    expect([host.keepsEnd({ attempt: 1, seat }), host.keepsEnd({ attempt: 2, seat: undefined })]).toEqual([
      false,
      false,
    ]);
    const listening = listen(world, "one");
    expect(host.keepsEnd({ attempt: 1, seat })).toBe(true);
    // It may come back.
    listening.attachment.detach("broken");
    expect(host.keepsEnd({ attempt: 1, seat })).toBe(true);
    await world.clock.advance(leaseMs / 2);
    deaf.beAlive();
    await world.clock.advance(leaseMs * 0.7);
    expect([host.known, host.keepsEnd({ attempt: 1, seat })]).toEqual([1, false]);
  });
});
