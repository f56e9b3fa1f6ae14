/** Runners in processes of their own: one that blocks its thread, one that is paused, and such as are told to end. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { eventually } from "../support/eventually.ts";
import { type FakeRunnerStream, openFakeRunnerServer } from "../support/fake-runner-server.ts";
import { startRemoteProcess } from "./support/remote-process.ts";

const { PENDING, RUNNING } = RunPhase;
const leaseMs = 3_000;
/** How long the handler blocks its thread; 60,000 at night. */
const spinMs = Number(process.env["BLOCKED_MS"] ?? 1.5 * leaseMs);
const startMaxMs = 60_000;

/** Brings a task to where its handler has said that it has begun. */
async function begin(stream: FakeRunnerStream, fence: bigint, metadata: object): Promise<void> {
  const status = { metadata: JSON.stringify(metadata) };
  stream.offer(fence, PENDING, { status });
  await stream.ended(fence, PENDING, startMaxMs);
  stream.offer(fence, RUNNING, { status });
  await eventually(() => {
    if (!stream.of("write").some((write) => write.fence === fence)) throw new Error("the handler has not begun");
  }, startMaxMs);
}

test("a handler that blocks its thread for longer than the lease keeps the lease, and its task", {
  timeout: spinMs + 120_000,
}, async () => {
  await using server = await openFakeRunnerServer({ leaseMs });
  await using _process = startRemoteProcess(server.address);
  const stream = await server.stream(0, startMaxMs);
  await begin(stream, 5n, { spinMs });
  const fromMs = performance.now();
  // It spins when it has heard that what it has said is written; what comes with that is taken.
  await sleep(spinMs / 4);
  stream.offer(6n, PENDING);
  await sleep(spinMs / 4);
  // Who cannot run a task takes none.
  expect(stream.of("accept").map(({ fence }) => fence)).toEqual([5n, 5n]);
  const end = await stream.ended(5n, RUNNING, spinMs + startMaxMs);
  const outcome = end.outcome.case === "done" ? end.outcome.value : undefined;
  expect(Number(outcome?.result)).toBeGreaterThanOrEqual(spinMs);
  const times = [fromMs, ...stream.keepaliveTimes.filter((time) => time > fromMs), performance.now()];
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  expect(Math.max(...gaps)).toBeLessThan(leaseMs);
  expect(server.streams).toHaveLength(1);
  await stream.ended(6n, PENDING, startMaxMs);
});

test("one that was paused for longer than its lease goes on with the connection that it has", {
  timeout: 120_000,
}, async () => {
  await using server = await openFakeRunnerServer({ leaseMs });
  await using process_ = startRemoteProcess(server.address);
  const stream = await server.stream(0, startMaxMs);
  await begin(stream, 5n, { workMs: 1_000 });
  process_.kill("SIGSTOP");
  const count = stream.keepaliveTimes.length;
  await sleep(1.5 * leaseMs);
  expect(stream.keepaliveTimes.length).toBeLessThanOrEqual(count + 1);
  process_.kill("SIGCONT");
  await stream.ended(5n, RUNNING, startMaxMs);
  expect(server.streams).toHaveLength(1);
});

test("SIGTERM lets a task finish, takes no more, and ends the process", { timeout: 120_000 }, async () => {
  await using server = await openFakeRunnerServer({ leaseMs });
  await using process_ = startRemoteProcess(server.address);
  const stream = await server.stream(0, startMaxMs);
  await begin(stream, 5n, { workMs: 1_000 });
  process_.kill("SIGTERM");
  await eventually(() => expect(stream.of("drain")).toHaveLength(1), startMaxMs);
  stream.offer(6n, PENDING);
  expect((await stream.ended(5n, RUNNING, startMaxMs)).outcome.case).toBe("done");
  expect(await process_.exited).toBe(0);
  expect(stream.of("accept").map(({ fence }) => fence)).not.toContain(6n);
});

test("a second SIGTERM gives tasks back at once", { timeout: 120_000 }, async () => {
  await using server = await openFakeRunnerServer({ leaseMs });
  await using process_ = startRemoteProcess(server.address, 3_600_000);
  const stream = await server.stream(0, startMaxMs);
  await begin(stream, 5n, { workMs: 3_600_000 });
  process_.kill("SIGTERM");
  await eventually(() => expect(stream.of("drain")).toHaveLength(1), startMaxMs);
  process_.kill("SIGTERM");
  expect((await stream.ended(5n, RUNNING, startMaxMs)).outcome.case).toBe("released");
  expect(await process_.exited).toBe(0);
});
