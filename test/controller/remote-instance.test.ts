import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { createHostWorld, type HostedRun, type HostWorld, leaseMs } from "../support/fake-hosted-task.ts";
import { FakeLink, heldOf, helloOf } from "../support/fake-link.ts";

const leaseIsOver = "lost: resumed: the lease of its runner is over";

interface Connected {
  readonly world: HostWorld;
  readonly link: FakeLink;
}

async function connected(): Promise<Connected> {
  const world = await createHostWorld();
  return { world, link: new FakeLink().attach(world.host, helloOf("one")) };
}

async function accepted({ world, link }: Connected, taskId = "a"): Promise<HostedRun> {
  const run = world.offer(taskId) as HostedRun;
  await nextTurn();
  void link.accept(run);
  return run;
}

async function running(c: Connected, taskId = "a"): Promise<HostedRun> {
  const run = await accepted(c, taskId);
  void c.link.end(run, RunPhase.PENDING);
  run.run("running");
  await nextTurn();
  void c.link.accept(run, RunPhase.RUNNING);
  c.link.take();
  return run;
}

/** The same instance on a new stream, with what it says it has. */
function again({ world }: Connected, held: ReturnType<typeof heldOf> = []): FakeLink {
  return new FakeLink().attach(world.host, helloOf("one", { held: held ?? [] }));
}

describe("a lease", () => {
  test("is over one lease and one or two ticks after the last message, whatever that was", async () => {
    const c = await connected();
    const run = await running(c);
    await c.world.clock.advance(leaseMs / 2);
    void c.link.write(run, { current: 1 });
    await c.world.clock.advance(leaseMs);
    expect(run.settled).toEqual(["returned undefined"]);
    await c.world.clock.advance(leaseMs / 8);
    expect(run.settled.at(-1)).toBe(leaseIsOver);
  });

  test("goes on while there is no stream, and an instance that does not come back is forgotten", async () => {
    const c = await connected();
    const run = await running(c);
    await c.world.clock.advance(leaseMs / 2);
    c.link.attachment.detach("broken");
    await c.world.clock.advance(leaseMs / 2);
    expect([run.settled.length, c.world.host.known]).toEqual([1, 1]);
    await c.world.clock.advance(leaseMs / 8);
    expect([run.settled.at(-1), c.world.host.known]).toEqual([leaseIsOver, 0]);
    run.seat.release("again");
    expect(c.world.clock.pending()).toBe(0);
  });

  test("that is over leaves the stream: who was paused is told of each task, and gets new ones", async () => {
    const c = await connected();
    const run = await running(c);
    await c.world.clock.advance(2 * leaseMs);
    run.seat.release("again");
    expect(c.link.take()).toEqual(["abort a 1 LOST_FENCE"]);
    await c.link.write(run, { current: 1 });
    expect(c.link.take()).toEqual(["refused a 1 2 STALE_FENCE"]);
    expect(await accepted(c, "b")).toMatchObject({ settled: [] });
  });

  test("of one that sends what breaks a rule is over at once", async () => {
    const c = await connected();
    const run = await running(c);
    c.link.attachment.detach("invalid");
    await nextTurn();
    expect([run.settled.at(-1), c.world.host.known]).toEqual(["lost: resumed: the runner broke the protocol", 0]);
  });

  test("stands still while the server does not serve, or its own clock is late", async () => {
    const c = await connected();
    const run = await running(c);
    c.world.isServing = false;
    await c.world.clock.advance(10 * leaseMs);
    c.world.isServing = true;
    await c.world.clock.advance(leaseMs - 1);
    expect(run.settled).toHaveLength(1);
    await c.world.clock.advance(leaseMs / 4);
    expect(run.settled.at(-1)).toBe(leaseIsOver);
  });

  test("stands still while the runner is not read from, and so does the time to accept", async () => {
    const c = await connected();
    const run = await running(c);
    const offered = c.world.offer("b") as HostedRun;
    c.link.attachment.holdBack(true);
    await c.world.clock.advance(10 * leaseMs);
    c.link.attachment.holdBack(false);
    expect([run.settled.length, offered.settled.length]).toEqual([1, 0]);
    void c.link.accept(offered);
    await c.world.clock.advance(leaseMs - 1);
    expect([run.settled.length, offered.settled.length]).toEqual([1, 0]);
  });

  test("that had run out when the runner was read from no more is judged a tick after it is again, not sooner", async () => {
    const c = await connected();
    const run = await running(c);
    // It has run out, and the next tick would be its end.
    await c.world.clock.advance(leaseMs);
    c.link.attachment.holdBack(true);
    c.link.attachment.holdBack(false);
    await c.world.clock.advance(leaseMs / 16);
    expect(run.settled).toHaveLength(1);
    c.link.beAlive();
    await c.world.clock.advance(leaseMs / 2);
    expect(run.settled).toHaveLength(1);
  });
});

describe("a new stream", () => {
  test("takes the place of the old one, which is closed and heard no more", async () => {
    const c = await connected();
    const run = await running(c);
    const next = again(c, heldOf(run, RunPhase.RUNNING));
    expect([c.link.told, c.link.closedWith?.details.reason]).toEqual([["closed ABORTED"], "CONFLICT"]);
    c.link.beAlive();
    void c.link.write(run, { current: 1 });
    c.link.attachment.detach("invalid");
    c.link.attachment.holdBack(true);
    await nextTurn();
    expect([run.writes, run.settled.length, c.world.host.connected]).toEqual([[], 1, 1]);
    expect(next.held).toEqual(["a 1 RUNNING 1"]);
    expect(next.take()).toEqual([]);
  });

  test("within the lease keeps what both have; what was not answered is stored once", async () => {
    const c = await connected();
    const run = await running(c);
    void c.link.write(run, { current: 1 });
    run.storeAll();
    await nextTurn();
    void c.link.write(run, { current: 2 });
    c.link.attachment.detach("broken");
    await c.world.clock.advance(leaseMs * 0.9);
    const next = again(c, heldOf(run, RunPhase.RUNNING));
    expect(next.held).toEqual(["a 1 RUNNING 2"]);
    void next.write(run, { current: 2, seq: 3n });
    void next.write(run, { current: 3, seq: 4n });
    expect(run.writes.map(({ seq }) => seq)).toEqual([3n, 4n]);
    run.storeAll();
    await nextTurn();
    expect([next.take(), run.settled.length]).toEqual([["written a 1 3", "written a 1 4"], 1]);
    await c.world.clock.advance(leaseMs * 0.9);
    expect(run.settled).toHaveLength(1);
  });

  test("accepts the offer that it lists, whose acceptance was lost", async () => {
    const c = await connected();
    const run = c.world.offer("a") as HostedRun;
    c.link.attachment.detach("broken");
    const next = again(c, heldOf(run, RunPhase.PENDING));
    for (let i = 0; i < 4; i += 1) {
      await c.world.clock.advance(leaseMs / 4);
      next.beAlive();
    }
    expect(run.settled).toEqual([]);
  });

  test("does not keep what it does not list: that is lost at once, offered or accepted", async () => {
    const c = await connected();
    const has = await accepted(c);
    const offered = c.world.offer("b") as HostedRun;
    const next = again(c);
    await nextTurn();
    const why = "lost: resumed: the runner came back without the task";
    expect([has.settled, offered.settled, next.held]).toEqual([[why], [why], []]);
  });

  test("is told of what it lists and does not have", async () => {
    const c = await connected();
    const run = await running(c);
    const held = [
      ...(heldOf(run, RunPhase.RUNNING) ?? []),
      ...(heldOf({ taskId: "z", fence: 99n }, RunPhase.PENDING) ?? []),
    ];
    const next = again(c, held);
    expect([next.held, next.take()]).toEqual([["a 1 RUNNING 1"], ["abort z 99 LOST_FENCE"]]);
    const lying = again(c, heldOf({ taskId: "b", fence: run.fence }, RunPhase.RUNNING));
    await nextTurn();
    expect([lying.held, lying.take(), run.settled.length]).toEqual([[], ["abort b 1 LOST_FENCE"], 2]);
  });

  test("is offered the phase again that it does not know of", async () => {
    const c = await connected();
    const run = await accepted(c);
    void c.link.end(run, RunPhase.PENDING);
    c.link.attachment.detach("broken");
    run.run("running");
    // The offer finds no stream, and does not lapse: the task is the runner's already.
    await c.world.clock.advance(leaseMs * 0.8);
    const next = again(c, heldOf(run, RunPhase.PENDING));
    await nextTurn();
    expect([next.held, next.take()]).toEqual([["a 1 RUNNING 1"], ["offer a RUNNING 1"]]);
    void next.accept(run, RunPhase.RUNNING);
    void next.end(run, RunPhase.RUNNING, { case: "done", value: {} }, 2n);
    await nextTurn();
    expect(run.settled).toEqual(["returned undefined", "returned undefined"]);
  });

  test("keeps what is being committed: its end is answered there", async () => {
    const c = await connected();
    const run = await running(c);
    void c.link.end(run, RunPhase.RUNNING);
    const next = again(c, heldOf(run, RunPhase.RUNNING));
    void next.end(run, RunPhase.RUNNING, { case: "done", value: {} }, 2n);
    expect(next.take()).toEqual([]);
    run.seat.release("ended");
    expect(next.take()).toEqual(["written a 1 2"]);
  });

  test("cannot be in a phase that the server has not offered", async () => {
    const c = await connected();
    const run = await accepted(c);
    const next = again(c, heldOf(run, RunPhase.RUNNING));
    await nextTurn();
    expect([next.held, run.settled]).toEqual([
      [],
      ["lost: resumed: the runner came back with another phase of the task"],
    ]);
  });

  test("that forgot a task whose PENDING is being committed does not get its next phase", async () => {
    const c = await connected();
    const run = await accepted(c);
    void c.link.end(run, RunPhase.PENDING);
    again(c);
    await nextTurn();
    expect(run.settled).toEqual(["returned undefined"]);
    run.run("running");
    await nextTurn();
    expect(run.settled.at(-1)).toBe("lost: resumed: the runner came back without the task");
  });
});

describe("a stream that its runner has closed", () => {
  test("forgets a runner that has nothing, and keeps what another has for its lease", async () => {
    const c = await connected();
    const run = await running(c);
    c.link.attachment.detach("finished");
    expect(c.world.host.known).toBe(1);
    const next = again(c, heldOf(run, RunPhase.RUNNING));
    expect(next.held).toEqual(["a 1 RUNNING 1"]);
    run.seat.release("ended");
    next.attachment.detach("finished");
    expect(c.world.host.known).toBe(0);
  });

  test("gives back at once what it has not accepted, and is forgotten where it has nothing else", async () => {
    const c = await connected();
    const has = await accepted(c);
    const offered = c.world.offer("b") as HostedRun;
    c.link.attachment.detach("finished");
    await nextTurn();
    expect([has.settled, offered.settled]).toEqual([[], ["lost: resumed: the runner closed its stream"]]);
    offered.seat.release("again");
    const next = again(c, heldOf(has, RunPhase.PENDING));
    has.seat.release("ended");
    const last = c.world.offer("c") as HostedRun;
    next.attachment.detach("finished");
    await nextTurn();
    expect([last.settled.length, c.world.host.known]).toEqual([1, 0]);
    last.seat.release("again");
    expect(c.world.clock.pending()).toBe(0);
  });
});

describe("after a restart of the server", () => {
  test("a runner that comes back goes on with what it has, from what is on disk", async () => {
    const world = await createHostWorld();
    const run = world.recall("a", 7n, "one", { phase: "running", writtenSeq: 4n });
    const link = new FakeLink().attach(world.host, helloOf("one", { held: heldOf(run, RunPhase.RUNNING) }));
    await nextTurn();
    expect([link.held, link.take()]).toEqual([["a 7 RUNNING 4"], []]);
    void link.write(run, { current: 3, seq: 4n });
    void link.write(run, { current: 4, seq: 5n });
    expect([link.take(), run.writes.map(({ seq }) => seq)]).toEqual([["written a 7 4"], [5n]]);
    await world.clock.advance(leaseMs / 2);
    expect(run.settled).toEqual([]);
  });

  test("a runner that knows only of PENDING is offered RUNNING, and its end of PENDING is answered", async () => {
    const world = await createHostWorld();
    const run = world.recall("a", 7n, "one", { phase: "running", writtenSeq: 1n });
    const link = new FakeLink().attach(world.host, helloOf("one", { held: heldOf(run, RunPhase.PENDING) }));
    void link.end(run, RunPhase.PENDING, { case: "done", value: {} }, 1n);
    await nextTurn();
    expect(link.take()).toEqual(["written a 7 1", "offer a RUNNING 7"]);
  });

  test("a runner that does not come back has its whole lease, from when the server takes calls", async () => {
    const world = await createHostWorld();
    world.isServing = false;
    const run = world.recall("a", 7n, "one", { phase: "running" });
    await world.clock.advance(5 * leaseMs);
    world.isServing = true;
    await world.clock.advance(leaseMs - 1);
    expect([run.settled, world.host.known, world.host.connected]).toEqual([[], 1, 0]);
    await world.clock.advance(leaseMs / 4);
    expect([run.settled, world.host.known]).toEqual([[leaseIsOver], 0]);
  });

  test("an abort that was stored is told when the runner comes back", async () => {
    const world = await createHostWorld();
    const run = world.recall("a", 7n, "one", { phase: "pending" });
    run.abort("CANCEL");
    const link = new FakeLink().attach(world.host, helloOf("one", { held: heldOf(run, RunPhase.PENDING) }));
    expect(link.take()).toEqual(["abort a 7 CANCEL"]);
  });
});

describe("closing", () => {
  test("leaves what its runners have, and changes no lease", async () => {
    const c = await connected();
    const run = await running(c);
    const offered = c.world.offer("b") as HostedRun;
    c.link.take();
    c.world.host.close();
    await nextTurn();
    const left = "left: the controller closes";
    expect([run.settled.at(-1), offered.settled, c.link.take()]).toEqual([left, [left], ["closed UNAVAILABLE"]]);
    run.seat.release("left");
    offered.seat.release("left");
    void c.link.write(run, { current: 1 });
    await c.world.clock.advance(2 * leaseMs);
    expect([c.link.take(), c.world.rejected]).toEqual([[], []]);
  });

  test("lets an end be committed that was said before", async () => {
    const c = await connected();
    const run = await running(c);
    void c.link.end(run, RunPhase.RUNNING);
    c.world.host.close();
    await nextTurn();
    expect(run.settled.at(-1)).toBe("returned undefined");
  });
});
