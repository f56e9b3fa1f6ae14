/** Calls of gRPC that stream their answers by hand, beside the same calls by connect. */
import { connect as connectHttp2 } from "node:http2";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { HealthCheckRequestSchema } from "#gen/grpc/health/v1/health_pb.js";
import { WatchTaskRequestSchema, WatchTaskResponseSchema } from "#gen/stint/v1/controller_pb.js";
import { ControllerError } from "../../src/controller/error.ts";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { answerError } from "../support/answer-error.ts";
import { eventually } from "../support/eventually.ts";
import { envelope, grpcHeaders, http2Request, openHttp2, requestOn } from "../support/raw-http.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";
import { type Asked, askBoth, seen } from "./support/ask-both.ts";

const path = "/stint.v1.TaskControllerService/WatchTask";
const watch = toBinary(
  WatchTaskRequestSchema,
  create(WatchTaskRequestSchema, { controller: "countdown", taskId: "a" }),
);
const ofNoName = toBinary(
  WatchTaskRequestSchema,
  create(WatchTaskRequestSchema, { controller: "No", taskId: "no/id" }),
);
const gzip = { "grpc-encoding": "gzip" };
const large = "m".repeat(100_000);

/** A task that has ended, so that a watch has one message and an end. */
async function serveEnded(options: Parameters<typeof serveFake>[0] = {}): Promise<ServedFake> {
  const served = await serveFake(options);
  served.controller.put("a", { state: StateCompleted, metadata: '{"é":1}' });
  return served;
}

const bomb = gzipSync(Buffer.alloc(2 * 1024 * 1024));
const tooLarge = envelope(Buffer.alloc(16), { claimedBytes: 1024 * 1024 + 1 });
const undecodable = Buffer.from([0xff, 0xff]);

const forms: readonly (readonly [string, number, Omit<Asked, "path">])[] = [
  ["one message", 0, { body: envelope(watch) }],
  ["application/grpc+proto", 0, { headers: { "content-type": "application/grpc+proto" }, body: envelope(watch) }],
  ["who takes gzip", 0, { headers: { "grpc-accept-encoding": "gzip,identity" }, body: envelope(watch) }],
  ["a message of gzip", 0, { headers: gzip, body: envelope(gzipSync(watch), { flags: 1 }) }],
  ["a deadline", 0, { headers: { "grpc-timeout": "5S" }, body: envelope(watch) }],
  ["a deadline of a thousand years", 0, { headers: { "grpc-timeout": "8760000H" }, body: envelope(watch) }],
  ["what no task is called", 3, { body: envelope(ofNoName) }],
  ["a flag of gzip without its name", 3, { body: envelope(gzipSync(watch), { flags: 1 }) }],
  ["a compression that nobody has", 12, { headers: { "grpc-encoding": "br" }, body: envelope(watch, { flags: 1 }) }],
  ["what is not gzip", 3, { headers: gzip, body: envelope(watch, { flags: 1 }) }],
  ["gzip that is too large", 8, { headers: gzip, body: envelope(bomb, { flags: 1 }) }],
  ["a message that says it is too large", 8, { body: tooLarge }],
  ["no message", 12, { body: new Uint8Array() }],
  ["two messages", 12, { body: Buffer.concat([envelope(watch), envelope(watch)]) }],
  ["half of a message", 3, { body: envelope(watch).subarray(0, 7) }],
  ["bytes that are no message", 3, { body: envelope(undecodable) }],
  ["a deadline that is none", 3, { headers: { "grpc-timeout": "soon" }, body: envelope(watch) }],
  ["a deadline that is over", 4, { headers: { "grpc-timeout": "0n" }, body: envelope(watch) }],
];

describe("a watch is answered as by connect:", () => {
  test.each(forms)("%s", async (_, grpcStatus, asked) => {
    await using served = await serveEnded();
    const { lane, connect } = await askBoth(served, { path, ...asked });
    expect(lane.grpcStatus).toBe(grpcStatus);
    expect(seen(lane)).toEqual(seen(connect));
    expect("grpc-status" in lane.headers).toBe(grpcStatus !== 0);
    expect("grpc-status" in connect.headers).toBe(false);
  });

  const message = "100 % of é, \u{1f600};\n a:b";
  const details = { reason: "LIMIT" as const, metadata: { limit: "x" }, retryDelayMs: 1_500 };
  const failures: [string, Error][] = [
    ["an error with details", new ControllerError("RESOURCE_EXHAUSTED", message, details)],
    ["an error of connect's", new ConnectError(message, Code.FailedPrecondition, { "x-more": "1" })],
    ["a bug", new TypeError("x is not a function")],
  ];

  test.each(failures)("%s before its first message", async (_, failure) => {
    await using served = await serveEnded();
    served.controller.failure = failure;
    const { lane, connect } = await askBoth(served, { path, body: envelope(watch) });
    expect(lane.grpcStatus).toBeGreaterThan(0);
    expect(seen(lane)).toEqual(seen(connect));
    expect(answerError(lane)).toEqual(answerError(connect));
  });

  test.each(failures)("%s after its first message", async (_, failure) => {
    await using served = await serveFake();
    const ask = async (to: string) => {
      const revision = served.controller.put("a", { state: StateRunning });
      const answer = http2Request(served.port, { ...grpcHeaders, ":path": to }, envelope(watch));
      await eventually(() => expect(served.controller.openWatches).toBe(1));
      served.controller.failure = failure;
      served.controller.put("a", { state: StateRunning });
      const { body, ...rest } = await answer;
      served.controller.failure = undefined;
      expect(fromBinary(WatchTaskResponseSchema, body.subarray(5)).revision).toBe(revision);
      expect(rest.headers).not.toHaveProperty("grpc-status");
      return seen({ ...rest, body: Buffer.alloc(0) });
    };
    expect(await ask(path)).toEqual(await ask(`${path}?`));
  });

  test("a message that is too large", async () => {
    await using served = await serveEnded({ limits: { responseMaxBytes: 5 } });
    const { lane, connect } = await askBoth(served, { path, body: envelope(watch) });
    expect(lane.grpcStatus).toBe(Code.ResourceExhausted);
    expect(seen(lane)).toEqual(seen(connect));
    await eventually(() => expect(served.controller.openWatches).toBe(0));
  });

  test("a call while the server starts, and one while it drains", async () => {
    await using served = await serveFake({ starting: true });
    for (const phase of ["starting", "draining"] as const) {
      served.availability.enter(phase);
      const { lane, connect } = await askBoth(served, { path, body: envelope(watch) });
      expect(lane.grpcStatus).toBe(Code.Unavailable);
      expect(seen(lane)).toEqual(seen(connect));
    }
  });

  test("a call for which there is no slot", async () => {
    await using served = await serveFake({ limits: { watchersMax: 1 } });
    served.controller.put("a", { state: StateRunning });
    const session = openHttp2(served.port);
    void requestOn(session, { ...grpcHeaders, ":path": path }, envelope(watch));
    await eventually(() => expect(served.controller.openWatches).toBe(1));
    const { lane, connect } = await askBoth(served, { path, body: envelope(watch) });
    expect(lane.grpcStatus).toBe(Code.ResourceExhausted);
    expect(seen(lane)).toEqual(seen(connect));
    session.destroy();
    await eventually(async () => {
      const { grpcStatus } = await http2Request(
        served.port,
        { ...grpcHeaders, ":path": path, "grpc-timeout": "50m" },
        envelope(watch),
      );
      expect(grpcStatus).toBe(Code.DeadlineExceeded);
    });
  });

  test("one who does not end its request, and one who ends it too late", async () => {
    await using served = await serveEnded({ limits: { receiveMaxMs: 100 } });
    const { lane, connect } = await askBoth(served, { path, body: envelope(watch), end: false });
    expect(answerError(lane)).toMatchObject({
      code: "DeadlineExceeded",
      message: "the request was not received within 100 ms",
    });
    expect(answerError(lane)).toEqual(answerError(connect));
    expect(served.controller.callCount).toBe(0);
  });
});

test("the watch of health is answered as by connect", async () => {
  await using served = await serveFake();
  const body = envelope(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema)));
  const asked = { path: "/grpc.health.v1.Health/Watch", headers: { "grpc-timeout": "100m" }, body };
  const { lane, connect } = await askBoth(served, asked);
  expect(lane.grpcStatus).toBe(Code.DeadlineExceeded);
  expect(lane.body.toString("hex")).toBe("00000000020801");
  expect(seen(lane)).toEqual(seen(connect));
});

describe("a deadline", () => {
  test("that passes after a message ends the call behind it, and lets go of the watch", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const { lane, connect } = await askBoth(served, {
      path,
      headers: { "grpc-timeout": "200m" },
      body: envelope(watch),
    });
    expect(lane.trailers).toMatchObject({ "grpc-status": "4", "grpc-message": "the operation timed out" });
    expect(lane.body.byteLength).toBeGreaterThan(5);
    expect(seen(lane)).toEqual(seen(connect));
    await eventually(() => expect(served.controller.openWatches).toBe(0));
  });

  test("that passes before there is a message, or while the request comes, is DEADLINE_EXCEEDED", async () => {
    await using served = await serveEnded();
    served.controller.gate = new Promise(() => {});
    const headers = { "grpc-timeout": "50m" };
    const waiting = await askBoth(served, { path, headers, body: envelope(watch) });
    const asked = { ...grpcHeaders, ":path": path, ...headers };
    const coming = await http2Request(served.port, asked, envelope(watch).subarray(0, 3), { end: false });
    for (const answer of [waiting.lane, coming]) {
      expect(answerError(answer)).toMatchObject({ code: "DeadlineExceeded", message: "the operation timed out" });
    }
    expect(seen(waiting.lane)).toEqual(seen(waiting.connect));
  });

  test("ends also a call whose client does not read", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning, metadata: large });
    const session = openHttp2(served.port);
    const stream = session.request({ ...grpcHeaders, ":path": path, "grpc-timeout": "300m" });
    stream.on("error", () => {});
    stream.end(envelope(watch));
    stream.pause();
    await eventually(() => expect(served.controller.openWatches).toBe(1));
    for (let i = 0; i < 20; i += 1) {
      served.controller.put("a", { state: StateRunning, metadata: large });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => expect(served.controller.openWatches).toBe(0));
    // What was said before is there when it reads, and then why it is over.
    const trailers = new Promise((resolve) => stream.once("trailers", resolve));
    stream.resume();
    expect(await trailers).toMatchObject({ "grpc-status": "4" });
    session.destroy();
  });
});

describe("a slow reader", () => {
  test("has its slot until what was said is gone, also when its deadline is over", async () => {
    await using served = await serveFake({ limits: { watchersMax: 1 } });
    served.controller.put("a", { state: StateRunning, metadata: large });
    const session = openHttp2(served.port);
    const slow = session.request({ ...grpcHeaders, ":path": path, "grpc-timeout": "300m" });
    slow.on("error", () => {});
    slow.end(envelope(watch));
    slow.pause();
    await eventually(() => expect(served.controller.openWatches).toBe(1));
    for (let i = 0; i < 20; i += 1) {
      served.controller.put("a", { state: StateRunning, metadata: large });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => expect(served.controller.openWatches).toBe(0));
    const statusOfNext = async (): Promise<unknown> => {
      const next = session.request({ ...grpcHeaders, ":path": path, "grpc-timeout": "100m" });
      const status = new Promise((resolve) => {
        next.on("response", (headers) => headers["grpc-status"] !== undefined && resolve(headers["grpc-status"]));
        next.on("trailers", (trailers) => resolve(trailers["grpc-status"]));
      });
      next.resume().end(envelope(watch));
      return status;
    };
    expect(await statusOfNext()).toBe("8");
    slow.resume();
    await eventually(async () => expect(await statusOfNext()).toBe("4"));
    session.destroy();
  });

  test("is asked for no more than its stream holds, and skips what was replaced meanwhile", async () => {
    await using served = await serveFake();
    const session = openHttp2(served.port);
    served.controller.put("a", { state: StateRunning, metadata: large });
    const stream = session.request({ ...grpcHeaders, ":path": path });
    stream.on("error", () => {});
    stream.end(envelope(watch));
    stream.pause();
    await eventually(() => expect(served.controller.openWatches).toBe(1));
    const changes = 50;
    for (let i = 0; i < changes; i += 1) {
      served.controller.put("a", { state: StateRunning, metadata: large });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    served.controller.put("a", { state: StateCompleted, metadata: large });
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk)).resume();
    await new Promise((resolve) => stream.once("close", resolve));
    const messages = messagesOf(Buffer.concat(chunks));
    expect(messages.length).toBeGreaterThan(1);
    expect(messages.length).toBeLessThan(changes / 2);
    expect(messages.at(-1)?.status?.state).toBe(StateCompleted);
    session.destroy();
  });

  test("who does not take the end of its answer in time is cut off", async () => {
    await using served = await serveEnded({ limits: { writeStallMaxMs: 100 } });
    // Without a window there is room for the answer in the server, and not in the client.
    const session = connectHttp2(served.baseUrl, { settings: { initialWindowSize: 0 } });
    session.on("error", () => {});
    await new Promise((resolve) => session.once("localSettings", resolve));
    const stream = session.request({ ...grpcHeaders, ":path": path });
    stream.on("error", () => {});
    stream.end(envelope(watch));
    const closed = new Promise((resolve) => stream.once("close", resolve));
    await eventually(() =>
      expect(served.logged.map((line) => line.message)).toContain("a client did not read its answer, and was cut off"),
    );
    await closed;
    expect(served.controller.openWatches).toBe(0);
    session.destroy();
  });

  test("is not cut off while it waits for a task that does not change", async () => {
    await using served = await serveFake({ limits: { writeStallMaxMs: 50 } });
    served.controller.put("a", { state: StateRunning });
    const answer = http2Request(served.port, { ...grpcHeaders, ":path": path }, envelope(watch));
    await eventually(() => expect(served.controller.openWatches).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 200));
    served.controller.put("a", { state: StateCompleted });
    expect((await answer).grpcStatus).toBe(0);
    expect(served.logged.filter(({ level }) => level !== "debug" && level !== "info")).toEqual([]);
  });
});

function messagesOf(body: Buffer) {
  const messages = [];
  for (let at = 0; at < body.byteLength; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    messages.push(fromBinary(WatchTaskResponseSchema, body.subarray(at + 5, end)));
    at = end;
  }
  return messages;
}

test.each([
  ["by a reset", 8],
  ["by a reset that says there is no error", 0],
])("a watch that is broken off %s is let go of, and nothing is said of it", async (_, code) => {
  await using served = await serveFake({ limits: { watchersMax: 1 } });
  served.controller.put("a", { state: StateRunning });
  const session = openHttp2(served.port);
  for (let i = 0; i < 3; i += 1) {
    const stream = session.request({ ...grpcHeaders, ":path": path });
    stream.on("error", () => {}).resume();
    stream.end(envelope(watch));
    await eventually(() => expect(served.controller.openWatches).toBe(1));
    stream.close(code);
    await eventually(() => expect(served.controller.openWatches).toBe(0));
  }
  session.destroy();
  expect(served.logged.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
});
