/**
 * Unary calls of gRPC by hand, beside the same calls by connect: those whose path has a query, which says nothing, are left to it.
 */
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { GetTaskStatusRequestSchema, LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { ControllerError, type ControllerErrorCode } from "../../src/controller/error.ts";
import { StateRunning } from "../../src/task/state.ts";
import { answerError } from "../support/answer-error.ts";
import { eventually } from "../support/eventually.ts";
import { endHeaders, endStream, FrameSocket, frame, frameType, headerBlock } from "../support/raw-frames.ts";
import { envelope, grpcHeaders, http2Request, openHttp2 } from "../support/raw-http.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";
import { askBoth as askBothWays, seen } from "./support/ask-both.ts";

type Headers = Parameters<typeof http2Request>[1];

const service = "/stint.v1.TaskControllerService";
const task = { controller: "countdown", taskId: "a" };
const launch = toBinary(LaunchTaskRequestSchema, create(LaunchTaskRequestSchema, task));
const get = toBinary(GetTaskStatusRequestSchema, create(GetTaskStatusRequestSchema, task));
const gzip = { "grpc-encoding": "gzip" };

async function serve(limits: Parameters<typeof serveFake>[0] = {}): Promise<ServedFake> {
  const served = await serveFake(limits);
  served.controller.put("a", { state: StateRunning, metadata: '{"é":1}' });
  return served;
}

interface Asked {
  readonly method?: string;
  readonly headers?: Headers;
  readonly body: Uint8Array;
}

function askBoth(served: ServedFake, { method = "GetTaskStatus", ...asked }: Asked) {
  return askBothWays(served, { path: `${service}/${method}`, ...asked });
}

const bomb = gzipSync(Buffer.alloc(2 * 1024 * 1024));
const tooLarge = envelope(Buffer.alloc(16), { claimedBytes: 1024 * 1024 + 1 });
const undecodable = Buffer.from([0xff, 0xff]);

const forms: readonly (readonly [string, number, Asked])[] = [
  ["one message", 0, { body: envelope(get) }],
  ["a launch", 0, { method: "LaunchTask", body: envelope(launch) }],
  ["application/grpc+proto", 0, { headers: { "content-type": "application/grpc+proto" }, body: envelope(get) }],
  ["a message of gzip", 0, { headers: gzip, body: envelope(gzipSync(get), { flags: 1 }) }],
  ["a message without gzip where there might be", 0, { headers: gzip, body: envelope(get) }],
  ["an empty message of gzip", 3, { headers: gzip, body: envelope(new Uint8Array(), { flags: 1 }) }],
  ["flags that mean nothing", 0, { body: envelope(get, { flags: 0xfe }) }],
  ["a flag of gzip without its name", 3, { body: envelope(gzipSync(get), { flags: 1 }) }],
  ["a compression that nobody has", 12, { headers: { "grpc-encoding": "br" }, body: envelope(get, { flags: 1 }) }],
  ["what is not gzip", 3, { headers: gzip, body: envelope(get, { flags: 1 }) }],
  ["gzip that is too large", 8, { headers: gzip, body: envelope(bomb, { flags: 1 }) }],
  ["a message that says it is too large", 8, { body: tooLarge }],
  ["a second message that says so", 8, { body: Buffer.concat([envelope(get), tooLarge]) }],
  ["no message", 12, { body: new Uint8Array() }],
  ["two messages", 12, { body: Buffer.concat([envelope(get), envelope(get)]) }],
  ["two, the first of which is none", 3, { body: Buffer.concat([envelope(undecodable), envelope(get)]) }],
  ["two, the second of which is none", 3, { body: Buffer.concat([envelope(get), envelope(undecodable)]) }],
  ["half of a prefix", 3, { body: envelope(get).subarray(0, 3) }],
  ["half of a message", 3, { body: envelope(get).subarray(0, 7) }],
  ["a message and a half", 3, { body: Buffer.concat([envelope(get), envelope(get).subarray(0, 7)]) }],
  ["bytes that are no message", 3, { body: envelope(undecodable) }],
  ["a deadline that is none", 3, { headers: { "grpc-timeout": "soon" }, body: envelope(get) }],
  ["a deadline that is over", 4, { headers: { "grpc-timeout": "0n" }, body: envelope(get) }],
  [
    "a bad deadline and a bad compression",
    12,
    { headers: { "grpc-timeout": "", ...gzip, "grpc-encoding": "x" }, body: envelope(get) },
  ],
];

describe("is answered as by connect:", () => {
  test.each(forms)("%s", async (_, grpcStatus, asked) => {
    await using served = await serve();
    const { lane, connect } = await askBoth(served, asked);
    expect(lane.grpcStatus).toBe(grpcStatus);
    // The revision of a launch is another each time.
    const revised = asked.method === "LaunchTask" ? { body: expect.any(String) as unknown } : {};
    expect(seen(lane)).toEqual({ ...seen(connect), ...revised });
    expect("grpc-status" in lane.headers).toBe(grpcStatus !== 0);
    expect("grpc-status" in connect.headers).toBe(false);
  });

  const message = "100 % of é, \u{1f600};\n a:b";
  const details = {
    violations: [{ field: "a", description: message }],
    resource: { type: "task" as const, name: "a" },
    reason: "LIMIT" as const,
    metadata: { limit: "x" },
    retryDelayMs: 1_500,
  };
  const ofController = Object.keys({
    INVALID_ARGUMENT: 0,
    NOT_FOUND: 0,
    ALREADY_EXISTS: 0,
    FAILED_PRECONDITION: 0,
    ABORTED: 0,
    OUT_OF_RANGE: 0,
    RESOURCE_EXHAUSTED: 0,
    UNAVAILABLE: 0,
    DATA_LOSS: 0,
  } satisfies Record<ControllerErrorCode, 0>) as ControllerErrorCode[];
  const ofConnect = Array.from({ length: 16 }, (_, i) => (i + 1) as Code);
  const failures: [string, Error][] = [
    ...ofController.map((code): [string, Error] => [
      `${code} with details`,
      new ControllerError(code, message, details),
    ]),
    ...ofConnect.map((code): [string, Error] => [Code[code], new ConnectError(message, code, { "x-more": "1" })]),
    ["a bug", new TypeError("x is not a function")],
    ["a message of 100 KiB", new ControllerError("ABORTED", "é".repeat(50_000))],
  ];

  test.each(failures)("%s", async (_, failure) => {
    await using served = await serve();
    served.controller.failure = failure;
    const { lane, connect } = await askBoth(served, { body: envelope(get) });
    expect(lane.grpcStatus).toBeGreaterThan(0);
    expect(seen(lane)).toEqual(seen(connect));
    expect(answerError(lane)).toEqual(answerError(connect));
  });

  test("an answer that is too large", async () => {
    await using served = await serve({ limits: { responseMaxBytes: 5 } });
    const { lane, connect } = await askBoth(served, { body: envelope(get) });
    expect(lane.grpcStatus).toBe(Code.ResourceExhausted);
    expect(seen(lane)).toEqual(seen(connect));
  });

  test("a call while the server starts, and one while it drains", async () => {
    await using served = await serve({ starting: true });
    for (const phase of ["starting", "draining"] as const) {
      served.availability.enter(phase);
      const { lane, connect } = await askBoth(served, { body: envelope(get) });
      expect(lane.grpcStatus).toBe(Code.Unavailable);
      expect(seen(lane)).toEqual(seen(connect));
    }
  });

  test("frame by frame: headers, a message, trailers", async () => {
    await using served = await serve();
    const frames = async (path: string): Promise<string[]> => {
      const { ":path": _, ":method": method, ...rest } = grpcHeaders;
      const headers = { ":method": String(method), ":scheme": "http", ":path": path, ":authority": "a" };
      const block = headerBlock({ ...headers, ...(rest as Record<string, string>) });
      const socket = new FrameSocket(served.port);
      await socket.send(
        frame(frameType.headers, endHeaders, 1, block),
        frame(frameType.data, endStream, 1, envelope(get)),
      );
      const ofCall = () => socket.received.filter(({ streamId }) => streamId === 1);
      await eventually(() => expect(ofCall().filter(({ type }) => type === frameType.headers)).toHaveLength(2));
      socket.destroy();
      return ofCall()
        .filter(({ type, payload }) => type === frameType.headers || payload.byteLength > 0)
        .map(({ type, payload }) => (type === frameType.data ? payload.toString("hex") : `type ${type}`));
    };
    const lane = await frames(`${service}/GetTaskStatus`);
    expect(lane).toEqual(await frames(`${service}/GetTaskStatus?`));
    expect(lane).toHaveLength(3);
  });
});

test.each([
  ["a query", { ":path": `${service}/GetTaskStatus?a=b` }],
  ["JSON", { "content-type": "application/grpc+json" }],
  ["gRPC-Web", { "content-type": "application/grpc-web+proto" }],
  ["GET", { ":method": "GET" }],
  ["a page of the web", { origin: "https://tasks.example.com" }],
  ["an expectation", { expect: "100-continue" }],
  ["65 headers", Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`x-${i}`, ""]))],
  ["no such method", { ":path": `${service}/Nothing` }],
  ["a method of which both sides stream", { ":path": "/stint.v1.TaskRunnerService/Run" }],
  ["no such authority", { ":authority": "a:99999" }],
])("a call with %s is left to connect", async (_, headers) => {
  await using served = await serve();
  served.controller.failure = new ControllerError("DATA_LOSS", "the lane would say so in its headers");
  const { lane, connect } = await askBoth(served, { headers, body: envelope(get) });
  expect(seen(lane)).toEqual(seen(connect));
  expect(lane.headers["grpc-status"]).not.toBe(String(Code.DataLoss));
});

describe("a deadline", () => {
  test("that passes while the method works, or while the request comes, is DEADLINE_EXCEEDED", async () => {
    await using served = await serve();
    served.controller.gate = new Promise(() => {});
    const headers = { ...grpcHeaders, ":path": `${service}/GetTaskStatus`, "grpc-timeout": "50m" };
    const working = await http2Request(served.port, headers, envelope(get));
    const coming = await http2Request(served.port, headers, envelope(get).subarray(0, 3), { end: false });
    for (const answer of [working, coming]) {
      expect(answerError(answer)).toMatchObject({ code: "DeadlineExceeded", message: "the operation timed out" });
    }
  });
});

describe("a call that is broken off", () => {
  test.each([
    ["by a reset", 8],
    ["by a reset that says there is no error", 0],
  ])("%s aborts the signal of its method, and says nothing of it", async (_, code) => {
    await using served = await serve();
    const session = openHttp2(served.port);
    const stream = session.request({ ...grpcHeaders, ":path": `${service}/WaitTask` });
    stream.on("error", () => {}).resume();
    stream.end(envelope(get));
    await eventually(() => expect(served.controller.waits).toHaveLength(1));
    expect(served.controller.waits[0]?.signal?.aborted).toBe(false);
    stream.close(code);
    await eventually(() => expect(served.controller.waits[0]?.signal?.aborted).toBe(true));
    session.destroy();
    expect(served.logged.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
  });

  test("while its request comes gives back what was held of it", async () => {
    await using served = await serve({ limits: { inFlightMaxBytes: 1_000 } });
    const headers = { ...grpcHeaders, ":path": `${service}/GetTaskStatus` };
    for (let i = 0; i < 5; i += 1) {
      const session = openHttp2(served.port);
      const stream = session.request(headers);
      stream.on("error", () => {}).resume();
      stream.write(envelope(Buffer.alloc(900), { claimedBytes: 2_000 }));
      // The stream is there, and what it holds counted, when another finds no room.
      await eventually(async () => {
        expect((await http2Request(served.port, headers, envelope(Buffer.alloc(500)))).grpcStatus).toBe(8);
      });
      stream.close(8);
      await eventually(async () => {
        expect((await http2Request(served.port, headers, envelope(get))).grpcStatus).toBe(0);
        expect((await http2Request(served.port, headers, envelope(Buffer.alloc(500)))).grpcStatus).toBe(3);
      });
      session.destroy();
    }
  });
});
