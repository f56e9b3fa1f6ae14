/** Each limit of what a request may have: one less, as much, one more, and ten times as much. */
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { LaunchTaskRequestSchema, WatchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { StateRunning } from "../../src/task/state.ts";
import { answerError } from "../support/answer-error.ts";
import { type CallError, callError } from "../support/call-error.ts";
import { envelope, grpcHeaders, http2Request } from "../support/raw-http.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";

const task = { controller: "countdown", taskId: "a" };
const path = (method: string) => `/stint.v1.TaskControllerService/${method}`;

/** How a call ends: "OK", or its code with the first bad field or the limit it names. */
async function outcome(call: Promise<unknown>): Promise<string> {
  let error: CallError;
  try {
    await call;
    return "OK";
  } catch (thrown) {
    error = await callError(Promise.reject(thrown));
  }
  return [error.code, error.fields[0] ?? error.metadata?.["limit"]].filter(Boolean).join(" ");
}

/** JSON of an object of exactly so many bytes. */
const jsonOf = (bytes: number) => `{"a":"${"x".repeat(bytes - 8)}"}`;
/** JSON nested so deep. */
const nested = (depth: number) => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
const labelsOf = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, ""]));

type Client = ReturnType<ServedFake["client"]>;
type Call = (client: Client, size: number) => Promise<unknown>;

const launch = (client: Client, request: object): Promise<unknown> => client.launchTask({ ...task, ...request });
const json = (value: string) => ({ payload: { case: "jsonMetadata" as const, value } });
const struct = (value: string) => ({ payload: { case: "metadata" as const, value: JSON.parse(value) as never } });

const fields: [string, number, string, Call][] = [
  ["json_metadata", 256 * 1024, "json_metadata", (client, size) => launch(client, json(jsonOf(size)))],
  ["metadata", 256 * 1024, "metadata", (client, size) => launch(client, struct(jsonOf(size)))],
  ["the depth of json_metadata", 32, "json_metadata", (client, size) => launch(client, json(nested(size)))],
  ["the depth of metadata", 32, "metadata", (client, size) => launch(client, struct(nested(size)))],
  ["labels", 64, "labels", (client, size) => launch(client, { labels: labelsOf(size) })],
  ["a label's key", 63, "labels", (client, size) => launch(client, { labels: { ["k".repeat(size)]: "" } })],
  ["a label's value", 256, "labels[k]", (client, size) => launch(client, { labels: { k: "v".repeat(size) } })],
  ["task_id", 128, "task_id", (client, size) => launch(client, { taskId: "i".repeat(size) })],
  ["controller", 63, "controller", (client, size) => launch(client, { controller: "c".repeat(size) })],
  ["request_id", 128, "request_id", (client, size) => launch(client, { requestId: "r".repeat(size) })],
  ["a cancel's reason", 4_096, "reason", (client, size) => client.cancelTask({ ...task, reason: "r".repeat(size) })],
  ["run_id", 128, "run_id", (client, size) => client.cancelTask({ ...task, runId: "r".repeat(size) })],
  ["log_limit", 1_000, "log_limit", (client, size) => client.getTaskStatus({ ...task, logLimit: size })],
];

describe("a field of a request", () => {
  test.each(fields)("%s may be %d, and not one more", async (_, limit, field, call) => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const client = served.client();
    // There is but one controller: another name that is allowed is not found.
    const taken = field === "controller" ? "NotFound" : "OK";
    expect(await outcome(call(client, limit - 1))).toBe(taken);
    expect(await outcome(call(client, limit))).toBe(taken);
    const refused = [await outcome(call(client, limit + 1)), await outcome(call(client, limit * 10))];
    for (const each of refused) {
      if (each !== "ResourceExhausted request_max_bytes") expect(each).toContain(`InvalidArgument ${field}`);
    }
    expect(refused[0]).toContain("InvalidArgument");
  });
});

describe("a message of a request", () => {
  const limit = 1024 * 1024;

  /** A launch of exactly so many bytes, which is refused for its reason and not for its size: field 15 is not known. */
  function launchOf(bytes: number): Uint8Array {
    const known = toBinary(LaunchTaskRequestSchema, create(LaunchTaskRequestSchema, { controller: "nowhere" }));
    const padding = Buffer.alloc(bytes - known.byteLength);
    // Tag, and a length in four bytes, padded as varints may be.
    padding.writeUInt8((15 << 3) | 2, 0);
    let left = padding.byteLength - 5;
    for (let at = 1; at < 5; at += 1, left >>= 7) padding.writeUInt8((left & 0x7f) | (at < 4 ? 0x80 : 0), at);
    return Buffer.concat([known, padding]);
  }

  const sizes: [number, number, number][] = [
    [limit - 1, 5, 404],
    [limit, 5, 404],
    [limit + 1, 8, 429],
    [limit * 10, 8, 429],
  ];

  test.each(sizes)("of %d bytes is answered with the status %d, or %d of HTTP", async (bytes, grpcStatus, status) => {
    await using served = await serveFake();
    const message = launchOf(bytes);
    const grpc = { ...grpcHeaders, ":path": path("LaunchTask") };
    expect(await http2Request(served.port, grpc, envelope(message))).toMatchObject({ grpcStatus });
    const zipped = await http2Request(
      served.port,
      { ...grpc, "grpc-encoding": "gzip" },
      envelope(gzipSync(message), { flags: 1 }),
    );
    expect(zipped).toMatchObject({ grpcStatus });
    const post = await fetch(served.baseUrl + path("LaunchTask"), {
      method: "POST",
      headers: { "content-type": "application/proto" },
      body: new Uint8Array(message),
    }).catch((error: unknown) => error);
    // What is far too much is not read to its end: the answer may be lost with the connection.
    if (post instanceof Response) expect(post.status).toBe(status);
    else expect(bytes).toBe(limit * 10);
  });

  const contentTypes = ["grpc", "grpc-web", "json", "proto", "connect+json", "connect+proto"];
  const forms = contentTypes.flatMap((type) => [
    { type, sized: false, zipped: false },
    { type, sized: true, zipped: false },
    { type, sized: false, zipped: true },
    { type, sized: true, zipped: true },
  ]);

  test.each(forms)("that is too large is refused with the limit: $type, sized $sized, gzip $zipped", async (form) => {
    await using served = await serveFake();
    const { type, sized, zipped } = form;
    const isUnary = ["json", "proto"].includes(type);
    // A batch has a limit of its own.
    const methods = type.startsWith("connect") ? ["WatchTask"] : ["LaunchTask", "BatchLaunchTasks"];
    const refusals = methods.map(async (method) => {
      const name = method === "BatchLaunchTasks" ? "batch_request_max_bytes" : "request_max_bytes";
      const value = method === "BatchLaunchTasks" ? 4 * limit : limit;
      const message = zipped ? gzipSync(Buffer.alloc(value + 1)) : Buffer.alloc(value + 1);
      const body = isUnary ? message : envelope(message, { flags: zipped ? 1 : 0 });
      const encoding = { grpc: "grpc-encoding", conn: "connect-content-encoding" }[type.slice(0, 4)];
      const answer = await http2Request(
        served.port,
        {
          ":method": "POST",
          ":path": path(method),
          "content-type": `application/${type}`,
          ...(sized ? { "content-length": body.byteLength } : {}),
          ...(zipped ? { [encoding ?? "content-encoding"]: "gzip" } : {}),
        },
        body,
      );
      expect(answerError(answer)).toMatchObject({
        code: "ResourceExhausted",
        message: expect.stringContaining(`at most ${value} bytes (${name}), and has`) as unknown,
        reason: "LIMIT",
        domain: "stint.v1",
        metadata: { limit: name, value: String(value) },
      });
    });
    await Promise.all(refusals);
  });

  test("of a stream has the same limit", async () => {
    await using served = await serveFake();
    const known = toBinary(
      WatchTaskRequestSchema,
      create(WatchTaskRequestSchema, { controller: "nowhere", taskId: "a" }),
    );
    const headers = { ...grpcHeaders, ":path": path("WatchTask") };
    expect((await http2Request(served.port, headers, envelope(known))).grpcStatus).toBe(5);
    expect((await http2Request(served.port, headers, envelope(new Uint8Array(limit + 1)))).grpcStatus).toBe(8);
  });
});
