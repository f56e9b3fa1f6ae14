/** Peers that take their time, or all of it: each is gone in the end, and nobody waits for it. */
import { type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { connect as connectSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { RunRequestSchema } from "#gen/stint/v1/runner_pb.js";
import { callHeaders, endHeaders, endStream, frame, frameType, headerBlock, preface } from "../support/raw-frames.ts";
import { envelope, grpcHeaders, requestOn } from "../support/raw-http.ts";
import { serveFake } from "../support/served-fake.ts";

describe("a peer that does not read", () => {
  test.each([
    ["an answer", grpcHeaders, 1],
    // Its request is not read to its end, so that it is given a moment only, and no time to read.
    ["a refusal", { ...grpcHeaders, ":path": "/nowhere", "content-type": "application/json" }, 0],
  ])("does not keep its stream open for the end of %s", async (_, headers, dropped) => {
    await using served = await serveFake({ limits: { writeStallMaxMs: 50 } });
    // Without a window nothing but headers can be sent on the stream.
    const session = connectHttp2(served.baseUrl, { settings: { initialWindowSize: 0 } });
    session.on("error", () => {});
    const { resetCode, body } = await requestOn(session, headers);
    expect({ resetCode, bytes: body.byteLength }).toEqual({ resetCode: 8, bytes: 0 });
    session.destroy();
    expect(served.faults.counts().watchers_dropped).toBe(dropped);
  });
});

describe("a runner that says all the time that it is alive", () => {
  const stallMs = 500;

  function say(stream: ClientHttp2Stream, message: MessageInitShape<typeof RunRequestSchema>["message"]): void {
    if (!stream.destroyed) stream.write(envelope(toBinary(RunRequestSchema, create(RunRequestSchema, { message }))));
  }

  /** Says hello, and so often that it is alive; resolves to how its stream was reset, or when that was open for long enough. */
  async function live(baseUrl: string, initialWindowSize: number): Promise<number | "open"> {
    const session = connectHttp2(baseUrl, { settings: { initialWindowSize } });
    session.on("error", () => {});
    const stream = session.request({ ...grpcHeaders, ":path": "/stint.v1.TaskRunnerService/Run" });
    stream.on("error", () => {}).resume();
    const closed = new Promise<number>((resolve) => stream.once("close", () => resolve(stream.rstCode)));
    const instanceId = "0123456789abcdef";
    const hello = { controller: "remote", runner: "deaf", instanceId, capacity: 1, protocolVersion: 1 };
    say(stream, { case: "hello", value: hello });
    const living = setInterval(() => say(stream, { case: "keepalive", value: { number: 1n } }), stallMs / 10);
    const outcome = await Promise.race([
      closed,
      sleep(initialWindowSize === 0 ? 20_000 : 3 * stallMs, "open" as const),
    ]);
    clearInterval(living);
    session.destroy();
    return outcome;
  }

  test("and reads nothing, not even its welcome, loses its stream long before there is no room for what it is told", async () => {
    await using served = await serveFake({ limits: { writeStallMaxMs: stallMs } });
    expect(await live(served.baseUrl, 0)).toBe(8);
    expect(served.faults.counts().watchers_dropped).toBe(1);
  });

  test("and reads what it is told keeps its stream", async () => {
    await using served = await serveFake({ limits: { writeStallMaxMs: stallMs } });
    expect(await live(served.baseUrl, 65_535)).toBe("open");
  });
});

describe("a peer that breaks the rules of HTTP/2, and stays", () => {
  // DATA on a stream that was never opened: the library says GOAWAY, reads no more and tells nobody.
  const forbidden = frame(frameType.data, endStream, 1, Buffer.alloc(1));

  test.each([
    ["in its first frames", { firstRequestMaxMs: 100 }],
    ["at any time", { pingIntervalMs: 100, pingTimeoutMs: 100 }],
  ])("%s, loses its connection", async (_, limits) => {
    await using served = await serveFake({ limits: { firstRequestMaxMs: 60_000, ...limits } });
    const socket = connectSocket({ port: served.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => {}).resume();
    socket.write(Buffer.concat([preface, forbidden]));
    // Only a socket that is closed for good refuses what is written to it.
    const writing = setInterval(() => socket.write("x"), 50);
    await new Promise((resolve) => socket.once("close", resolve));
    clearInterval(writing);
  });
});

describe("a peer that drips", () => {
  const path = "/stint.v1.TaskControllerService/GetServerInfo";
  const post = `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
  const headersWithoutEnd = Buffer.concat([preface, frame(frameType.headers, 0, 1, callHeaders(path))]);
  const openCall = Buffer.concat([preface, frame(frameType.headers, endHeaders, 1, callHeaders(path))]);

  test.each<[string, Uint8Array, Uint8Array]>([
    ["the beginning of HTTP/2", Buffer.from("PRI"), Buffer.alloc(0)],
    ["the headers of HTTP/1.1", Buffer.from(post), Buffer.from("x")],
    ["a body of HTTP/1.1", Buffer.from(`${post}Content-Length: 100000\r\n\r\n`), Buffer.from(" ")],
    ["headers of HTTP/2", headersWithoutEnd, frame(frameType.continuation, 0, 1, headerBlock({ a: "b" }))],
    ["a message of HTTP/2", openCall, frame(frameType.data, 0, 1, Buffer.alloc(1))],
  ])("%s is cut off, and others are served meanwhile", async (_, begin, drop) => {
    await using served = await serveFake({ limits: { receiveMaxMs: 300, firstRequestMaxMs: 300, idleMaxMs: 300 } });
    const socket = connectSocket(served.port, "127.0.0.1");
    socket.on("error", () => {}).resume();
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(begin);
    const dripping = setInterval(() => socket.write(drop), 30);
    expect((await served.client().getServerInfo({})).version).toBe("0.0.0-test");
    await closed;
    clearInterval(dripping);
    expect((await served.client().getServerInfo({})).version).toBe("0.0.0-test");
  });
});
