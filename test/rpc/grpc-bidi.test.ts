import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { expect, test } from "vitest";
import {
  type RunRequest,
  RunRequestSchema,
  type RunResponse,
  RunResponseSchema,
  TaskRunnerService,
} from "#gen/stint/v1/runner_pb.js";
import { type BatchCall, MessageReader } from "../../src/rpc/batches.ts";
import { createGrpcBidi } from "../../src/rpc/grpc-bidi.ts";
import { envelope } from "../support/raw-http.ts";

/** The bytes of a keepalive, with its prefix. */
function keepalive(number: number, { gzip = false } = {}): Buffer {
  const request = create(RunRequestSchema, { message: { case: "keepalive", value: { number: BigInt(number) } } });
  const bytes = toBinary(RunRequestSchema, request);
  if (!gzip) return Buffer.from(envelope(bytes));
  const compressed = Buffer.from(envelope(gzipSync(bytes)));
  compressed.writeUInt8(1);
  return compressed;
}

function numberOf({ message }: RunRequest | RunResponse): number {
  return message.case === "keepalive" ? Number(message.value.number) : NaN;
}

interface Call {
  readonly pieces?: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly implement?: BatchCall<RunRequest, RunResponse>;
}

/** Calls the method with a body in these pieces; by default it takes all that it gets. */
async function call({ pieces = [], headers = {}, implement }: Call) {
  const taken: number[] = [];
  let signal: AbortSignal | undefined;
  const takeAll: BatchCall<RunRequest, RunResponse> = async function* take(requests) {
    const reader = new MessageReader(requests);
    while (await reader.more()) {
      for (let next = reader.take(); next !== undefined; next = reader.take()) taken.push(numberOf(next.message));
    }
    yield [];
  };
  const handle = createGrpcBidi(TaskRunnerService.method.run, {
    implement: (requests, context) => {
      ({ signal } = context);
      return (implement ?? takeAll)(requests as never, context);
    },
    requestLimit: { name: "request_max_bytes", value: 1_000 },
    writeMaxBytes: 1_000,
    otherwise: (async () => ({ status: 415 })) as unknown as UniversalHandler,
  });
  async function* body() {
    yield* pieces;
  }
  const answer = await handle({
    httpVersion: "2.0",
    url: "http://localhost/stint.v1.TaskRunnerService/Run",
    method: "POST",
    header: new Headers({ "content-type": "application/grpc", ...headers }),
    body: body(),
    signal: new AbortController().signal,
  });
  const written: Uint8Array[] = [];
  for await (const piece of answer.body ?? []) written.push(piece);
  const { status } = answer;
  const { "grpc-status": code, "grpc-message": message } = Object.fromEntries(new Headers(answer.trailer));
  return { taken, written, status, code: Number(code), message: message ?? "", isOver: signal?.aborted };
}

test("messages are taken in order, however they come: many in a piece, and compressed ones between", async () => {
  const first = Buffer.concat([keepalive(1), keepalive(2), keepalive(3, { gzip: true }), keepalive(4)]);
  const pieces = [first, keepalive(5), Buffer.concat([keepalive(6, { gzip: true }), keepalive(7)])];
  const headers = { "grpc-encoding": "gzip" };
  expect(await call({ pieces, headers })).toMatchObject({ taken: [1, 2, 3, 4, 5, 6, 7], code: 0, isOver: true });
});

test("what comes in the turn in which a piece is taken is one piece", async () => {
  const pieces = new Readable({ read() {} });
  const batches: number[][] = [];
  /** As a connection does that has many frames: whatever waits for one goes on before the next. */
  const sayRest = async (): Promise<void> => {
    for (const number of [2, 3, 4]) {
      pieces.push(keepalive(number));
      for (let i = 0; i < 20; i += 1) await new Promise<void>((resolve) => process.nextTick(resolve));
    }
    pieces.push(null);
  };
  const implement: Call["implement"] = async function* note(requests) {
    for await (const batch of requests) {
      batches.push([...batch].map(({ message }) => numberOf(message)));
      if (batches.length === 1) void sayRest();
    }
    yield [];
  };
  pieces.push(keepalive(1));
  await call({ pieces, implement });
  expect(batches).toEqual([[1], [2, 3, 4]]);
});

test("a message has the bytes that it had when it was decoded", async () => {
  const bytes: number[] = [];
  const implement: Call["implement"] = async function* note(requests) {
    for await (const batch of requests) for (const each of batch) bytes.push(each.bytes);
    yield [];
  };
  const size = keepalive(1).byteLength - 5;
  const headers = { "grpc-encoding": "gzip" };
  await call({ pieces: [Buffer.concat([keepalive(1), keepalive(2, { gzip: true })])], headers, implement });
  expect(bytes).toEqual([size, size]);
});

const unreadable = Buffer.from(envelope(Buffer.from([0x12, 0x05, 0x01])));

test.each([
  ["cannot be decoded", [Buffer.concat([keepalive(1), keepalive(2), unreadable, keepalive(3)])], "parse binary"],
  [
    "is compressed in no way that was named",
    [Buffer.concat([keepalive(1), keepalive(2), keepalive(3, { gzip: true })])],
    "",
  ],
  ["is broken off", [keepalive(1), Buffer.concat([keepalive(2), keepalive(3).subarray(0, 6)])], "incomplete envelope"],
  ["has no whole prefix", [keepalive(1), keepalive(2), Buffer.from([0, 0])], "incomplete envelope"],
])("where one %s, those before it are taken, and the call ends with INVALID_ARGUMENT", async (_, pieces, why) => {
  const { taken, code, message } = await call({ pieces });
  expect({ taken, code: Code[code] }).toEqual({ taken: [1, 2], code: "InvalidArgument" });
  expect(decodeURIComponent(message)).toContain(why);
});

test.each([
  ["grpc-timeout", "1 day", "InvalidArgument"],
  ["grpc-encoding", "br", "Unimplemented"],
])("a bad header %s: %s ends it before anything is taken", async (name, value, code) => {
  const answer = await call({ pieces: [keepalive(1)], headers: { [name]: value } });
  expect([answer.taken, Code[answer.code]]).toEqual([[], code]);
});

test("what is said at once is one piece; an error comes after all that was said before it", async () => {
  const say = (number: number): RunResponse =>
    create(RunResponseSchema, { message: { case: "keepalive", value: { number: BigInt(number) } } });
  const implement: Call["implement"] = async function* answer() {
    yield [say(1), say(2)];
    yield [say(3)];
    throw new ConnectError("a newer stream", Code.Aborted);
  };
  const { written, code, message, isOver } = await call({ implement });
  const numbers = written.map((piece) => {
    const found: number[] = [];
    for (let at = 0; at < piece.byteLength; ) {
      const end = at + 5 + Buffer.from(piece).readUInt32BE(at + 1);
      found.push(numberOf(fromBinary(RunResponseSchema, piece.subarray(at + 5, end))));
      at = end;
    }
    return found;
  });
  expect(numbers).toEqual([[1, 2], [3]]);
  expect([Code[code], decodeURIComponent(message), isOver]).toEqual(["Aborted", "a newer stream", true]);
});

test("what fails in no way that is meant for others is INTERNAL, and says nothing of why", async () => {
  const implement: Call["implement"] = async function* fail() {
    yield* [];
    throw new Error("a secret");
  };
  expect(await call({ implement })).toMatchObject({ code: Code.Internal, message: "internal%20error" });
});

test.each(["application/grpc+json", "application/json"])("%s is left to connect", async (type) => {
  expect(await call({ headers: { "content-type": type } })).toMatchObject({ status: 415, taken: [] });
});
