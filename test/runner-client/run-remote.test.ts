/** runRemote with its thread and a real connection, against a fake server. */
import type { Worker } from "node:worker_threads";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { AbortReason as WireReason, RunPhase } from "#gen/stint/v1/runner_pb.js";
import {
  type AbortReason,
  runRemote,
  silentLog,
  type RunRemoteOptions,
  type TaskRunner,
} from "../../src/runner-client/run-remote.ts";
import { eventually } from "../support/eventually.ts";
import { openFakeRunnerServer } from "../support/fake-runner-server.ts";
import { start } from "./support/start-remote.ts";

const { PENDING, RUNNING, COMPLETED } = RunPhase;
const failedPrecondition = 9;

/** Waits until its signal is aborted, and throws why. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
}

/** Passes on what goes over a connection, until it is frozen: those that are open then stay open, and nothing goes over them. */
async function openFreezingProxy(port: number): Promise<AsyncDisposable & { address: string; freeze(): void }> {
  const pairs: Array<readonly [Socket, Socket]> = [];
  const proxy = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const socket of [near, far]) socket.on("error", () => {});
    near.pipe(far);
    far.pipe(near);
    pairs.push([near, far]);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    freeze() {
      for (const [near, far] of pairs) {
        near.unpipe();
        far.unpipe();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of pairs.flat()) socket.destroy();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}

describe("runRemote", () => {
  test("runs a task's phases with what they are told, and says what they said and returned", async () => {
    await using server = await openFakeRunnerServer();
    const seen: unknown[] = [];
    await using _runner = start(server, {
      onTaskPending: (task, { attempt }) => void seen.push([task.taskId, attempt]),
      async onTaskRunning(task, { fence, runId }) {
        seen.push([await task.loadTaskMetadata(), await task.getProgress(), fence, runId]);
        await Promise.all([task.setProgress({ current: 4, total: 9 }), task.addLogEntry("warn", "step")]);
        seen.push((await task.getProgress())?.current);
        return { counted: 9 };
      },
      onTaskCompleted: (_task, state, _context, error) => void seen.push([state, error?.message]),
    });
    const stream = await server.stream();
    expect(stream.hello).toMatchObject({ controller: "steps", capacity: 3, wantsCompleted: true });
    const end = await stream.run(5n, { metadata: '{"limit": 9}', progress: { current: 3n, total: 9n } });
    expect(end).toMatchObject({ seq: 3n, outcome: { case: "done", value: { result: '{"counted":9}' } } });
    // Said together they are one write.
    expect(stream.of("write")).toMatchObject([
      { seq: 2n, progress: { current: 4n, total: 9n }, entries: [{ msg: "step", level: 4 }] },
    ]);
    stream.offer(9n, COMPLETED, { taskId: "t5", status: { state: 4, error: { message: "why" } } });
    expect(await stream.ended(9n, COMPLETED)).toMatchObject({ outcome: { case: "done" } });
    const metadata = [{ limit: 9 }, expect.objectContaining({ current: 3n, total: 9n }), 5n, "run"];
    expect(seen).toEqual([["t5", 1], metadata, 4n, [4, "why"]]);
  });

  test("keeps its tasks over a broken connection, and says again what was not answered", async () => {
    const first = await openFakeRunnerServer();
    await using _runner = start(first, {
      async onTaskRunning(task) {
        await task.setProgress({ current: 1 });
        return "done";
      },
    });
    const stream = await first.stream();
    stream.offer(5n, PENDING);
    await stream.ended(5n, PENDING);
    stream.answers = false;
    stream.offer(5n, RUNNING);
    await eventually(() => void stream.first("write"));
    first.kill();
    await using second = await openFakeRunnerServer({ port: first.port });
    const again = await second.stream();
    expect(again.hello).toMatchObject({ instanceId: stream.hello.instanceId, held: [{ fence: 5n, phase: RUNNING }] });
    expect(await again.ended(5n, RUNNING)).toMatchObject({ seq: 3n, outcome: { value: { result: '"done"' } } });
    expect(again.of("write")).toMatchObject([{ seq: 2n, progress: { current: 1n } }]);
  });

  test("leaves a connection on which nothing comes any more for a new one", async () => {
    await using server = await openFakeRunnerServer({ leaseMs: 6_000 });
    const said: string[] = [];
    const log = { ...silentLog, debug: (_: object, message: string) => void said.push(message) };
    await using proxy = await openFreezingProxy(server.port);
    await using _runner = start(server, { onTaskRunning: () => "done" }, { target: proxy.address, log });
    const stream = await server.stream();
    stream.offer(5n, PENDING);
    await stream.ended(5n, PENDING);
    proxy.freeze();
    const again = await server.stream(1);
    expect(again.hello).toMatchObject({ instanceId: stream.hello.instanceId, held: [{ fence: 5n, phase: PENDING }] });
    again.offer(5n, RUNNING);
    expect((await again.ended(5n, RUNNING)).outcome.case).toBe("done");
    // At the first try: none was made on the connection that hangs.
    expect(said).toEqual([]);
  });

  test("a cancel reaches the handler, is answered, and its throw ends the phase as aborted", async () => {
    await using server = await openFakeRunnerServer();
    const kinds: unknown[] = [];
    await using _runner = start(server, {
      async onTaskRunning(_task, { signal }) {
        signal.addEventListener("abort", () => kinds.push((signal.reason as { kind: string }).kind));
        await untilAborted(signal);
      },
    });
    const stream = await server.stream();
    stream.offer(5n, PENDING);
    await stream.ended(5n, PENDING);
    stream.offer(5n, RUNNING);
    await eventually(() => expect(stream.of("accept")).toHaveLength(2));
    stream.abort(5n, WireReason.CANCEL);
    const end = await stream.ended(5n, RUNNING);
    expect([kinds, end.outcome.case]).toEqual([["CANCEL"], "aborted"]);
    expect(stream.of("aborted")).toMatchObject([{ fence: 5n, reason: WireReason.CANCEL }]);
  });

  test("a task that was lost has its handler stopped, and its outcome is not said", async () => {
    await using server = await openFakeRunnerServer();
    const outcomes: unknown[] = [];
    await using _runner = start(server, {
      async onTaskRunning(task, { signal }) {
        if (task.taskId === "t6") return "in time";
        await untilAborted(signal).catch((error: { kind: string }) => outcomes.push(error.kind));
        await task.setProgress({ current: 1 }).catch((error: { details: object }) => outcomes.push(error.details));
        return "too late";
      },
    });
    const stream = await server.stream();
    stream.offer(5n, PENDING);
    await stream.ended(5n, PENDING);
    stream.offer(5n, RUNNING);
    await eventually(() => expect(stream.of("accept")).toHaveLength(2));
    stream.abort(5n, WireReason.LOST_FENCE);
    await eventually(() => expect(outcomes).toEqual(["LOST_FENCE", { reason: "STALE_FENCE" }]));
    // Whoever comes next finds that nothing was said in between.
    expect(await stream.run(6n).then(() => stream.of("end").filter(({ fence }) => fence === 5n))).toHaveLength(1);
    expect([stream.of("write"), stream.of("aborted")]).toEqual([[], []]);
  }, 30_000);

  test("rejects with what the server says when that does not want it", async () => {
    await using server = await openFakeRunnerServer();
    server.refuseHello = { code: failedPrecondition, details: "the server runs the tasks of steps itself" };
    const { closed } = start(server, { onTaskRunning: () => {} });
    await expect(closed).rejects.toMatchObject({
      name: "RunnerError",
      code: "REFUSED",
      status: "FAILED_PRECONDITION",
      message: expect.stringContaining("the server runs the tasks of steps itself") as unknown,
    });
  });

  test("that was refused ends an `await using` with that error alone", async () => {
    await using server = await openFakeRunnerServer();
    server.refuseHello = { code: failedPrecondition, details: "not you" };
    const useIt = async (): Promise<void> => {
      await using remote = start(server, { onTaskRunning: () => {} });
      await remote.closed;
    };
    await expect(useIt()).rejects.toMatchObject({ name: "RunnerError", code: "REFUSED" });
  });

  test("rejects when its thread is gone, and has its handlers stopped", async () => {
    await using server = await openFakeRunnerServer();
    const workers: Worker[] = [];
    process.once("worker", (worker) => workers.push(worker));
    const kinds: unknown[] = [];
    const { closed } = start(server, {
      async onTaskRunning(_task, { signal }) {
        await untilAborted(signal).catch(({ kind }: AbortReason) => kinds.push(kind));
      },
    });
    const rejected = closed.catch((error: unknown) => error);
    const stream = await server.stream();
    stream.offer(5n, PENDING);
    await stream.ended(5n, PENDING);
    stream.offer(5n, RUNNING);
    await eventually(() => expect(stream.of("accept")).toHaveLength(2));
    await workers[0]?.terminate();
    expect(await rejected).toMatchObject({ name: "RunnerError", code: "THREAD" });
    await eventually(() => expect(kinds).toEqual(["LOST_FENCE"]));
  });

  test("drains: finishes what it has, takes no more, and closes", async () => {
    await using server = await openFakeRunnerServer();
    let finish = (): void => {};
    const remote = start(
      server,
      { onTaskRunning: () => new Promise<void>((resolve) => (finish = resolve)) },
      { drainMs: 60_000 },
    );
    const stream = await server.stream();
    stream.offer(5n, PENDING);
    await stream.ended(5n, PENDING);
    stream.offer(5n, RUNNING);
    await eventually(() => expect(stream.of("accept")).toHaveLength(2));
    const drained = remote.drain();
    await eventually(() => expect(stream.of("drain")).toHaveLength(1));
    stream.offer(6n, PENDING);
    finish();
    expect((await stream.ended(5n, RUNNING)).outcome.case).toBe("done");
    await eventually(() => expect(stream.isHalfClosed).toBe(true));
    await drained;
    await remote.closed;
    expect(stream.of("accept").map(({ fence }) => fence)).toEqual([5n, 5n]);
  });

  test("gives tasks back that take longer than a drain may", async () => {
    await using server = await openFakeRunnerServer();
    const controller = new AbortController();
    const remote = start(
      server,
      { onTaskRunning: (_task, { signal }) => untilAborted(signal) },
      { drainMs: 10, signal: controller.signal },
    );
    const stream = await server.stream();
    stream.offer(5n, PENDING);
    await stream.ended(5n, PENDING);
    stream.offer(5n, RUNNING);
    await eventually(() => expect(stream.of("accept")).toHaveLength(2));
    controller.abort();
    expect((await stream.ended(5n, RUNNING)).outcome.case).toBe("released");
    await eventually(() => expect(stream.isHalfClosed).toBe(true));
    await remote.closed;
  });

  test("a handler that floods its log has its entries in order, in writes that the protocol takes", async () => {
    await using server = await openFakeRunnerServer();
    await using _runner = start(server, {
      async onTaskRunning(task) {
        const entries = Array.from({ length: 1_000 }, (_, n) => task.addLogEntry("info", `${n} ${"x".repeat(1_000)}`));
        await Promise.all([...entries, task.setProgress({ current: 1 })]);
      },
    });
    const stream = await server.stream();
    await stream.run(5n);
    const writes = stream.of("write");
    const numbers = writes.flatMap(({ entries }) => entries.map(({ msg }) => Number.parseInt(msg, 10)));
    expect(numbers).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
    for (const { entries } of writes) {
      expect(entries.length).toBeLessThanOrEqual(256);
      expect(entries.reduce((sum, { msg }) => sum + msg.length, 0)).toBeLessThanOrEqual(128 * 1024);
    }
    expect(writes.map(({ progress }) => progress !== undefined).indexOf(true)).toBe(writes.length - 1);
  });

  test.each<[string, Partial<RunRemoteOptions>]>([
    ["target", { target: "" }],
    ["target", { target: "https://tasks.example.com" }],
    ["target", { target: "http://tasks:1" }],
    ["target", { target: undefined } as object],
    ["target", { target: "tasks:0" }],
    ["target", { target: "tasks:65536" }],
    ["ca", { target: "https://tasks:1", ca: "ca.pem" }],
    ["controller", { controller: "No" }],
    ["controller", { controller: undefined } as object],
    ["capacity", { capacity: 0 }],
    ["capacity", { capacity: 1_001 }],
    ["runner", { runner: {} as TaskRunner }],
    ["name", { name: "-" }],
    ["name", { name: 5 } as object],
    ["signals", { signals: ["SIGTERM", "SIGNOPE"] } as object],
    ["signals", { signals: "SIGTERM" } as object],
    ["drainMs", { drainMs: Number.NaN }],
  ])("throws at once for a %s that is wrong", (name, wrong) => {
    const right = { target: "127.0.0.1:1", controller: "steps", capacity: 1, runner: { onTaskRunning: () => {} } };
    expect(() => runRemote({ ...right, ...wrong })).toThrow(
      expect.objectContaining({ code: "OPTION", message: expect.stringMatching(`^${name} must`) as unknown }) as Error,
    );
  });

  test("throws at once for no options at all, and names the first that must be set", () => {
    const without = runRemote as () => unknown;
    expect(without).toThrow(
      expect.objectContaining({ code: "OPTION", message: "target must be HOST:PORT, or https://HOST:PORT" }) as Error,
    );
  });
});
