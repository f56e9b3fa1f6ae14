/**
 * A cancel of tasks that a remote runner has, with the server killed (SIGKILL) after CancelTask was answered and before the runner can
 * have been told. The runner goes on, and is told by the server's next process. REMOTE_CANCELS: of how many tasks at a time (default 4, at most 7).
 * Needs dist/ (npm run build).
 */
import type { ChildProcess } from "node:child_process";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { StateCanceled, StateRunning } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import type { Relay } from "./remote/relay.ts";
import { controller, openRemoteWorld, type RemoteWorld } from "./remote/world.ts";

const count = Number(process.env["REMOTE_CANCELS"] ?? 4);
/** It outlives a restart of the server, on a slow machine too. */
const leaseMs = 20_000;
const filesCount = 200;
const maxMs = 60_000;
const timeout = 120_000;

interface World {
  readonly remote: RemoteWorld;
  readonly relay: Relay;
  /** It knows the relay alone. */
  readonly runner: ChildProcess;
}

async function startRunner(remote: RemoteWorld): Promise<World> {
  const relay = await remote.relay();
  return { remote, relay, runner: remote.start("node", relay.target) };
}

/** Launches tasks that take minutes, and waits until the runner works on each. */
async function launch({ remote }: World, taskIds: readonly string[]): Promise<void> {
  await remote.launch(1_000, ...taskIds);
  await eventually(async () => {
    const begun = new Set((await remote.ledger()).map(({ task }) => task));
    expect(taskIds.filter((taskId) => !begun.has(taskId))).toEqual([]);
  }, maxMs);
}

async function cancel({ remote }: World, taskIds: readonly string[]): Promise<void> {
  const { client } = remote.server;
  await Promise.all(taskIds.map((taskId) => client.cancelTask({ controller, taskId, reason: "enough" })));
}

/** What handlers were told, by the tasks' ids. */
async function told({ remote }: World): Promise<Record<string, string[]>> {
  const kinds: Record<string, string[]> = {};
  for (const fact of await remote.ledger()) if ("kind" in fact) (kinds[fact.task] ??= []).push(fact.kind);
  return kinds;
}

/** Checks that the cancels were requested, and no more, after the restart: the runner has the tasks still. */
async function checkRequested(world: World, taskIds: readonly string[]): Promise<void> {
  for (const taskId of taskIds) {
    const { state, attempt, cancel: asked } = await world.remote.status(taskId);
    expect([state, attempt]).toEqual([StateRunning, 1]);
    expect(asked).toMatchObject({ reason: "enough", requestedAt: {} });
    expect([asked?.deliveredAt, asked?.acknowledgedAt]).toEqual([undefined, undefined]);
  }
}

/** Waits until the tasks are Canceled, and checks that each handler was told so, once, and in which order the status has it. */
async function checkCanceled(world: World, taskIds: readonly string[]): Promise<void> {
  for (const taskId of taskIds) {
    await eventually(async () => expect((await world.remote.status(taskId)).state).toBe(StateCanceled), maxMs);
    const { attempt, cancel: done, rejectedWrites } = await world.remote.status(taskId);
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
  const { progress } = await world.remote.status(taskId);
  await eventually(async () => {
    const { state, attempt, progress: later } = await world.remote.status(taskId);
    expect([state, attempt]).toEqual([StateRunning, 1]);
    expect(later?.current ?? 0n).toBeGreaterThan(progress?.current ?? 0n);
  }, maxMs);
}

test("cancels that were answered before the server was killed reach the runner from the next one", {
  timeout,
}, async () => {
  await using remote = await openRemoteWorld(filesCount, leaseMs);
  const world = await startRunner(remote);
  const canceled = Array.from({ length: count }, (_, i) => `a${i}`);
  await launch(world, [...canceled, "other"]);
  world.relay.hold("server");
  await cancel(world, canceled);
  await remote.server.kill();
  await remote.server.start();
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
  await using remote = await openRemoteWorld(filesCount, leaseMs);
  const world = await startRunner(remote);
  const canceled = Array.from({ length: count }, (_, i) => `b${i}`);
  await launch(world, [...canceled, "other"]);
  world.runner.kill("SIGSTOP");
  await cancel(world, canceled);
  await remote.server.kill();
  await remote.server.start();
  await checkRequested(world, canceled);
  expect(await told(world)).toEqual({});
  world.runner.kill("SIGCONT");
  await checkCanceled(world, canceled);
  await checkUntouched(world, "other");
});
