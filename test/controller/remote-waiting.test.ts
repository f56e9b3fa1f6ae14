import { describe, expect, test } from "vitest";
import { createHostWorld, type HostWorld, leaseMs } from "../support/fake-hosted-task.ts";
import { FakeLink, helloOf } from "../support/fake-link.ts";

/** The runners of a test, by name. */
function connect(world: HostWorld, capacities: Readonly<Record<string, number>>): Map<string, FakeLink> {
  const connected = Object.entries(capacities).map(
    ([name, capacity]) => [name, new FakeLink().attach(world.host, helloOf(name, { capacity }))] as const,
  );
  return new Map(connected);
}

describe("what a task waits for", () => {
  test("is a runner, or one of the places of those that are connected", async () => {
    const world = await createHostWorld();
    expect(world.host.whatIsWaitedFor()).toBe("a runner: none is connected to this controller");
    const links = connect(world, { one: 3 });
    expect(world.host.whatIsWaitedFor()).toBe("one of the 3 places of the runner that is connected");
    connect(world, { two: 4 });
    expect(world.host.whatIsWaitedFor()).toBe("one of the 7 places of the 2 runners that are connected");
    links.get("one")?.attachment.detach("broken");
    expect([world.host.connected, world.host.known]).toEqual([1, 2]);
  });

  test("is no place of one that drains", async () => {
    const world = await createHostWorld();
    const links = connect(world, { one: 2, two: 1 });
    void links.get("one")?.say({ case: "drain", value: {} });
    expect(world.host.whatIsWaitedFor()).toBe("the place of the runner that takes tasks");
    void links.get("two")?.say({ case: "drain", value: {} });
    expect(world.host.whatIsWaitedFor()).toBe("a runner that takes tasks: the 2 that are connected drain");
    connect(world, { three: 1, four: 2, five: 3 });
    expect(world.host.whatIsWaitedFor()).toBe("one of the 6 places of the 3 runners that take tasks");
  });

  test("is no place of one that is silent, sends too much, or takes no offer", async () => {
    const world = await createHostWorld();
    const links = connect(world, { one: 7 });
    const link = links.get("one") as FakeLink;
    link.attachment.holdBack(true);
    expect(world.host.whatIsWaitedFor()).toBe("a runner that takes tasks: the one that is connected takes none");
    link.attachment.holdBack(false);
    expect(world.host.whatIsWaitedFor()).toBe("one of the 7 places of the runner that is connected");
    await world.clock.advance(leaseMs);
    expect(world.host.whatIsWaitedFor()).toBe("a runner that takes tasks: the one that is connected is silent");
    link.beAlive();
    expect(world.host.whatIsWaitedFor()).toBe("one of the 7 places of the runner that is connected");
    world.offer("unread");
    for (const each of ["two", "three"]) {
      const draining = connect(world, { [each]: 1 }).get(each) as FakeLink;
      void draining.say({ case: "drain", value: {} });
      links.set(each, draining);
    }
    expect(world.host.whatIsWaitedFor()).toBe("one of the 7 places of the runner that takes tasks");
    for (let second = 0; second < 7; second += 1) {
      for (const each of links.values()) each.beAlive();
      await world.clock.advance(1_000);
    }
    expect(world.host.whatIsWaitedFor()).toBe(
      "a runner that takes tasks: of the 3 that are connected 2 drain, 1 takes none",
    );
  });
});
