/** The keepalives of a session, with a clock that stands still. */
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { startSession } from "./support/session-harness.ts";

describe("keepalives", () => {
  test("go out at once and then every third of the lease", async () => {
    const s = startSession();
    s.stream().welcome();
    for (let count = 0; count < 5; count += 1) {
      s.stream().answerKeepalives();
      await s.clock.advance(5_000);
    }
    const numbers = s.stream().saidOf("keepalive");
    expect(numbers.slice(0, 3)).toEqual([1n, 2n, 3n].map((number) => ({ keepalive: { number } })));
    expect([numbers.length, s.streams.length]).toEqual([6, 1]);
  });

  test("without an answer for two of them lead to a new stream, whatever else comes", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().answerKeepalives();
    await s.clock.advance(9_000);
    s.stream().offer(5n);
    expect(s.streams).toHaveLength(1);
    await s.clock.advance(1_300);
    expect([s.streams.length, s.streams[0]?.isClosed]).toEqual([2, true]);
    expect(s.stream().saidOf("hello")).toHaveLength(1);
  });

  test.each([
    ["none", {}, 5_000],
    ["0 s", { lease: durationFromMs(0), keepalive: durationFromMs(0) }, 5_000],
    ["less than nothing", { lease: durationFromMs(-15_000), keepalive: durationFromMs(-5_000) }, 5_000],
    ["too few for the lease", { lease: durationFromMs(6_000), keepalive: durationFromMs(60_000) }, 2_000],
  ])("keep the lease where the server tells %s", async (_what, times, everyMs) => {
    const s = startSession();
    s.stream().welcome({ lease: undefined, keepalive: undefined, ...times });
    for (let count = 0; count < 3; count += 1) {
      s.stream().answerKeepalives();
      await s.clock.advance(everyMs);
    }
    expect([s.stream().saidOf("keepalive").length, s.streams.length]).toEqual([4, 1]);
  });

  test("that are rare, by a long lease, do not make the next try to connect long", async () => {
    const s = startSession();
    s.stream().welcome({ lease: durationFromMs(3_600_000), keepalive: durationFromMs(1_200_000) });
    await s.reconnect();
    await s.clock.advance(10_300);
    expect(s.streams).toHaveLength(3);
  });

  test("are not missed by a process that was paused: it reads first what has come", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().answerKeepalives();
    // The pause: time passes, and one timer fires late.
    s.pause(60_000);
    await s.clock.advance(1);
    s.stream().answerKeepalives();
    await s.clock.advance(3_000);
    expect(s.streams).toHaveLength(1);
  });
});
