/** Peers that take their time, or all of it: each is gone in the end, and nobody waits for it. */
import { connect as connectHttp2 } from "node:http2";
import { connect as connectSocket } from "node:net";
import { describe, expect, test } from "vitest";
import { grpcHeaders, requestOn } from "../support/raw-http.ts";
import { serveFake } from "../support/served-fake.ts";

describe("a peer that does not read", () => {
  test.each([
    ["an answer", grpcHeaders],
    ["a refusal", { ...grpcHeaders, ":path": "/nowhere", "content-type": "application/json" }],
  ])("does not keep its stream open for the end of %s", async (_, headers) => {
    await using served = await serveFake({ limits: { writeStallMaxMs: 50 } });
    // Without a window nothing but headers can be sent on the stream.
    const session = connectHttp2(served.baseUrl, { settings: { initialWindowSize: 0 } });
    session.on("error", () => {});
    const { resetCode, body } = await requestOn(session, headers);
    expect({ resetCode, bytes: body.byteLength }).toEqual({ resetCode: 8, bytes: 0 });
    session.destroy();
  });
});

describe("a peer that breaks the rules of HTTP/2, and stays", () => {
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
  // DATA on stream 1, which was never opened: the library says GOAWAY, reads no more and tells nobody.
  const forbidden = Buffer.from([0, 0, 1, 0, 1, 0, 0, 0, 1, 0]);

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
