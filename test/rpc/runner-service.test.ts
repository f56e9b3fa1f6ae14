import { describe, expect, test } from "vitest";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  AbortReason,
  RunPhase,
  type RunRequest,
  RunRequestSchema,
  TaskAbortSchema,
  TaskOfferSchema,
  TaskRunnerService,
  TaskWrittenSchema,
} from "#gen/stint/v1/runner_pb.js";
import { Code, type ConnectError, type HandlerContext } from "@connectrpc/connect";
import { ControllerError } from "../../src/controller/error.ts";
import { Faults } from "../../src/faults.ts";
import { createAvailability } from "../../src/rpc/availability.ts";
import { createTaskRunnerService } from "../../src/rpc/runner-service.ts";
import { createStreamSlots } from "../../src/rpc/stream-slots.ts";
import { defaultLimits } from "../../src/server/limits.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { callHeaders, endHeaders, frame, FrameSocket, frameType, uint32 } from "../support/raw-frames.ts";
import { envelope } from "../support/raw-http.ts";
import { RawRunner } from "../support/raw-runner.ts";
import { serveFake } from "../support/served-fake.ts";

const addressOf = ({ port }: { port: number }): string => `127.0.0.1:${port}`;

describe("a stream of a runner", () => {
  test("begins with its hello and the welcome, and is attached for as long as it lasts", async () => {
    await using served = await serveFake();
    const runner = await RawRunner.connect(addressOf(served), { controller: "remote", runner: "one", capacity: 7 });
    const attachment = await served.runners.attached();
    expect(attachment.hello).toMatchObject({ controller: "remote", runner: "one", capacity: 7 });
    expect(runner.welcome.limits).toMatchObject({
      request_max_bytes: 1_048_576n,
      result_max_bytes: 262_144n,
      runner_messages_per_second_max: 2_000n,
    });
    expect(served.runners.connected).toBe(1);
    runner.beAlive(3n);
    await runner.take("keepalive", ({ number }) => number === 3n);
    expect(attachment.detachments).toEqual([]);
    await runner.break();
    await eventually(() => expect(attachment.detachments).toHaveLength(1));
  });

  test.each([
    ["is reset", (socket: FrameSocket) => void socket.send(frame(frameType.rstStream, 0, 1, uint32(8)))],
    ["loses its connection", (socket: FrameSocket) => socket.destroy()],
  ])("that %s is broken, and not at its end", async (_, breakOff) => {
    await using served = await serveFake();
    const socket = new FrameSocket(served.port);
    const hello = {
      controller: "remote",
      runner: "a",
      instanceId: "0123456789abcdef",
      capacity: 1,
      protocolVersion: 1,
    };
    const request = create(RunRequestSchema, { message: { case: "hello", value: hello } });
    const headers = callHeaders("/stint.v1.TaskRunnerService/Run");
    await socket.send(
      frame(frameType.headers, endHeaders, 1, headers),
      frame(frameType.data, 0, 1, envelope(toBinary(RunRequestSchema, request))),
    );
    const { detachments } = await served.runners.attached();
    breakOff(socket);
    await eventually(() => expect(detachments).toEqual(["broken"]));
    socket.destroy();
  });

  test("whose side the runner closes ends with OK when what it had said is answered", async () => {
    await using served = await serveFake();
    let onDisk = (): void => {};
    served.runners.gate = new Promise((resolve) => (onDisk = resolve));
    const runner = await RawRunner.connect(addressOf(served));
    const { link, said, detachments, pauses } = await served.runners.attached();
    runner.write({ taskId: "a", fence: 5n }, { current: 1 });
    runner.finish();
    await eventually(() => expect(said).toEqual(["write a 1"]));
    // Nothing is offered to it from then on.
    await eventually(() => expect(pauses).toEqual([true]));
    expect([runner.isOver, detachments]).toEqual([false, []]);
    link.written(create(TaskWrittenSchema, { taskId: "a", fence: 5n, seq: 1n }));
    onDisk();
    expect(await runner.ended).toMatchObject({ code: 0 });
    expect(runner.seen).toEqual(["written a 5 1"]);
    expect(detachments).toEqual(["finished"]);
  });

  test("that the controller closes ends with its error, after what was said before, and is not read from any more", async () => {
    await using served = await serveFake();
    const runner = await RawRunner.connect(addressOf(served));
    const { link, detachments } = await served.runners.attached();
    link.written(create(TaskWrittenSchema, { taskId: "a", fence: 5n, seq: 1n }));
    link.close(new ControllerError("ABORTED", "there is a newer stream", { reason: "CONFLICT" }));
    link.written(create(TaskWrittenSchema, { taskId: "a", fence: 5n, seq: 2n }));
    expect(await runner.ended).toEqual({ code: Code.Aborted, message: "there is a newer stream", reason: "CONFLICT" });
    expect(runner.seen).toEqual(["written a 5 1"]);
    expect(detachments).toEqual(["broken"]);
  });

  test("ends with UNAVAILABLE (DRAINING) when the server stops, and the instance keeps what it has", async () => {
    await using served = await serveFake();
    const runner = await RawRunner.connect(addressOf(served));
    const { detachments } = await served.runners.attached();
    void served.close(5_000);
    expect(await runner.ended).toMatchObject({ code: Code.Unavailable, reason: "DRAINING" });
    expect(detachments).toEqual(["broken"]);
  });

  test("goes on while the store fails, and a new one is refused", async () => {
    await using served = await serveFake();
    await using runner = await RawRunner.connect(addressOf(served));
    served.availability.setStoreHealthy(false);
    runner.beAlive(1n);
    await runner.take("keepalive");
    const late = new RawRunner(addressOf(served));
    late.hello();
    expect(await late.ended).toMatchObject({ code: Code.Unavailable, reason: "STORE_UNAVAILABLE" });
  });

  test("takes a slot, and is refused where there is none", async () => {
    await using served = await serveFake({ limits: { watchersMax: 1 } });
    await using first = await RawRunner.connect(addressOf(served));
    const second = new RawRunner(addressOf(served));
    second.hello();
    expect(await second.ended).toMatchObject({ code: Code.ResourceExhausted, reason: "LIMIT" });
    await first.break();
    await eventually(async () => {
      await using third = await RawRunner.connect(addressOf(served));
      expect(third.isOver).toBe(false);
    });
  });
});

describe("a runner that does not read", () => {
  test("is cut off when 4,096 answers wait for it, and counts as connected no more", async () => {
    await using served = await serveFake();
    await using runner = await RawRunner.connect(addressOf(served));
    const { link, detachments } = await served.runners.attached();
    runner.pause();
    const error = new ControllerError("FAILED_PRECONDITION", "x".repeat(500), { reason: "STALE_FENCE" });
    await eventually(() => {
      for (let i = 0; i < 1_000; i += 1) link.refuse({ taskId: "a", fence: 1n, seq: BigInt(i), error });
      expect(detachments).toEqual(["broken"]);
    });
    runner.resume();
    expect(await runner.ended).toMatchObject({ code: Code.ResourceExhausted, reason: "LIMIT" });
  });
});

describe("a hello", () => {
  test.each([
    ["a keepalive", (runner: RawRunner) => runner.beAlive(), "hello: must be the first message"],
    ["nothing", (runner: RawRunner) => runner.finish(), "hello: must be the first message"],
    ["no message", (runner: RawRunner) => void runner.sayBytes(new Uint8Array()), "message: must be set"],
    ["a bad name", (runner: RawRunner) => runner.hello({ controller: "Big" }), "hello.controller: must be 1 to 63"],
    [
      "a short instance id",
      (runner: RawRunner) => runner.hello({ instanceId: "short" }),
      "hello.instance_id: must be 16",
    ],
    ["no capacity", (runner: RawRunner) => runner.hello({ capacity: 0 }), "hello.capacity:"],
    [
      "a task without a phase that is one",
      (runner: RawRunner) => runner.hello({ held: [{ taskId: "a", fence: 1n, phase: 9 }] as never }),
      "hello.held[0].phase: must be one of RUN_PHASE_UNSPECIFIED, RUN_PHASE_PENDING",
    ],
    [
      "80,000 tasks",
      (runner: RawRunner) => runner.hello({ held: Array(80_000).fill({ taskId: "a", fence: 1n, phase: 1 }) as never }),
      "hello.held: must be at most 2000 held, and are 80000",
    ],
    ["what is none", (runner: RawRunner) => void runner.sayBytes(Buffer.from("garbage")), ""],
  ])("in whose place is %s is INVALID_ARGUMENT, and nothing is attached", async (_, say, message) => {
    await using served = await serveFake();
    const runner = new RawRunner(addressOf(served));
    say(runner);
    const end = await runner.ended;
    expect(end.code).toBe(Code.InvalidArgument);
    expect(end.message).toContain(message);
    expect(served.runners.attachments).toEqual([]);
  });

  test("that the controller refuses ends the stream with its error", async () => {
    await using served = await serveFake();
    served.runners.failure = new ControllerError("RESOURCE_EXHAUSTED", "too many", { reason: "LIMIT" });
    const runner = new RawRunner(addressOf(served));
    runner.hello();
    expect(await runner.ended).toEqual({ code: Code.ResourceExhausted, message: "too many", reason: "LIMIT" });
    const other = new RawRunner(addressOf(served));
    other.hello({ controller: "countdown" });
    expect(await other.ended).toMatchObject({ code: Code.FailedPrecondition });
  });
});

describe("what a runner says", () => {
  test.each([
    [
      "breaks a rule",
      (runner: RawRunner) => void runner.write({ taskId: "/", fence: 1n }, {}),
      "write.task_id: must be",
    ],
    [
      "has no seq",
      (runner: RawRunner) => void runner.write({ taskId: "a", fence: 1n }, { seq: 0n }),
      "write.seq: must be",
    ],
    [
      "has a seq after which there is none",
      (runner: RawRunner) => void runner.write({ taskId: "a", fence: 1n }, { seq: 2n ** 64n - 1n }),
      "write.seq: must be",
    ],
    ["is a second hello", (runner: RawRunner) => runner.hello(), "must be the first message only"],
    ["cannot be read", (runner: RawRunner) => void runner.sayBytes(Buffer.from("garbage")), ""],
    [
      "has too many entries",
      (runner: RawRunner) =>
        void runner.write({ taskId: "a", fence: 1n }, { entries: Array(257).fill("x") as string[] }),
      "write.entries: must be at most 256 entries, and are 257",
    ],
    [
      "ends a phase in no way",
      (runner: RawRunner) => runner.say({ case: "end", value: { taskId: "a", fence: 1n, seq: 1n, phase: 1 } }),
      "end.outcome",
    ],
  ])("and %s ends its stream with INVALID_ARGUMENT, and its lease", async (_, say, message) => {
    await using served = await serveFake();
    const runner = await RawRunner.connect(addressOf(served));
    const { said, detachments } = await served.runners.attached();
    say(runner);
    const end = await runner.ended;
    expect(end.code).toBe(Code.InvalidArgument);
    expect(end.message).toContain(message);
    expect([said, detachments]).toEqual([[], ["invalid"]]);
  });

  test("in a message that is too large ends the stream with RESOURCE_EXHAUSTED, and not its lease", async () => {
    await using served = await serveFake();
    const runner = await RawRunner.connect(addressOf(served));
    const { detachments } = await served.runners.attached();
    runner.write({ taskId: "a", fence: 1n }, { entries: ["x".repeat(1024 * 1024)] });
    expect(await runner.ended).toMatchObject({ code: Code.ResourceExhausted, reason: "LIMIT" });
    expect(detachments).toEqual(["broken"]);
  });
});

describe("what a runner is told", () => {
  test("is refusals with their status, aborts, and offers as they are when they are sent", async () => {
    await using served = await serveFake();
    await using runner = await RawRunner.connect(addressOf(served));
    const { link } = await served.runners.attached();
    const error = new ControllerError("FAILED_PRECONDITION", "not yours", { reason: "STALE_FENCE" });
    link.refuse({ taskId: "a", fence: 5n, seq: 2n, error });
    link.abort(create(TaskAbortSchema, { taskId: "a", fence: 5n, reason: AbortReason.CANCEL }));
    link.offer(async () => create(TaskOfferSchema, { taskId: "b", fence: 6n, phase: RunPhase.PENDING }));
    link.offer(async () => undefined);
    link.offer(() => Promise.reject(new Error("it cannot be read")));
    link.offer(async () => create(TaskOfferSchema, { taskId: "c", fence: 7n, phase: RunPhase.RUNNING }));
    await eventually(() => expect(runner.seen).toHaveLength(4));
    expect(runner.seen).toEqual(expect.arrayContaining(["refused a 5 2 STALE_FENCE", "abort a 5 CANCEL"]));
    expect(runner.seen.slice(2)).toEqual(["offer b PENDING 6", "offer c RUNNING 7"]);
    expect(served.logged.map(({ message }) => message)).toEqual(["an offer could not be made"]);
  });
});

test("a stream without a hello for 10 s ends with DEADLINE_EXCEEDED, and nothing of it stays", async () => {
  const clock = createFakeClock();
  const availability = createAvailability();
  availability.enter("serving");
  const service = createTaskRunnerService({
    availability,
    streams: createStreamSlots(1),
    faults: new Faults(),
    clock,
    limits: defaultLimits,
    openRunners: () => Promise.reject(new Error("nobody said who it is")),
  });
  const never: AsyncIterable<RunRequest> = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) };
  const context = {
    signal: new AbortController().signal,
    method: TaskRunnerService.method.run,
  } as unknown as HandlerContext;
  const first = service.run(never, context)[Symbol.asyncIterator]().next();
  const outcome = first.catch((error: ConnectError) => Code[error.code]);
  await clock.advance(9_999);
  expect(clock.pending()).toBe(1);
  await clock.advance(1);
  expect(await outcome).toBe("DeadlineExceeded");
  expect(clock.pending()).toBe(0);
});
