import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { answerError } from "../support/answer-error.ts";
import { readError } from "../support/call-error.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";
import { envelope, grpcHeaders, http2Request, openHttp2, requestOn, sendBytes } from "../support/raw-http.ts";

const launchPath = "/stint.v1.TaskControllerService/LaunchTask";
const launchHeaders = { ...grpcHeaders, ":path": launchPath };
const invalidArgument = 3;
const resourceExhausted = 8;
const unimplemented = 12;

/** The same process goes on to answer, and nothing was its fault. */
async function stillServes(served: ServedFake): Promise<void> {
  for (const protocol of ["grpc", "connect-h1"] as const) {
    expect((await served.client(protocol).getServerInfo({})).version).toBe("0.0.0-test");
  }
  expect(served.logged.filter(({ level }) => level === "error")).toEqual([]);
}

const launch = toBinary(LaunchTaskRequestSchema, create(LaunchTaskRequestSchema, { controller: "countdown" }));

describe("an authority that no URL can have", () => {
  test.each(["a:99999", "a:b", "[::1", "user@host", "a/b", "a b", "%", "a".repeat(300)])(
    "%j is refused",
    async (authority) => {
      await using served = await serveFake();
      const answer = await http2Request(served.port, { ...grpcHeaders, ":authority": authority });
      // What is no authority by HTTP/2's own rules is reset before it is a request.
      if (answer.resetCode === undefined) expect(answer.grpcStatus).toBe(invalidArgument);
      const json = await http2Request(served.port, {
        ...grpcHeaders,
        ":authority": authority,
        "content-type": "application/json",
      });
      if (json.resetCode === undefined) expect(json.status).toBe(400);
      const http1 = await sendBytes(
        served.port,
        Buffer.from(
          `POST ${launchPath} HTTP/1.1\r\nHost: ${authority}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
        ),
      );
      expect(http1).toMatch(/^HTTP\/1\.1 400 /);
      await stillServes(served);
    },
  );

  test("a second Host is refused, also where it is the same", async () => {
    await using served = await serveFake();
    const rest = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    const info = "POST /stint.v1.TaskControllerService/GetServerInfo HTTP/1.1\r\n";
    const answerTo = (hosts: string) => sendBytes(served.port, Buffer.from(`${info}${hosts}${rest}`));
    expect(await answerTo("Host: a\r\n")).toMatch(/^HTTP\/1\.1 200 /);
    expect(await answerTo("Host: a\r\nHost: b\r\n")).toMatch(/^HTTP\/1\.1 400 /);
    expect(await answerTo("Host: a\r\nhost: a\r\n")).toMatch(/^HTTP\/1\.1 400 /);
    await stillServes(served);
  });

  test("none at all is refused", async () => {
    await using served = await serveFake();
    expect(await sendBytes(served.port, Buffer.from("GET / HTTP/1.1\r\n\r\n"))).toMatch(/^HTTP\/1\.1 400 /);
    expect(await sendBytes(served.port, Buffer.from("GET / HTTP/1.0\r\n\r\n"))).toMatch(/^HTTP\/1\.1 400 /);
    await stillServes(served);
  });
});

describe("a message", () => {
  test.each(["application/grpc", "application/grpc-web+proto"])(
    "that cannot be decoded is INVALID_ARGUMENT, as %s",
    async (contentType) => {
      await using served = await serveFake();
      const headers = { ...launchHeaders, "content-type": contentType };
      for (const bytes of [[0xff], [0x0a, 0x05, 0x61], [0x0a, 0x01, 0xff], Array(400).fill(0x22)]) {
        const answer = await http2Request(served.port, headers, envelope(Uint8Array.from(bytes)));
        expect(answer.grpcStatus ?? Number(/grpc-status: ?(\d+)/.exec(answer.body.toString())?.[1])).toBe(
          invalidArgument,
        );
      }
      await stillServes(served);
    },
  );

  test.each([
    ["application/proto", Buffer.from([0xff])],
    ["application/json", Buffer.from("{")],
    ["application/json", Buffer.from('{"controller": 1}')],
    ["application/json", Buffer.from(`{"controller": ["${"x".repeat(100_000)}"]}`)],
    ["application/json", Buffer.from(`{"metadata": ${"[".repeat(50_000)}`)],
    ["application/json", Buffer.from(`{"metadata": {"a": ${"[".repeat(50_000)}${"]".repeat(50_000)}}}`)],
  ])("that cannot be decoded is invalid_argument, as %s", async (contentType, body) => {
    await using served = await serveFake();
    const answer = await http2Request(served.port, { ...launchHeaders, "content-type": contentType }, body);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ code: "invalid_argument" });
    expect(answer.body.byteLength).toBeLessThan(2_000);
    await stillServes(served);
  });

  test.each([
    ['{"ifActive": "FAIL"}', "if_active"],
    ['{"taskIdd": "a"}', "taskIdd"],
    ['{"ifRevision": -1}', "if_revision"],
    ['{"labels": {"a": 1}}', "labels"],
    ['{"jsonMetadata": "{}", "metadata": {}}', "payload"],
  ])("of JSON such as %s has its bad field named", async (text, field) => {
    await using served = await serveFake();
    const json = { ...launchHeaders, "content-type": "application/json" };
    const connect = await http2Request(served.port, json, Buffer.from(text));
    const overConnect = errorFromJsonBytes(connect.body, undefined, new ConnectError("no error"));
    expect(readError(overConnect)).toMatchObject({ code: "InvalidArgument", fields: [field] });
    const headers = { ...launchHeaders, "content-type": "application/grpc+json" };
    const grpc = await http2Request(served.port, headers, envelope(Buffer.from(text)));
    const overGrpc = findTrailerError(new Headers(grpc.trailers as Record<string, string>));
    expect(readError(overGrpc as ConnectError)).toMatchObject({ code: "InvalidArgument", fields: [field] });
    expect(served.controller.launches).toEqual([]);
  });

  test("with NaN in a Struct is INVALID_ARGUMENT", async () => {
    await using served = await serveFake();
    // metadata {fields: {key: "a" value: {number_value: NaN}}}, which no library here would encode.
    const nan = [0x22, 0x10, 0x0a, 0x0e, 0x0a, 0x01, 0x61, 0x12, 0x09, 0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f];
    const answer = await http2Request(
      served.port,
      launchHeaders,
      envelope(Buffer.concat([launch, Uint8Array.from(nan)])),
    );
    expect(answer.grpcStatus).toBe(invalidArgument);
    expect(answerError(answer).message).toContain("metadata.a: must be a number");
  });
});

describe("the size of a message", () => {
  test("of 4 GiB by its prefix is refused when its prefix is there", async () => {
    await using served = await serveFake();
    const before = process.memoryUsage().rss;
    const session = openHttp2(served.port);
    const bomb = envelope(new Uint8Array(), { claimedBytes: 0xffff_ffff });
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, () => requestOn(session, launchHeaders, bomb, { end: false })),
    );
    expect(new Set(answers.map((answer) => answer.grpcStatus))).toEqual(new Set([resourceExhausted]));
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
    session.destroy();
    await stillServes(served);
  });

  test("of one byte more than 1 MiB is refused, over HTTP/1.1 too", async () => {
    await using served = await serveFake();
    const tooLarge = new Uint8Array(1024 * 1024 + 1);
    expect((await http2Request(served.port, launchHeaders, envelope(tooLarge))).grpcStatus).toBe(resourceExhausted);
    const post = await fetch(`${served.baseUrl}${launchPath}`, {
      method: "POST",
      headers: { "content-type": "application/proto" },
      body: tooLarge,
    });
    expect(await post.json()).toMatchObject({ code: "resource_exhausted" });
    await stillServes(served);
  });

  test("that is much larger decompressed is refused, and no more of it is held than the limit", async () => {
    await using served = await serveFake();
    // gzip may go on with another part: 900 MiB in less than one.
    const bomb = Buffer.concat(Array(900).fill(gzipSync(Buffer.alloc(1024 * 1024))));
    expect(bomb.byteLength).toBeLessThan(1024 * 1024);
    const before = process.memoryUsage().rss;
    const compressed = await http2Request(
      served.port,
      { ...launchHeaders, "grpc-encoding": "gzip" },
      envelope(bomb, { flags: 1 }),
    );
    expect(compressed.grpcStatus).toBe(resourceExhausted);
    const connect = await http2Request(
      served.port,
      { ...launchHeaders, "content-type": "application/proto", "content-encoding": "gzip" },
      bomb,
    );
    expect(JSON.parse(connect.body.toString())).toMatchObject({ code: "resource_exhausted" });
    expect(process.memoryUsage().rss - before).toBeLessThan(50 * 1024 * 1024);
    await stillServes(served);
  });
});

describe("the form of a message", () => {
  test("that is compressed is taken, and one that is not what it says is refused", async () => {
    await using served = await serveFake();
    const headers = { ...launchHeaders, "grpc-encoding": "gzip", "grpc-accept-encoding": "gzip" };
    const answer = await http2Request(served.port, headers, envelope(gzipSync(launch), { flags: 1 }));
    expect(answer.grpcStatus).toBe(0);
    const broken = [envelope(gzipSync(launch).subarray(0, 12), { flags: 1 }), envelope(launch, { flags: 1 })];
    for (const body of broken)
      expect((await http2Request(served.port, headers, body)).grpcStatus).toBe(invalidArgument);
    const unnamed = await http2Request(served.port, launchHeaders, envelope(gzipSync(launch), { flags: 1 }));
    expect(unnamed.grpcStatus).toBe(invalidArgument);
    const unknown = await http2Request(
      served.port,
      { ...headers, "grpc-encoding": "br" },
      envelope(launch, { flags: 1 }),
    );
    expect(unknown.grpcStatus).toBe(unimplemented);
    await stillServes(served);
  });

  test("in a thousand pieces is put together", async () => {
    await using served = await serveFake();
    const session = openHttp2(served.port);
    const stream = session.request(launchHeaders);
    const trailers = new Promise<Record<string, unknown>>((resolve) => stream.on("trailers", resolve));
    stream.resume();
    const padded = Buffer.concat([launch, Uint8Array.from([0x7a, 0xd0, 0x07]), Buffer.alloc(976)]);
    for (const byte of envelope(padded)) stream.write(Buffer.from([byte]));
    stream.end();
    expect((await trailers)["grpc-status"]).toBe("0");
    session.destroy();
  });

  test("that is not finished, or not the only one, is refused", async () => {
    await using served = await serveFake();
    const half = await http2Request(served.port, launchHeaders, envelope(launch).subarray(0, 8));
    expect(half.grpcStatus).toBe(invalidArgument);
    const two = await http2Request(served.port, launchHeaders, Buffer.concat([envelope(launch), envelope(launch)]));
    expect(two.grpcStatus).toBe(unimplemented);
    const none = await http2Request(served.port, launchHeaders, new Uint8Array());
    expect(none.grpcStatus).toBe(unimplemented);
    expect(served.controller.launches).toEqual([]);
  });

  test("that does not come is not waited for", async () => {
    await using served = await serveFake({ limits: { receiveMaxMs: 100 } });
    const answer = await http2Request(served.port, launchHeaders, envelope(launch).subarray(0, 8), { end: false });
    expect(answer.grpcStatus).toBe(4);
  });
});

describe("headers", () => {
  test("of 64 pairs are taken, more are refused", async () => {
    await using served = await serveFake();
    const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, "v"]));
    expect((await http2Request(served.port, { ...grpcHeaders, ...many(50) })).grpcStatus).toBe(0);
    expect((await http2Request(served.port, { ...grpcHeaders, ...many(100) })).grpcStatus).not.toBe(0);
    const http1 = (count: number) =>
      sendBytes(
        served.port,
        Buffer.from(
          `GET / HTTP/1.1\r\nHost: a\r\n${Object.keys(many(count))
            .map((name) => `${name}: v\r\n`)
            .join("")}\r\n`,
        ),
      );
    expect(await http1(63)).toMatch(/^HTTP\/1\.1 404 /);
    expect(await http1(64)).toMatch(/^HTTP\/1\.1 431 /);
    expect(await http1(5_000)).toMatch(/^HTTP\/1\.1 4\d\d /);
    await stillServes(served);
  });

  test("of more than 16 KiB are refused", async () => {
    await using served = await serveFake();
    const large = await http2Request(served.port, { ...grpcHeaders, "x-large": "x".repeat(20_000) });
    expect(large.grpcStatus).toBe(resourceExhausted);
    expect((await http2Request(served.port, { ...grpcHeaders, "x-large": "x".repeat(15_000) })).grpcStatus).toBe(0);
    const http1 = `GET / HTTP/1.1\r\nHost: a\r\nX-Large: ${"x".repeat(20_000)}\r\n\r\n`;
    expect(await sendBytes(served.port, Buffer.from(http1))).toMatch(/^HTTP\/1\.1 431 /);
    await stillServes(served);
  });

  test("that mean something to JavaScript mean nothing", async () => {
    await using served = await serveFake();
    const headers = { ...grpcHeaders, constructor: "x", "to-string": "x", "x-bin": "%%%not base64" };
    expect((await http2Request(served.port, headers)).grpcStatus).toBe(0);
    const http1 = `GET / HTTP/1.1\r\nHost: a\r\n__proto__: x\r\n__proto__: y\r\n\r\n`;
    expect(await sendBytes(served.port, Buffer.from(http1))).toMatch(/^HTTP\/1\.1 404 /);
    await stillServes(served);
  });
});

describe("bytes that are no request", () => {
  test.each([
    ["zeros", Buffer.alloc(1_000)],
    ["a line without an end", Buffer.from("P".repeat(100_000))],
    ["a record of TLS", Buffer.from("16030100f0010000ec0303", "hex")],
    ["the preface of HTTP/2 and no frames", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
    ["half of the preface", Buffer.from("PRI * HT")],
    ["a wrong preface", Buffer.from("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")],
    ["a frame of 16 MiB", Buffer.from("505249202a20485454502f322e300d0a0d0a534d0d0a0d0affffff040000000000", "hex")],
    ["CONNECT", Buffer.from("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")],
    ["an upgrade", Buffer.from("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")],
    ["two lengths", Buffer.from("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")],
  ])("%s: the server goes on", async (_, bytes) => {
    await using served = await serveFake();
    await sendBytes(served.port, bytes, { quietMs: 50 });
    await stillServes(served);
  });

  test("of any kind: the server goes on", { timeout: 60_000 }, async () => {
    // A connection that broke the rules is let go of after a while only.
    await using served = await serveFake({ limits: { sessionsPerIpMax: 1_000 } });
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
    const frame = fc
      .record({
        type: fc.integer({ min: 0, max: 12 }),
        flags: fc.integer({ min: 0, max: 255 }),
        stream: fc.integer({ min: 0, max: 9 }),
        payload: fc.uint8Array({ maxLength: 64 }),
      })
      .map(({ type, flags, stream, payload }) => {
        const head = Buffer.from([0, 0, payload.byteLength, type, flags, 0, 0, 0, stream]);
        return Buffer.concat([head, payload]);
      });
    const frames = fc.array(frame, { minLength: 1, maxLength: 8 }).map((each) => Buffer.concat([preface, ...each]));
    await fc.assert(
      fc.asyncProperty(fc.oneof(frames, fc.uint8Array({ minLength: 1, maxLength: 200 })), async (bytes) => {
        await sendBytes(served.port, bytes, { quietMs: 5 });
      }),
      { numRuns: 200 },
    );
    await stillServes(served);
  });

  test("in messages: an answer that is the client's fault, or none", { timeout: 60_000 }, async () => {
    await using served = await serveFake();
    const session = openHttp2(served.port);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (bytes, prefixed) => {
        const { grpcStatus } = await requestOn(session, launchHeaders, prefixed ? envelope(bytes) : bytes);
        // Nothing is UNKNOWN (2) or INTERNAL (13).
        expect([0, 1, 3, 4, 5, 8, 12]).toContain(grpcStatus);
      }),
      { numRuns: 300 },
    );
    session.destroy();
    await stillServes(served);
  });
});
