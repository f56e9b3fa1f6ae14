import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Code } from "#gen/google/rpc/code_pb.js";
import { create } from "@bufbuild/protobuf";
import { TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { AbortReason, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { ControllerError } from "../../src/controller/error.ts";
import { observed } from "../support/controller-harness.ts";
import { createHostWorld, type HostedRun, type HostWorld, leaseMs } from "../support/fake-hosted-task.ts";
import { FakeLink, helloOf, heldOf } from "../support/fake-link.ts";

async function offered(taskId = "a"): Promise<{ world: HostWorld; link: FakeLink; run: HostedRun }> {
  const world = await createHostWorld();
  const link = new FakeLink().attach(world.host, helloOf("one"));
  const run = world.offer(taskId);
  if (run === undefined) throw new Error("nobody was there");
  await nextTurn();
  return { world, link, run };
}

async function accepted(): Promise<{ world: HostWorld; link: FakeLink; run: HostedRun }> {
  const all = await offered();
  void all.link.accept(all.run);
  all.link.take();
  return all;
}

async function running(): Promise<{ world: HostWorld; link: FakeLink; run: HostedRun }> {
  const all = await accepted();
  void all.link.end(all.run, RunPhase.PENDING);
  await nextTurn();
  all.run.run("running");
  await nextTurn();
  void all.link.accept(all.run, RunPhase.RUNNING);
  all.link.take();
  return all;
}

describe("a run on a remote seat", () => {
  test("goes from its offer to its end, and each step is answered when it is on disk", async () => {
    const { link, run } = await offered();
    expect(link.take()).toEqual(["offer a PENDING 1"]);
    expect(link.offers[0]).toMatchObject({ runId: "r", attempt: 1, status: { metadata: "{}" } });
    void link.accept(run);
    const pending = observed(link.end(run, RunPhase.PENDING) as Promise<void>);
    await nextTurn();
    expect([run.settled, link.take(), pending.state()]).toEqual([["returned undefined"], [], "waiting"]);
    expect(run.seat.endSeq).toBe(1n);
    run.run("running");
    await nextTurn();
    expect([link.take(), pending.state()]).toEqual([["written a 1 1", "offer a RUNNING 1"], "done"]);
    // It is the first phase's: the second has none yet.
    expect(run.seat.endSeq).toBe(0n);
    void link.accept(run, RunPhase.RUNNING);
    void link.write(run, { current: 1, entries: ["x"] });
    expect(run.writes).toMatchObject([{ seq: 2n, progress: { current: 1n }, entries: [{ msg: "x", level: 0 }] }]);
    expect(link.take()).toEqual([]);
    run.storeAll();
    await nextTurn();
    expect(link.take()).toEqual(["written a 1 2"]);
    void link.end(run, RunPhase.RUNNING, { case: "done", value: { result: '{"n": 1.0}' } });
    await nextTurn();
    expect([run.settled.at(-1), run.seat.endSeq, link.take()]).toEqual(['returned {"n": 1.0}', 3n, []]);
    run.seat.release("ended");
    expect(link.take()).toEqual(["written a 1 3"]);
  });

  test.each(["accept", "write", "end"] as const)("is accepted by %s", async (how) => {
    const { world, link, run } = await offered();
    if (how === "accept") void link.accept(run);
    if (how === "write") void link.write(run, { current: 1 });
    if (how === "end") void link.end(run, RunPhase.PENDING);
    for (let i = 0; i < 3; i += 1) {
      await world.clock.advance(leaseMs / 3);
      link.beAlive();
    }
    expect(run.settled.filter((each) => each.startsWith("lost"))).toEqual([]);
  });

  test("that is not accepted in time is lost, also where its runner is alive; a late acceptance is refused", async () => {
    const { world, link, run } = await offered();
    for (let i = 0; i < 2; i += 1) {
      await world.clock.advance(leaseMs / 3);
      link.beAlive();
    }
    await world.clock.advance(leaseMs / 8);
    expect(run.settled).toEqual(["lost: resumed: the offer was not accepted in time"]);
    link.take();
    run.seat.release("again");
    expect(link.take()).toEqual(["abort a 1 LOST_FENCE"]);
    void link.accept(run);
    await nextTurn();
    expect([link.take(), world.rejected]).toEqual([["refused a 1 0 STALE_FENCE"], []]);
  });

  test("whose offer has lapsed before it could be sent is not offered any more", async () => {
    const world = await createHostWorld();
    const link = new FakeLink();
    const loads: Array<() => unknown> = [];
    link.offer = (load) => loads.push(load);
    link.attach(world.host, helloOf("one"));
    world.offer("a");
    for (let i = 0; i < 3; i += 1) {
      await world.clock.advance(leaseMs / 4);
      link.beAlive();
    }
    expect(await Promise.all(loads.map((load) => load()))).toEqual([undefined]);
    link.attachment.detach("broken");
    const next = new FakeLink();
    next.offer = (load) => loads.push(load);
    next.attach(world.host, helloOf("two"));
    const run = world.offer("b") as HostedRun;
    const loading = loads.at(-1)?.();
    run.seat.release("again");
    expect(await loading).toBeUndefined();
  });
});

describe("how a phase ends", () => {
  test.each([
    ["done with nothing", { case: "done", value: {} }, "returned undefined"],
    ["done with null", { case: "done", value: { result: "null" } }, "returned null"],
    ["done with what is no JSON", { case: "done", value: { result: "{" } }, /^failed 3: the result is not JSON/],
    ["aborted, and nobody had asked", { case: "aborted", value: {} }, /^failed 1: .*nobody had asked/],
    ["released", { case: "released", value: {} }, "lost: resumed: the runner gave the task up"],
  ] as const)("%s", async (_, outcome, settled) => {
    const { link, run } = await running();
    void link.end(run, RunPhase.RUNNING, outcome);
    await nextTurn();
    expect(run.settled.at(-1)).toEqual(typeof settled === "string" ? settled : expect.stringMatching(settled));
  });

  test("failed, with the task's error", async () => {
    const { link, run } = await running();
    const error = create(TaskErrorSchema, { code: Code.NOT_FOUND, message: "no such file" });
    void link.end(run, RunPhase.RUNNING, { case: "failed", value: { error } });
    await nextTurn();
    expect(run.settled.at(-1)).toBe("failed 5: no such file");
  });

  test("the result of PENDING is dropped", async () => {
    const { link, run } = await accepted();
    void link.end(run, RunPhase.PENDING, { case: "done", value: { result: "1" } });
    await nextTurn();
    expect(run.settled).toEqual(["returned undefined"]);
  });

  test("released is answered when the task is back in the line", async () => {
    const { link, run } = await running();
    void link.end(run, RunPhase.RUNNING, { case: "released", value: {} });
    await nextTurn();
    expect(link.take()).toEqual([]);
    run.seat.release("again");
    expect(link.take()).toEqual(["written a 1 2"]);
  });

  test("an end of another phase than the task's is refused, and the task goes on", async () => {
    const { link, run } = await accepted();
    void link.end(run, RunPhase.RUNNING);
    expect(link.take()).toEqual(["refused a 1 1 INVALID_ARGUMENT"]);
    void link.end(run, RunPhase.PENDING);
    await nextTurn();
    expect(run.settled).toEqual(["returned undefined"]);
  });

  test("nothing is taken between the end of a phase and the offer of the next", async () => {
    const { link, run } = await accepted();
    void link.end(run, RunPhase.PENDING);
    void link.write(run, { current: 1 });
    expect([link.take(), run.writes]).toEqual([["refused a 1 2 INVALID_ARGUMENT"], []]);
    run.run("running");
    expect(link.take()).toEqual(["written a 1 2"]);
  });
});

describe("writes", () => {
  test("are answered in order, each when it is on disk, and a repeat only says so again", async () => {
    const { link, run } = await running();
    void link.write(run, { current: 1 });
    void link.write(run, { current: 2 });
    expect(link.write(run, { current: 1, seq: 2n })).toBeUndefined();
    expect([link.take(), run.writes.length]).toEqual([[], 2]);
    run.writes.shift()?.stored();
    await nextTurn();
    expect(link.take()).toEqual(["written a 1 2"]);
    void link.write(run, { current: 1, seq: 1n });
    expect([link.take(), run.writes.length]).toEqual([["written a 1 2"], 1]);
    run.storeAll();
    await nextTurn();
    expect(link.take()).toEqual(["written a 1 3"]);
  });

  test("with neither progress nor entries are refused, and change nothing", async () => {
    const { world, link, run } = await running();
    void link.write(run, {});
    expect([link.take(), run.writes, world.rejected]).toEqual([["refused a 1 2 INVALID_ARGUMENT"], [], []]);
    void link.write(run, { entries: ["x"] });
    run.storeAll();
    await nextTurn();
    expect(link.take()).toEqual(["written a 1 3"]);
  });

  test("that cannot be stored are refused with why, and count as answered", async () => {
    const { link, run } = await running();
    void link.write(run, { current: 1 });
    void link.write(run, { current: 2 });
    run.writes[0]?.refused(new ControllerError("INVALID_ARGUMENT", "progress.message: too long"));
    await nextTurn();
    expect(link.take()).toEqual(["refused a 1 2 INVALID_ARGUMENT"]);
    run.writes[1]?.stored();
    await nextTurn();
    expect(link.take()).toEqual(["written a 1 3"]);
  });

  test("that found the fence void are refused and kept", async () => {
    const { world, link, run } = await running();
    void link.write(run, { current: 7 });
    run.writes[0]?.refused(new ControllerError("FAILED_PRECONDITION", "over", { reason: "STALE_FENCE" }));
    await nextTurn();
    expect(link.take()).toEqual(["refused a 1 2 STALE_FENCE"]);
    expect(world.rejected).toMatchObject([{ taskId: "a", fence: 1n, attempt: 1, said: { progress: { current: 7n } } }]);
  });

  test("that the closing controller did not take are not answered", async () => {
    const { link, run } = await running();
    void link.write(run, { current: 1 });
    run.writes[0]?.refused(new ControllerError("UNAVAILABLE", "closed"));
    await nextTurn();
    expect(link.take()).toEqual([]);
  });

  test("of a run that is lost are refused and kept from then on; of another task's fence, too", async () => {
    const { world, link, run } = await running();
    await world.clock.advance(2 * leaseMs);
    expect(run.settled.at(-1)).toBe("lost: resumed: the lease of its runner is over");
    link.take();
    await link.write(run, { current: 1 });
    await link.write({ taskId: "b", fence: run.fence }, { current: 1 });
    expect(link.take()).toEqual(["refused a 1 2 STALE_FENCE", "refused b 1 3 STALE_FENCE"]);
    expect(world.rejected.map(({ taskId }) => taskId)).toEqual(["a", "b"]);
  });

  test("of a run whose end is on disk are answered, as their first answer was lost", async () => {
    const { world, link, run } = await running();
    void link.end(run, RunPhase.RUNNING);
    run.seat.release("ended");
    link.take();
    world.isOnDisk = (said) => said.fence === 1n && said.seq <= 2n;
    await link.end(run, RunPhase.RUNNING, { case: "done", value: {} }, 2n);
    await link.write(run, { current: 1, seq: 3n });
    expect(link.take()).toEqual(["written a 1 2", "refused a 1 3 STALE_FENCE"]);
    expect(world.rejected).toHaveLength(1);
  });
});

describe("what names a fence", () => {
  test("and another task than the fence is of, is refused", async () => {
    const { world, link, run } = await running();
    const other = { taskId: "b", fence: run.fence };
    await link.write(other, { current: 1 });
    await link.end(other, RunPhase.RUNNING);
    void link.accept(other);
    link.aborted(other);
    expect([run.writes, run.settled.length, world.rejected.length]).toEqual([[], 1, 2]);
    expect(link.take().map((each) => each.split(" ").at(-1))).toEqual(Array(3).fill("STALE_FENCE"));
  });
});

describe("an abort", () => {
  test("is sent at once, and every keepalive until it is answered", async () => {
    const { world, link, run } = await running();
    run.abort("CANCEL");
    const told = observed(run.seat.told());
    expect(link.take()).toEqual(["abort a 1 CANCEL"]);
    await world.clock.advance(leaseMs / 3 + leaseMs / 16);
    expect([link.take(), told.state()]).toEqual([["abort a 1 CANCEL"], "waiting"]);
    link.aborted(run);
    await world.clock.advance(leaseMs / 2);
    expect([link.take(), told.state()]).toEqual([[], "done"]);
    void link.end(run, RunPhase.RUNNING, { case: "aborted", value: {} });
    await nextTurn();
    expect(run.settled.at(-1)).toBe("aborted CANCEL");
  });

  test.each(["RESTART", "TIMEOUT"] as const)("for %s is answered by the end as well", async (kind) => {
    const { world, link, run } = await running();
    run.abort(kind);
    const told = observed(run.seat.told());
    void link.end(run, RunPhase.RUNNING, { case: "aborted", value: {} });
    await nextTurn();
    expect([link.take(), told.state(), run.settled.at(-1)]).toEqual([[`abort a 1 ${kind}`], "done", `aborted ${kind}`]);
    await world.clock.advance(leaseMs / 2);
    expect(link.take()).toEqual([]);
  });

  test.each(["RESTART", "TIMEOUT"] as const)(
    "for %s that a cancel outranks is told as one, until that is answered",
    async (kind) => {
      const { world, link, run } = await running();
      run.abort(kind);
      run.seat.stopFor("CANCEL");
      const told = observed(run.seat.told());
      expect(link.take()).toEqual([`abort a 1 ${kind}`, "abort a 1 CANCEL"]);
      // On its way when the cancel was told.
      link.aborted(run, AbortReason[kind]);
      await world.clock.advance(leaseMs / 3 + leaseMs / 16);
      expect([link.take(), told.state()]).toEqual([["abort a 1 CANCEL"], "waiting"]);
      const next = new FakeLink().attach(world.host, helloOf("one", { held: heldOf(run, RunPhase.RUNNING) }));
      expect(next.take()).toEqual(["abort a 1 CANCEL"]);
      next.aborted(run, AbortReason.CANCEL);
      await world.clock.advance(leaseMs / 2);
      expect([next.take(), told.state()]).toEqual([[], "done"]);
    },
  );

  test("that came after another, while the end was being committed, was told to nobody", async () => {
    const { link, run } = await accepted();
    run.abort("TIMEOUT");
    link.take();
    void link.end(run, RunPhase.PENDING);
    run.seat.stopFor("CANCEL");
    const told = observed(run.seat.told());
    await nextTurn();
    expect([link.take(), told.state()]).toEqual([[], "waiting"]);
    run.seat.release("ended");
    await told.promise;
  });

  test("is sent again on a new stream, and when the offer is accepted that it came before", async () => {
    const { world, link, run } = await offered();
    run.abort("CANCEL");
    link.take();
    void link.accept(run);
    expect(link.take()).toEqual(["abort a 1 CANCEL"]);
    const next = new FakeLink().attach(world.host, helloOf("one", { held: heldOf(run, RunPhase.PENDING) }));
    expect(next.take()).toEqual(["abort a 1 CANCEL"]);
  });

  test("because the fence is void settles the phase at once, and is told when the run is released", async () => {
    const { world, link, run } = await running();
    run.abort("LOST_FENCE");
    await nextTurn();
    expect([run.settled.at(-1), link.take()]).toEqual(["lost: the run was lost", []]);
    run.seat.release("void");
    await world.clock.advance(leaseMs / 2);
    expect(link.take()).toEqual(["abort a 1 LOST_FENCE"]);
  });

  test("that came while an end was being committed was told to nobody, until the run is released", async () => {
    const { link, run } = await accepted();
    void link.end(run, RunPhase.PENDING);
    run.abort("CANCEL");
    const told = observed(run.seat.told());
    await nextTurn();
    expect([link.take(), told.state()]).toEqual([[], "waiting"]);
    run.seat.release("ended");
    await told.promise;
  });

  test("is over with the release", async () => {
    const { run } = await running();
    run.abort("CANCEL");
    const told = observed(run.seat.told());
    run.seat.release("ended");
    await nextTurn();
    expect(told.state()).toBe("done");
  });
});

describe("a release", () => {
  test("of a void run settles its phase, whatever its runner does, and refuses its end", async () => {
    const { world, link, run } = await running();
    run.seat.release("void");
    await nextTurn();
    expect([run.settled.at(-1), link.take()]).toEqual(["lost: the run was lost", ["abort a 1 LOST_FENCE"]]);
    const other = world.offer("b") as HostedRun;
    await nextTurn();
    void link.end(other, RunPhase.PENDING, { case: "done", value: {} }, 1n);
    link.take();
    other.seat.release("void");
    expect(link.take()).toEqual(["refused b 2 1 STALE_FENCE", "abort b 2 LOST_FENCE"]);
    expect(world.rejected).toMatchObject([{ taskId: "b", attempt: 1 }]);
  });

  test("for the next opening says nothing, and settles the phase so", async () => {
    const { link, run } = await running();
    run.seat.release("left");
    await nextTurn();
    expect([run.settled.at(-1), link.take()]).toEqual(["left: the controller closes", []]);
  });

  test("counts once", async () => {
    const { world, link, run } = await running();
    const { seats } = world;
    run.seat.release("again");
    run.seat.release("ended");
    expect([link.take(), world.seats - seats]).toEqual([["abort a 1 LOST_FENCE"], 1]);
  });

  test("of a seat that was not used calls nobody", async () => {
    const world = await createHostWorld();
    new FakeLink().attach(world.host, helloOf("one"));
    const { seats } = world;
    world.host.takeSeat()?.release("unused");
    expect(world.seats).toBe(seats);
    expect(world.offer("a")).toBeDefined();
  });
});

describe("AbortReceived for a run that is not there", () => {
  test("is passed over", async () => {
    const { link } = await running();
    link.aborted({ taskId: "z", fence: 99n }, AbortReason.CANCEL);
    expect(link.take()).toEqual([]);
  });
});
