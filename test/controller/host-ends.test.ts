import { describe, expect, test } from "vitest";
import type { LaunchOptions } from "../../src/controller/controller.ts";
import { type HostHarness, openHostHarness, type ScriptedSeat } from "../support/scripted-host.ts";

describe("an end of a run on a seat", () => {
  /** Runs the task to its end, which the host is told of. */
  async function end(world: HostHarness, taskId: string, options: LaunchOptions = {}): Promise<ScriptedSeat> {
    await world.h.launch(taskId, options);
    const seat = await world.host.running(taskId);
    seat.phase.done(2n);
    await world.h.settle();
    return seat;
  }

  test("is told with its task, the seat that it was on, and the revision of its commit", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    const onDisk: string[][] = [];
    host.tells = async () => {
      onDisk.push(await h.keys("/deliveries/"));
      return "told";
    };
    const seat = await end(world, "a", { metadata: { text: "m".repeat(2_000) } });
    const [told] = host.told;
    expect(told).toMatchObject({ seat, fence: seat.phase.context.fence, status: { state: 3, attempt: 1 } });
    expect(told?.endRevision).toBe((await h.controller.readTask("a")).revision);
    expect((await told?.task.loadStatus())?.metadata).toHaveLength(2_011);
    expect(await told?.task.write({ seq: 3n, entries: [] }).catch(String)).toContain("has ended");
    expect([onDisk[0]?.length, await h.keys("/deliveries/"), host.told.length]).toEqual([1, [], 1]);
  });

  test("that nobody is there to be told is kept, its callbacks are called, and a deletion drops it", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    host.tells = () => Promise.resolve("kept");
    const states: number[] = [];
    await end(world, "a", { onState: (state) => states.push(state) });
    expect([states, (await h.keys("/deliveries/")).length]).toEqual([[3], 1]);
    await h.controller.deleteTask("a");
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("that nobody is there to be told is dropped by the next run", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    host.tells = () => Promise.resolve("kept");
    await end(world, "a");
    await h.launch("a");
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("that is kept when the controller is opened again is told if somebody is there, under the same revision", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    host.tells = () => Promise.resolve("kept");
    await end(world, "a");
    const [{ endRevision } = { endRevision: 0n }] = host.told;
    await h.crash();
    expect([world.host.told, (await h.keys("/deliveries/")).length]).toEqual([[], 1]);
    world.prepare = (next) => (next.canTell = true);
    await h.crash();
    await h.settle();
    expect(world.host.told).toMatchObject([{ endRevision, fence: 0n, seat: undefined }]);
    expect(await h.keys("/deliveries/")).toEqual([]);
  });

  test("that is not to be told is not", async () => {
    await using world = await openHostHarness(1);
    world.host.keeps = false;
    await end(world, "a");
    expect([world.host.told, await world.h.keys("/deliveries/")]).toEqual([[], []]);
  });
});
