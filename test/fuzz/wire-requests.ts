/** Requests over HTTP/2 in frames of chance, and what HTTP/1.1 could be made of: all of them refused, whatever becomes of them, or without effect. */
import { gzipSync } from "node:zlib";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  CancelTaskRequestSchema,
  DeleteTaskRequestSchema,
  GetTaskStatusRequestSchema,
  LaunchTaskRequestSchema,
  ListTasksRequestSchema,
  WatchTaskRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import { RunRequestSchema } from "#gen/stint/v1/runner_pb.js";
import { endHeaders, endStream, frame, frameType, headerBlock, uint32 } from "../support/raw-frames.ts";
import { envelope } from "../support/raw-http.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { byteMutations, mutateBytes } from "./mutate-bytes.ts";

/** A task that there is, and has ended. */
export const endedTask = { controller: "steps", taskId: "ended" };
/** One of a controller that there is not: whatever a mutation leaves of it changes nothing. */
const nowhere = { controller: "nowhere", taskId: "a" };

const encode = <D extends DescMessage>(desc: D, init: MessageInitShape<D>): Buffer =>
  Buffer.from(toBinary(desc, create(desc, init)));

const service = "/stint.v1.TaskControllerService";
/** Calls with one answer: path, request, and the same in JSON. */
export const unaryCalls: readonly (readonly [path: string, message: Buffer, json: string])[] = [
  [`${service}/GetServerInfo`, Buffer.alloc(0), "{}"],
  [`${service}/GetTaskStatus`, encode(GetTaskStatusRequestSchema, endedTask), JSON.stringify(endedTask)],
  [`${service}/ListTasks`, encode(ListTasksRequestSchema, endedTask), '{"controller":"steps","pageSize":1}'],
  [`${service}/LaunchTask`, encode(LaunchTaskRequestSchema, nowhere), JSON.stringify(nowhere)],
  [`${service}/CancelTask`, encode(CancelTaskRequestSchema, nowhere), JSON.stringify(nowhere)],
  [`${service}/DeleteTask`, encode(DeleteTaskRequestSchema, nowhere), JSON.stringify(nowhere)],
  ["/grpc.health.v1.Health/Check", Buffer.alloc(0), "{}"],
];
// A hello without an instance id is refused, and nothing is made for it.
const hello = encode(RunRequestSchema, { message: { case: "hello", value: { controller: "made", capacity: 1 } } });
const streamCalls: typeof unaryCalls = [
  [`${service}/WatchTask`, encode(WatchTaskRequestSchema, endedTask), JSON.stringify(endedTask)],
  ["/stint.v1.TaskRunnerService/Run", hello, '{"hello":{"controller":"made","capacity":1}}'],
  ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Buffer.from("3a0161", "hex"), '{"listServices":"a"}'],
];

/** What is wrong with a request. */
export const wireChanges = [
  ...["none", "authority", "path", "te", "timeout", "content type", "encoding", "pseudo headers", "odd headers"],
  ...["many headers", "large headers", "continuation", "padding", "priority"],
  ...["message bytes", "claims more", "claims less", "flags", "broken gzip", "two messages", "no message"],
  ...["reset before data", "reset after data", "never ended", "pieces", "data behind the end", "trailers", "window"],
] as const;
export type WireChange = (typeof wireChanges)[number];

interface Draft {
  headers: [string, string][];
  body: Buffer;
  isJson: boolean;
}

const jsonTypes = [
  "application/json",
  "application/connect+json",
  "application/grpc-web+json",
  "application/grpc+json",
];
const binaryTypes = ["application/grpc", "application/grpc", "application/grpc-web+proto", "application/proto"];

function draft(random: SeededRandom): Draft {
  const isStream = random.chance(0.3);
  const [path, message, json] = random.pick(isStream ? streamCalls : unaryCalls);
  const isJson = random.chance(0.3);
  let type = random.pick(isJson ? jsonTypes : binaryTypes);
  if (type === "application/json" && isStream) type = "application/connect+json";
  if (type === "application/connect+json" && !isStream) type = "application/json";
  if (type === "application/proto" && isStream) type = "application/connect+proto";
  const own = isJson ? Buffer.from(json) : message;
  const isBare = type === "application/json" || type === "application/proto";
  const headers: [string, string][] = [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "test"],
    ["content-type", type],
    ["te", "trailers"],
  ];
  return { headers, body: isBare ? own : envelope(own), isJson };
}

/** What headers may have that nobody expects. */
export const oddAuthorities = [
  "a:99999",
  "[",
  "%",
  "a b",
  "",
  "a/b",
  "a@b",
  "x".repeat(300),
  "[::1",
  "é",
  "a:",
  "\\",
  "a#",
  "127.0.0.1:0",
];
export const oddPaths = [
  "",
  "*",
  "/",
  "//",
  "/../..",
  `${service}/`,
  `${service}/Nope`,
  "/a\u0000b",
  "/%",
  "http://a/b",
  `/${"x".repeat(5_000)}`,
  "?",
  `${service}/GetServerInfo?a#b`,
  "/__proto__",
  "/\u202e",
];
const oddTimeouts = ["99999999H", "0n", "1n", "", "-1S", "1", "1X", "123456789S", "1 S", "1m,2m", "9".repeat(200)];
export const oddTypes = [
  "",
  "application/grpc+xml",
  "application/grpcx",
  "text/plain",
  "application/grpc; a=b",
  "APPLICATION/GRPC",
  "application/grpc-web-text",
  "application/connect+json",
  "x".repeat(3_000),
  "multipart/form-data",
];
const oddEncodings = ["br", "gzip", "identity", "gzip, gzip", "deflate", "", "x".repeat(200)];
export const oddPairs: readonly (readonly [string, string])[] = [
  ["Upper-Case", "x"],
  ["connection", "close"],
  ["transfer-encoding", "chunked"],
  ["upgrade", "h2c"],
  ["host", "a:99999"],
  ["content-length", "3"],
  ["content-length", "18446744073709551616"],
  ["expect", "100-continue"],
  ["origin", "http://evil.example"],
  ["x-bin", "%%%"],
  ["__proto__", "x"],
  ["constructor", "x"],
  ["", "x"],
  ["a b", "x"],
  ["x", "a\r\nb: c"],
  ["x", "\u0000"],
  ["cookie", "a=b; c=d"],
  ["grpc-status", "0"],
  [":status", "200"],
  [":unknown", "x"],
];

function set(headers: [string, string][], name: string, value: string): void {
  const pair = headers.find(([each]) => each === name);
  if (pair === undefined) headers.push([name, value]);
  else pair[1] = value;
}

/** Does to the headers what `change` is about. */
function changeHeaders(change: WireChange, headers: [string, string][], random: SeededRandom): void {
  if (change === "authority") set(headers, ":authority", random.pick(oddAuthorities));
  else if (change === "path") set(headers, ":path", random.pick(oddPaths));
  else if (change === "te")
    set(headers, "te", random.pick(["gzip", "", "trailers, deflate", "TRAILERS", "x".repeat(99)]));
  else if (change === "timeout")
    set(headers, random.chance(0.8) ? "grpc-timeout" : "connect-timeout-ms", random.pick(oddTimeouts));
  else if (change === "content type") set(headers, "content-type", random.pick(oddTypes));
  else if (change === "encoding")
    set(
      headers,
      random.pick(["grpc-encoding", "content-encoding", "connect-content-encoding"]),
      random.pick(oddEncodings),
    );
  else if (change === "odd headers") headers.push([...random.pick(oddPairs)]);
  else if (change === "many headers") for (let i = random.int(60, 300); i > 0; i -= 1) headers.push([`x-${i}`, "v"]);
  else if (change === "large headers") headers.push(["x-large", "x".repeat(random.pick([8_000, 15_900]))]);
  else if (change === "pseudo headers") {
    const at = random.int(0, 3);
    if (random.chance(0.4)) headers.splice(at, 1);
    else if (random.chance(0.5)) headers.push([...(headers[at] as [string, string])]);
    else set(headers, ":method", random.pick(["GET", "CONNECT", "OPTIONS", "HEAD", "", "P OST", "\u0000"]));
  }
}

function changeBody(change: WireChange, body: Buffer, random: SeededRandom): Buffer {
  const message = body.subarray(Math.min(5, body.length));
  if (change === "message bytes") return envelope(mutateBytes(random.pick(byteMutations), message, body, random));
  if (change === "claims more")
    return envelope(message, {
      claimedBytes: message.length + random.pick([1, 2 ** 20, 2 ** 31, 2 ** 32 - 1 - message.length]),
    });
  if (change === "claims less") return envelope(message, { claimedBytes: random.int(0, message.length) });
  if (change === "flags") return envelope(message, { flags: random.int(0, 255) });
  if (change === "broken gzip")
    return envelope(mutateBytes(random.pick(byteMutations), gzipSync(message), body, random), { flags: 1 });
  if (change === "two messages") return Buffer.concat([body, body]);
  return change === "no message" ? body.subarray(0, random.int(0, Math.min(5, body.length))) : body;
}

/** What is sent of it. */
export interface WireRequest {
  readonly change: WireChange;
  readonly frames: Buffer;
}

/** They may end the connection, and with it the requests beside them. */
const lastChanges = ["data behind the end", "priority"] as const;
const otherChanges = wireChanges.filter((change) => !(lastChanges as readonly string[]).includes(change));

/** A request on the stream, which is the last of its connection, or not. */
export function makeWireRequest(streamId: number, random: SeededRandom, isLast: boolean): WireRequest {
  const change = random.pick<WireChange>(isLast ? lastChanges : otherChanges);
  const { headers, body: sound } = draft(random);
  changeHeaders(change, headers, random);
  if (change === "broken gzip") headers.push(["grpc-encoding", "gzip"]);
  const body = changeBody(change, sound, random);
  return { change, frames: Buffer.concat([...headerFrames(), ...bodyFrames()]) };

  function headerFrames(): Buffer[] {
    const block = headerBlock(headers);
    if (change === "continuation") {
      const cut = random.int(0, block.length);
      const rest = random.chance(0.5) ? [block.subarray(cut)] : [Buffer.alloc(0), block.subarray(cut), Buffer.alloc(0)];
      return [
        frame(frameType.headers, 0, streamId, block.subarray(0, cut)),
        ...rest.map((part, i) => frame(frameType.continuation, i === rest.length - 1 ? endHeaders : 0, streamId, part)),
      ];
    }
    if (change === "padding") {
      const padding = random.int(0, 20);
      return [
        frame(
          frameType.headers,
          endHeaders | 8,
          streamId,
          Buffer.concat([Buffer.of(padding), block, Buffer.alloc(padding)]),
        ),
      ];
    }
    if (change === "priority") {
      const on = random.pick([0, 1, streamId + 2, 2 ** 31 - 1]);
      return [
        frame(frameType.headers, endHeaders | 0x20, streamId, Buffer.concat([uint32(on), Buffer.of(255), block])),
      ];
    }
    return [frame(frameType.headers, endHeaders, streamId, block)];
  }

  function bodyFrames(): Buffer[] {
    const data = (bytes: Buffer, flags = 0): Buffer => frame(frameType.data, flags, streamId, bytes);
    const reset = frame(frameType.rstStream, 0, streamId, uint32(random.int(0, 14)));
    switch (change) {
      case "reset before data":
        return [reset];
      case "reset after data":
        return [data(body, random.chance(0.5) ? endStream : 0), reset];
      case "never ended":
        return [data(body)];
      case "pieces":
        return [...Array.from(body, (byte) => data(Buffer.of(byte))), data(Buffer.alloc(0), endStream)];
      case "trailers":
        return [
          data(body),
          frame(frameType.headers, endHeaders | endStream, streamId, headerBlock([random.pick(oddPairs)])),
        ];
      case "window":
        return [frame(frameType.windowUpdate, 0, streamId, uint32(random.pick([1, 2 ** 16]))), data(body, endStream)];
      case "data behind the end":
        return [data(body, endStream), ...(random.chance(0.5) ? [data(body)] : [])];
      default:
        return [data(body, endStream)];
    }
  }
}
