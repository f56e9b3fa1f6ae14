/**
 * The runners of examples/remote, each against a real server, with its process killed and paused in the middle.
 * RUNNERS: which (default: "go python"); what one is made of is installed before, by running it without arguments. Needs dist/
 * (npm run build).
 */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { beforeAll, describe, expect, test } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { StateCanceled, StatePending, StateRunning } from "../../src/task/state.ts";
import {
  buildRunner,
  controller,
  isRunner,
  leaseMs,
  openRemoteWorld,
  programOf,
  type RemoteWorld,
} from "../e2e/remote/world.ts";
import { eventually } from "../support/eventually.ts";

const names = (process.env["RUNNERS"] ?? "go python").split(" ").filter((name) => name !== "");
const filesCount = 100;
const maxMs = 60_000;

/** Resolves when the task is Running and has counted as many files. */
async function counted(world: RemoteWorld, taskId: string, files: bigint): Promise<TaskStatus> {
  let found: TaskStatus | undefined;
  await eventually(async () => {
    const status = await world.status(taskId);
    expect(status.state, status.error?.message).toBe(StateRunning);
    expect(status.progress?.current ?? 0n).toBeGreaterThanOrEqual(files);
    found = status;
  }, maxMs);
  return found as TaskStatus;
}

describe.each(names)("the runner in %s", (name) => {
  beforeAll(() => buildRunner(name), 300_000);

  test.each([[["localhost:1"]], [["localhost:1", "count", "more"]]])("says how it is started, and not %j", (args) => {
    const { status, stdout, stderr } = spawnSync(programOf(name), args, { encoding: "utf8" });
    expect([status, stdout, stderr]).toEqual([2, "", "usage: run HOST:PORT CONTROLLER\n"]);
  });

  test("without arguments says that it only builds", { timeout: 300_000 }, () => {
    const { status, stderr } = spawnSync(programOf(name), { encoding: "utf8" });
    expect(status).toBe(0);
    expect(stderr).toMatch(/^built; to start it: run HOST:PORT CONTROLLER\n$/m);
  });

  test("is killed in the middle: another goes on where it was", { timeout: 180_000 }, async () => {
    await using world = await openRemoteWorld(filesCount);
    const children = [world.start(name), world.start(name)];
    await world.launch(100, "a");
    const before = await counted(world, "a", 20n);
    expect(before.attempt).toBe(1);
    const killed = children.find((child) => isRunner(before.runner, child));
    expect(killed?.kill("SIGKILL")).toBe(true);
    const killedMs = performance.now();
    await eventually(async () => expect((await world.status("a")).attempt).toBe(2), maxMs);
    const tookMs = performance.now() - killedMs;
    expect(tookMs).toBeLessThan(1.5 * leaseMs);
    console.log(`runners: ${name}: taken over ${Math.round(tookMs)} ms after the kill, of ${1.5 * leaseMs}`);
    const after = await world.status("a");
    expect(after.progress?.current ?? 0n).toBeGreaterThanOrEqual(before.progress?.current ?? 0n);
    expect(after.runner).not.toBe(before.runner);
    // Each file was counted once, by the one or the other.
    expect((await world.completed("a")).status.attempt).toBe(2);
  });

  test("is paused for longer than its lease: what it says after that is refused", {
    timeout: 240_000,
  }, async () => {
    await using world = await openRemoteWorld(filesCount);
    const relay = await world.relay();
    const first = world.start(name, relay.target);
    const tasks = Array.from({ length: 8 }, (_, i) => `b${i}`);
    await world.launch(200, ...tasks);
    for (const task of tasks) await counted(world, task, 5n);
    world.start(name);
    first.kill("SIGSTOP");
    // What the server says to it comes late, too: it goes on for a while with what it knew.
    relay.hold("server");
    for (const task of tasks) {
      await eventually(async () => expect((await world.status(task)).attempt).toBe(2), maxMs);
    }
    first.kill("SIGCONT");
    // One that waits for an answer that is held back says nothing: of eight, some do not.
    await eventually(async () => {
      const refused = await Promise.all(tasks.map(async (task) => (await world.status(task)).rejectedWrites));
      expect(refused.some((count) => count > 0n)).toBe(true);
    }, maxMs);
    relay.release();
    for (const task of tasks) {
      const { status } = await world.completed(task);
      expect(status.attempt).toBe(2);
      expect(isRunner(status.runner, first)).toBe(false);
    }
    // It has lived through it, and takes part again.
    expect([first.exitCode, first.signalCode]).toEqual([null, null]);
  });

  test("stops for a cancel", { timeout: 120_000 }, async () => {
    await using world = await openRemoteWorld(filesCount);
    world.start(name);
    await world.launch(1_000, "c");
    await counted(world, "c", 1n);
    await world.server.client.cancelTask({ controller, taskId: "c" });
    await eventually(async () => expect((await world.status("c")).state).toBe(StateCanceled), maxMs);
    const { cancel, progress } = await world.status("c");
    expect(cancel).toMatchObject({ deliveredAt: {}, acknowledgedAt: {} });
    expect(progress?.current).toBeLessThan(filesCount);
  });

  test("lives through a kill of the server, and loses nothing that it has said", {
    timeout: 180_000,
  }, async () => {
    await using world = await openRemoteWorld(filesCount);
    const child = world.start(name);
    await world.launch(100, "d");
    await counted(world, "d", 20n);
    await world.server.kill();
    await world.server.start();
    expect((await world.completed("d")).status.attempt).toBe(1);
    child.kill("SIGKILL");
    await once(child, "exit");
  });

  test("finishes what it has and takes nothing more when it is told to end", { timeout: 120_000 }, async () => {
    await using world = await openRemoteWorld(filesCount);
    const child = world.start(name);
    const exit = once(child, "exit");
    await world.launch(100, "e");
    const { progress } = await counted(world, "e", 5n);
    child.kill("SIGTERM");
    // It goes on, and has had the time to say that it drains.
    await counted(world, "e", (progress?.current ?? 0n) + 20n);
    await world.launch(0, "f");
    expect((await world.completed("e")).status.attempt).toBe(1);
    expect(await exit).toEqual([0, null]);
    expect(await world.status("f")).toMatchObject({ state: StatePending, runner: "" });
    const next = world.start(name);
    const { runner, attempt } = (await world.completed("f")).status;
    expect([isRunner(runner, next), attempt]).toEqual([true, 1]);
  });

  test("ends at once at a second signal", { timeout: 60_000 }, async () => {
    await using world = await openRemoteWorld(filesCount);
    const child = world.start(name);
    await world.launch(60_000, "g");
    await counted(world, "g", 1n);
    await eventually(() => {
      child.kill("SIGTERM");
      expect(child.signalCode).toBe("SIGTERM");
    }, maxMs);
    expect((await world.status("g")).state).toBe(StateRunning);
  });
});
