/** Peers that take their time, or all of it: each is gone in the end, and nobody waits for it. */
import { connect as connectHttp2 } from "node:http2";
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
