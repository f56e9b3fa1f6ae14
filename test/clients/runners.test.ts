/**
 * The runners of examples/remote, each against a real server, with its process killed and paused in the middle.
 * RUNNERS: which (default: "go python"); what one is made of is installed before, by running it without arguments. Needs dist/
 * (npm run build).
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { StateCanceled, StateCompleted, StatePending, StateRunning } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { openRelay } from "../support/relay.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";

const names = (process.env["RUNNERS"] ?? "go python").split(" ").filter((name) => name !== "");
const controller = "count";
const leaseMs = 5_000;
const config = `limits: { leaseMs: ${leaseMs} }\ncontrollers: [{ name: ${controller}, runner: { remote: {} } }]\n`;
const filesCount = 100;
const maxMs = 60_000;

/** A server and a hundred files: the first has one line, the second two, and so on. Runners are started by `start`. */
async function openWorld(name: string) {
  const scratch = await makeScratchDirectory();
  const files = join(scratch.path, "files");
  await mkdir(files);
  for (let n = 1; n <= filesCount; n++) {
    await writeFile(join(files, `${String(n).padStart(3, "0")}.txt`), "line\n".repeat(n));
  }
  await writeFile(join(scratch.path, "stint.yaml"), config);
  const server = await ServedProcess.create({
    directory: join(scratch.path, "store"),
    config: join(scratch.path, "stint.yaml"),
  });
  await server.start();
  const children: ChildProcess[] = [];
  return {
    server,
    start(target = server.baseUrl.replace("http://", "")): ChildProcess {
      const program = join(repositoryRoot, "examples/remote", name, "run");
      const child = spawn(program, [target, controller], { stdio: "inherit" });
      children.push(child);
      return child;
    },
    async launch(pauseMs: number, ...taskIds: readonly string[]): Promise<void> {
      const jsonMetadata = JSON.stringify({ files: join(files, "*.txt"), pauseMs });
      for (const taskId of taskIds) {
        const payload = { case: "jsonMetadata", value: jsonMetadata } as const;
        await server.client.launchTask({ controller, taskId, payload });
      }
    },
    async status(taskId: string): Promise<TaskStatus> {
      const { status } = await server.client.getTaskStatus({ controller, taskId });
      if (status === undefined) throw new Error(`${taskId} has no status`);
      return status;
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGKILL");
      await server.kill();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

type World = Awaited<ReturnType<typeof openWorld>>;

/** Resolves when the task is Running and has counted as many files. */
async function counted(world: World, taskId: string, files: bigint): Promise<TaskStatus> {
  let found: TaskStatus | undefined;
  await eventually(async () => {
    const status = await world.status(taskId);
    expect(status.state, status.error?.message).toBe(StateRunning);
    expect(status.progress?.current ?? 0n).toBeGreaterThanOrEqual(files);
    found = status;
  }, maxMs);
  return found as TaskStatus;
}

/** Resolves when the task has run to its end, and checks that its count is right and that each file is in its log. */
async function completed(world: World, taskId: string): Promise<TaskStatus> {
  await eventually(async () => {
    const { state, runner, attempt, waitingFor, transitions } = await world.status(taskId);
    const seen = transitions.map(({ state: each, reason }) => `${each} ${reason}`).join("; ");
    expect(state, `${runner} has it, attempt ${attempt}, waits for "${waitingFor}": ${seen}`).toBe(StateCompleted);
  }, maxMs);
  const status = await world.status(taskId);
  expect(JSON.parse(status.result ?? "")).toEqual({ files: filesCount, lines: (filesCount * (filesCount + 1)) / 2 });
  const { entries } = await world.server.client.listTaskLogs({ controller, taskId, pageSize: 1_000 });
  const lines = entries
    .map(({ msg }) => /(\d+)\.txt["'] has \d+ lines$/.exec(msg)?.[1])
    .filter((name) => name !== undefined);
  expect(lines.map(Number)).toEqual(Array.from({ length: filesCount }, (_, i) => i + 1));
  return status;
}

describe.each(names)("the runner in %s", (name) => {
  // What has changed since is built here, once, and not by two that are started side by side.
  beforeAll(() => promisify(execFile)(join(repositoryRoot, "examples/remote", name, "run")), 300_000);

  test("is killed in the middle: another goes on where it was", { timeout: 180_000 }, async () => {
    await using world = await openWorld(name);
    const children = [world.start(), world.start()];
    await world.launch(100, "a");
    const before = await counted(world, "a", 20n);
    expect(before.attempt).toBe(1);
    const killed = children.find(({ pid }) => before.runner.endsWith(`-${pid}`));
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
    expect((await completed(world, "a")).attempt).toBe(2);
  });

  test("is paused for longer than its lease: what it says after that is refused", {
    timeout: 240_000,
  }, async () => {
    await using world = await openWorld(name);
    await using relay = await openRelay(Number(new URL(world.server.baseUrl).port));
    const first = world.start(relay.target);
    const tasks = Array.from({ length: 8 }, (_, i) => `b${i}`);
    await world.launch(200, ...tasks);
    for (const task of tasks) await counted(world, task, 5n);
    world.start();
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
      const status = await completed(world, task);
      expect(status.attempt).toBe(2);
      expect(status.runner).not.toMatch(new RegExp(`-${first.pid}$`));
    }
    // It has lived through it, and takes part again.
    expect([first.exitCode, first.signalCode]).toEqual([null, null]);
  });

  test("stops for a cancel", { timeout: 120_000 }, async () => {
    await using world = await openWorld(name);
    world.start();
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
    await using world = await openWorld(name);
    const child = world.start();
    await world.launch(100, "d");
    await counted(world, "d", 20n);
    await world.server.kill();
    await world.server.start();
    expect((await completed(world, "d")).attempt).toBe(1);
    child.kill("SIGKILL");
    await once(child, "exit");
  });

  test("finishes what it has and takes nothing more when it is told to end", { timeout: 120_000 }, async () => {
    await using world = await openWorld(name);
    const child = world.start();
    const exit = once(child, "exit");
    await world.launch(100, "e");
    const { progress } = await counted(world, "e", 5n);
    child.kill("SIGTERM");
    // It goes on, and has had the time to say that it drains.
    await counted(world, "e", (progress?.current ?? 0n) + 20n);
    await world.launch(0, "f");
    expect((await completed(world, "e")).attempt).toBe(1);
    expect(await exit).toEqual([0, null]);
    expect(await world.status("f")).toMatchObject({ state: StatePending, runner: "" });
    const next = world.start();
    const { runner, attempt } = await completed(world, "f");
    expect([runner.endsWith(`-${next.pid}`), attempt]).toEqual([true, 1]);
  });

  test("ends at once at a second signal", { timeout: 60_000 }, async () => {
    await using world = await openWorld(name);
    const child = world.start();
    await world.launch(60_000, "g");
    await counted(world, "g", 1n);
    await eventually(() => {
      child.kill("SIGTERM");
      expect(child.signalCode).toBe("SIGTERM");
    }, maxMs);
    expect((await world.status("g")).state).toBe(StateRunning);
  });
});
