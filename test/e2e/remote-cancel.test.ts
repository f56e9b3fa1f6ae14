/**
 * A cancel of tasks that a remote runner has, with the server killed (SIGKILL) after CancelTask was answered and before the runner can
 * have been told. The runner goes on, and is told by the server's next process. REMOTE_CANCELS: of how many tasks at a time (default 4, at most 19).
 * Needs dist/ (npm run build).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { StateCanceled, StateRunning } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { openRelay } from "../support/relay.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import type { RemoteFact } from "./runners/remote-steps.ts";

const count = Number(process.env["REMOTE_CANCELS"] ?? 4);
const controller = "steps";
const maxMs = 60_000;
const timeout = 120_000;

/** A server, a relay before it, and a runner that knows the relay alone. */
async function openWorld() {
  const scratch = await makeScratchDirectory();
  const config = join(scratch.path, "stint.yaml");
  const ledger = join(scratch.path, "ledger");
  await writeFile(
    config,
    `limits: { leaseMs: 20000 }\ncontrollers: [{ name: ${controller}, runner: { remote: {} } }]\n`,
  );
  await writeFile(ledger, "");
  const server = await ServedProcess.create({ directory: join(scratch.path, "store"), config });
  await server.start();
  const relay = await openRelay(Number(new URL(server.baseUrl).port));
  const program = join(repositoryRoot, "test/e2e/runners/remote-steps.ts");
  const args = ["--import", import.meta.resolve("tsx"), program, relay.target, controller, ledger];
  const runner: ChildProcess = spawn(process.execPath, args, { stdio: "inherit" });
  return {
    server,
    relay,
    runner,
    async facts(): Promise<RemoteFact[]> {
      const lines = (await readFile(ledger, "utf8")).split("\n").filter((line) => line !== "");
      return lines.map((line) => JSON.parse(line) as RemoteFact);
    },
    async status(taskId: string): Promise<TaskStatus> {
      const { status } = await server.client.getTaskStatus({ controller, taskId });
      if (status === undefined) throw new Error(`${taskId} has no status`);
      return status;
    },
    async [Symbol.asyncDispose]() {
      runner.kill("SIGKILL");
      await server.kill();
      await relay[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

type World = Awaited<ReturnType<typeof openWorld>>;

/** Launches tasks that take for ever, and waits until the runner works on each. */
async function launch(world: World, taskIds: readonly string[]): Promise<void> {
  const value = JSON.stringify({ steps: 1_000_000, pauseMs: 50 });
  for (const taskId of taskIds) {
    await world.server.client.launchTask({ controller, taskId, payload: { case: "jsonMetadata", value } });
  }
  await eventually(async () => {
    const begun = new Set((await world.facts()).map(({ task }) => task));
    expect(taskIds.filter((taskId) => !begun.has(taskId))).toEqual([]);
  }, maxMs);
}

async function cancel(world: World, taskIds: readonly string[]): Promise<void> {
  const canceled = taskIds.map((taskId) => world.server.client.cancelTask({ controller, taskId, reason: "enough" }));
  await Promise.all(canceled);
}

/** What handlers were told, by the tasks' ids. */
async function told(world: World): Promise<Record<string, string[]>> {
  const kinds: Record<string, string[]> = {};
  for (const fact of await world.facts()) if ("kind" in fact) (kinds[fact.task] ??= []).push(fact.kind);
  return kinds;
}

/** Checks that the cancels were requested, and no more, after the restart: the runner has the tasks still. */
async function checkRequested(world: World, taskIds: readonly string[]): Promise<void> {
  for (const taskId of taskIds) {
    const { state, attempt, cancel: asked } = await world.status(taskId);
    expect([state, attempt]).toEqual([StateRunning, 1]);
    expect(asked).toMatchObject({ reason: "enough", requestedAt: {} });
    expect([asked?.deliveredAt, asked?.acknowledgedAt]).toEqual([undefined, undefined]);
  }
}

/** Waits until the tasks are Canceled, and checks that each handler was told so, once, and in which order the status has it. */
async function checkCanceled(world: World, taskIds: readonly string[]): Promise<void> {
  for (const taskId of taskIds) {
    await eventually(async () => expect((await world.status(taskId)).state).toBe(StateCanceled), maxMs);
    const { attempt, cancel: done, rejectedWrites } = await world.status(taskId);
    expect([attempt, rejectedWrites]).toEqual([1, 0n]);
    const times = [done?.requestedAt, done?.deliveredAt, done?.acknowledgedAt];
    const timesMs = times.map((time) => (time === undefined ? Number.NaN : timestampMs(time)));
    expect(timesMs).toEqual([...timesMs].sort((a, b) => a - b));
    expect(timesMs.some(Number.isNaN)).toBe(false);
  }
  expect(await told(world)).toEqual(Object.fromEntries(taskIds.map((taskId) => [taskId, ["CANCEL"]])));
  expect([world.runner.exitCode, world.runner.signalCode]).toEqual([null, null]);
}

/** The task that nobody cancels goes on with the runner that has it. */
async function checkUntouched(world: World, taskId: string): Promise<void> {
  const { progress } = await world.status(taskId);
  await eventually(async () => {
    const { state, attempt, progress: later } = await world.status(taskId);
    expect([state, attempt]).toEqual([StateRunning, 1]);
    expect(later?.current ?? 0n).toBeGreaterThan(progress?.current ?? 0n);
  }, maxMs);
}

test("cancels that were answered before the server was killed reach the runner from the next one", {
  timeout,
}, async () => {
  await using world = await openWorld();
  const canceled = Array.from({ length: count }, (_, i) => `a${i}`);
  await launch(world, [...canceled, "other"]);
  world.relay.hold("server");
  await cancel(world, canceled);
  await world.server.kill();
  await world.server.start();
  // It may be connected again by now, and hears nothing of that.
  await checkRequested(world, canceled);
  expect(await told(world)).toEqual({});
  world.relay.release();
  await checkCanceled(world, canceled);
  await checkUntouched(world, "other");
});

test("a cancel that is answered while the runner is paused over the restart reaches it when it goes on", {
  timeout,
}, async () => {
  await using world = await openWorld();
  const canceled = Array.from({ length: count }, (_, i) => `b${i}`);
  await launch(world, [...canceled, "other"]);
  world.runner.kill("SIGSTOP");
  await cancel(world, canceled);
  await world.server.kill();
  await world.server.start();
  await checkRequested(world, canceled);
  expect(await told(world)).toEqual({});
  world.runner.kill("SIGCONT");
  await checkCanceled(world, canceled);
  await checkUntouched(world, "other");
});
