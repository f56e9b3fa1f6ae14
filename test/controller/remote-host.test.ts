import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { createHostWorld, type HostedRun, type HostWorld } from "../support/fake-hosted-task.ts";
import { FakeLink, helloOf } from "../support/fake-link.ts";
import { refusal } from "../support/controller-harness.ts";

/** The runners of a test, by name. */
function connect(world: HostWorld, capacities: Readonly<Record<string, number>>): Map<string, FakeLink> {
  const connected = Object.entries(capacities).map(
    ([name, capacity]) => [name, new FakeLink().attach(world.host, helloOf(name, { capacity }))] as const,
  );
  return new Map(connected);
}

/** Offers tasks until nobody takes one, or `max`; those of `accepting` accept at once. */
function offerAll(world: HostWorld, accepting: ReadonlyMap<string, FakeLink>, max = 1_000): HostedRun[] {
  const runs: HostedRun[] = [];
  while (runs.length < max) {
    const run = world.offer(`t${runs.length}`);
    if (run === undefined) break;
    runs.push(run);
    void accepting.get(run.seat.runner)?.accept(run);
  }
  return runs;
}

function countBy(runs: readonly HostedRun[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { seat } of runs) counts[seat.runner] = (counts[seat.runner] ?? 0) + 1;
  return counts;
}

/** Lets seconds pass while all say that they are alive; what was lost goes back to the line. */
async function pass(world: HostWorld, seconds: number, links: Iterable<FakeLink>, runs: HostedRun[]): Promise<void> {
  for (let i = 0; i < seconds; i += 1) {
    await world.clock.advance(1_000);
    for (const link of links) link.beAlive();
    for (const run of runs.filter(({ settled }) => settled.length > 0)) run.seat.release("again");
  }
}

describe("seats", () => {
  test("there are as many as the capacity of those who accept, and then none until one is released", async () => {
    const world = await createHostWorld();
    const runs = offerAll(world, connect(world, { one: 3, two: 7 }));
    expect(countBy(runs)).toEqual({ one: 3, two: 7 });
    runs.find(({ seat }) => seat.runner === "one")?.seat.release("ended");
    expect(countBy(offerAll(world, new Map()))).toEqual({ one: 1 });
  });

  test("are no more than activeMax in all", async () => {
    const world = await createHostWorld({ activeMax: 5 });
    expect(offerAll(world, connect(world, { one: 10, two: 10 }))).toHaveLength(5);
  });

  test("of a runner of capacity 1 are its share beside one of 100: whenever it is free the next task is its own", async () => {
    const world = await createHostWorld();
    const links = connect(world, { small: 1, large: 100 });
    const order: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      // Each round the small one finishes, and two of the large one.
      const runs = offerAll(world, links, 3);
      order.push(...runs.map(({ seat }) => seat.runner));
      for (const { seat } of runs) seat.release("ended");
    }
    expect(order.filter((runner) => runner === "small")).toHaveLength(20);
    expect(order.filter((runner) => runner === "large")).toHaveLength(40);
  });

  test("of a runner that is full are none, though it was given one the longest time ago", async () => {
    const world = await createHostWorld();
    const links = connect(world, { small: 1, large: 100 });
    const runs = offerAll(world, links, 10);
    expect(countBy(runs)).toEqual({ small: 1, large: 9 });
  });

  test("between equals go round", async () => {
    const world = await createHostWorld();
    const links = connect(world, { a: 5, b: 5, c: 5 });
    const first = offerAll(world, links, 3).map(({ seat }) => seat.runner);
    const second = offerAll(world, links, 3).map(({ seat }) => seat.runner);
    expect([[...first].sort(), second]).toEqual([["a", "b", "c"], first]);
    // And so they do where each is done before the next is offered.
    const turns: string[] = [];
    for (let i = 0; i < 6; i += 1) {
      const [run] = offerAll(world, links, 1) as [HostedRun];
      turns.push(run.seat.runner);
      run.seat.release("ended");
    }
    expect([turns.slice(0, 3).sort(), turns.slice(3)]).toEqual([["a", "b", "c"], turns.slice(0, 3)]);
  });

  test("of a runner that accepts nothing are one at a time, more and more seldom, and hold up nobody", async () => {
    const world = await createHostWorld();
    const links = connect(world, { stuck: 1_000, well: 10 });
    const accepting = new Map([["well", links.get("well") as FakeLink]]);
    const all: HostedRun[] = [];
    for (let second = 0; second < 120; second += 1) {
      const runs = offerAll(world, accepting);
      all.push(...runs);
      for (const { seat } of runs) if (seat.runner === "well") seat.release("ended");
      await pass(world, 1, links.values(), all);
    }
    const counts = countBy(all);
    expect(counts["stuck"]).toBeLessThanOrEqual(5);
    expect(counts["well"]).toBeGreaterThanOrEqual(1_000);
  });

  test("of a runner that gives back all that it is offered are more and more seldom, and hold up nobody", async () => {
    const world = await createHostWorld();
    const links = connect(world, { unwilling: 1_000, well: 10 });
    const counts: Record<string, number> = { unwilling: 0, well: 0 };
    for (let second = 0; second < 120; second += 1) {
      for (let i = 0; i < 20; i += 1) {
        const run = world.offer(`t${second} ${i}`);
        if (run === undefined) break;
        const { runner } = run.seat;
        counts[runner] = (counts[runner] ?? 0) + 1;
        const isWell = runner === "well";
        const link = links.get(runner) as FakeLink;
        if (!isWell) void link.accept(run);
        void link.end(run, RunPhase.PENDING, isWell ? { case: "failed", value: {} } : { case: "released", value: {} });
        await nextTurn();
        run.seat.release(isWell ? "ended" : "again");
      }
      await pass(world, 1, links.values(), []);
    }
    expect(counts["unwilling"]).toBeLessThanOrEqual(8);
    expect(counts["well"]).toBeGreaterThanOrEqual(2_000);
  });

  test("of a runner that gives one task back are no fewer for that", async () => {
    const world = await createHostWorld();
    const links = connect(world, { one: 10 });
    const [first] = offerAll(world, links, 1) as [HostedRun];
    void links.get("one")?.end(first, RunPhase.PENDING, { case: "released", value: {} });
    await nextTurn();
    first.seat.release("again");
    expect(countBy(offerAll(world, links))).toEqual({ one: 10 });
  });

  test("that hold offers which were not accepted are free again for others in a third of the lease", async () => {
    const world = await createHostWorld({ activeMax: 1 });
    const links = connect(world, { stuck: 1 });
    const runs = offerAll(world, new Map());
    expect(countBy(runs)).toEqual({ stuck: 1 });
    const well = new FakeLink().attach(world.host, helloOf("well"));
    expect(world.offer("next")).toBeUndefined();
    await pass(world, 8, [...links.values(), well], runs);
    expect(world.offer("next")?.seat.runner).toBe("well");
  });

  test("grow in number with what is accepted, and whoever waits for one is told", async () => {
    const world = await createHostWorld();
    const link = new FakeLink().attach(world.host, helloOf("one", { capacity: 100 }));
    const sizes: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const runs = offerAll(world, new Map());
      sizes.push(runs.length);
      const { seats } = world;
      for (const run of runs) void link.accept(run);
      expect(world.seats).toBeGreaterThan(seats);
    }
    expect(sizes).toEqual([1, 2, 8, 64, 25]);
  });

  test("of one that was silent for one and a half keepalives are none until it is heard", async () => {
    const world = await createHostWorld();
    const link = new FakeLink().attach(world.host, helloOf("one"));
    await world.clock.advance(9_000);
    expect(world.offer("a")).toBeUndefined();
    const { seats } = world;
    link.beAlive();
    expect(world.seats).toBe(seats + 1);
    expect(world.offer("a")).toBeDefined();
  });

  test("of one that drains are none, and what it has not accepted is offered to others", async () => {
    const world = await createHostWorld();
    const link = new FakeLink().attach(world.host, helloOf("one"));
    const [a] = offerAll(world, new Map([["one", link]]), 1) as [HostedRun];
    const [b] = offerAll(world, new Map(), 1) as [HostedRun];
    void link.say({ case: "drain", value: {} });
    await nextTurn();
    expect([a.settled, b.settled]).toEqual([[], ["lost: resumed: the runner takes no more tasks"]]);
    b.seat.release("again");
    expect(world.offer("c")).toBeUndefined();
    void link.end(a, RunPhase.PENDING);
    await nextTurn();
    a.run("running");
    await nextTurn();
    expect(link.told).toContain("offer t0 RUNNING 1");
  });
});

describe("hello", () => {
  test("is answered with the times, which follow from the lease", async () => {
    const world = await createHostWorld();
    const { welcome } = new FakeLink().attach(world.host, helloOf("one")).attachment;
    expect(welcome).toMatchObject({
      lease: { seconds: 16n, nanos: 0 },
      keepalive: { seconds: 5n, nanos: 333_000_000 },
      offerTimeout: { seconds: 5n, nanos: 333_000_000 },
      held: [],
      protocolVersion: 1,
    });
  });

  test("is answered with times of 20 s by a lease of an hour, by which the server goes itself", async () => {
    const world = await createHostWorld({ leaseMs: 3_600_000 });
    const link = new FakeLink().attach(world.host, helloOf("one"));
    const { lease, keepalive, offerTimeout } = link.attachment.welcome;
    expect([lease?.seconds, keepalive?.seconds, offerTimeout?.seconds]).toEqual([3_600n, 20n, 20n]);
    const told = world.offer("a") as HostedRun;
    void link.accept(told);
    told.abort("CANCEL");
    const untaken = world.offer("b") as HostedRun;
    await nextTurn();
    link.take();
    await world.clock.advance(20_000 + 3_750);
    expect(link.take()).toContain("abort a 1 CANCEL");
    link.beAlive();
    await world.clock.advance(3_750);
    expect(untaken.settled).toEqual(["lost: resumed: the offer was not accepted in time"]);
    await world.clock.advance(3_600_000 - 3_750);
    expect(told.settled).toEqual([]);
    await world.clock.advance(3 * 3_750);
    expect(told.settled).toEqual(["lost: resumed: the lease of its runner is over"]);
  });

  test.each([
    ["another version of the protocol", { protocolVersion: 2 }, "FAILED_PRECONDITION"],
    ["more capacity than a runner may have", { capacity: 1_001 }, "INVALID_ARGUMENT"],
    ["one runner too many", {}, "RESOURCE_EXHAUSTED"],
  ] as const)("with %s is refused", async (_, hello, code) => {
    const world = await createHostWorld({ runnersMax: 1 });
    if (code === "RESOURCE_EXHAUSTED") connect(world, { one: 1 });
    const attach = async (): Promise<unknown> => new FakeLink().attach(world.host, helloOf("two", hello));
    expect((await refusal(attach())).code).toBe(code);
    expect(world.host.known).toBe(code === "RESOURCE_EXHAUSTED" ? 1 : 0);
  });

  test("of one that is known is taken though there are as many as there may be", async () => {
    const world = await createHostWorld({ runnersMax: 1 });
    connect(world, { one: 1 });
    connect(world, { one: 1 });
    expect(world.host.known).toBe(1);
  });

  test("is refused once the controller closes", async () => {
    const world = await createHostWorld();
    const link = new FakeLink().attach(world.host, helloOf("one"));
    world.host.close();
    expect(link.told).toEqual(["closed UNAVAILABLE"]);
    const attach = async (): Promise<unknown> => new FakeLink().attach(world.host, helloOf("one"));
    expect(await refusal(attach())).toMatchObject({ code: "UNAVAILABLE", details: { reason: "DRAINING" } });
    expect([world.clock.pending(), world.host.takeSeat()]).toEqual([0, undefined]);
  });

  test("cannot come twice on a stream", async () => {
    const world = await createHostWorld();
    const link = new FakeLink().attach(world.host, helloOf("one"));
    const again = async (): Promise<unknown> => link.say({ case: "hello", value: helloOf("one") });
    expect((await refusal(again())).code).toBe("INVALID_ARGUMENT");
  });

  test("and nothing after it leaves a timer when the last runner is forgotten", async () => {
    const world = await createHostWorld();
    const link = new FakeLink().attach(world.host, helloOf("one"));
    link.attachment.detach("finished");
    expect([world.clock.pending(), world.host.known]).toEqual([0, 0]);
  });
});
