/** The session against a server that is the test, with a clock that stands still. */
import { describe, expect, test } from "vitest";
import { AbortReason, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { startSession } from "./support/session-harness.ts";

const { PENDING, RUNNING, COMPLETED } = RunPhase;
const code = { invalidArgument: 3, permissionDenied: 7, failedPrecondition: 9, unimplemented: 12, unavailable: 14 };

describe("connecting", () => {
  test("says who it is, and is told nothing before the welcome", () => {
    const s = startSession({ wantsCompleted: true });
    expect(s.stream().saidOf()).toEqual([
      {
        hello: {
          controller: "steps",
          runner: "me",
          instanceId: "an-instance-0123456789",
          capacity: 4,
          protocolVersion: 1,
          wantsCompleted: true,
          held: [],
        },
      },
    ]);
    s.stream().offer(5n);
    expect(s.told()).toEqual([]);
  });

  test.each([
    [0, [100, 200, 400, 800, 1_000]],
    [0.5, [200, 400, 800, 1_600, 2_000]],
    [0.999, [300, 600, 1_199, 2_398, 2_998]],
  ])(
    "tries again after 200 ms, doubled up to 2 s, and with the chance of %d after %j ms",
    async (fraction, expected) => {
      const s = startSession({ fraction: () => fraction });
      for (const delayMs of expected) {
        const count = s.streams.length;
        s.stream().end(code.unavailable, "nobody there");
        await s.clock.advance(delayMs - 1);
        expect(s.streams).toHaveLength(count);
        await s.clock.advance(2);
        expect(s.streams).toHaveLength(count + 1);
      }
    },
  );

  test("begins the waits anew after a connection that was a good one, and not after one that broke at once", async () => {
    const s = startSession();
    const breakAfter = async (ms: number): Promise<number> => {
      s.stream().welcome();
      await s.clock.advance(ms);
      const brokeAtMs = s.clock.mono();
      s.stream().end(code.unavailable, "gone");
      await s.clock.advance(3_000);
      return (s.openedAtMs.at(-1) ?? 0) - brokeAtMs;
    };
    expect([await breakAfter(0), await breakAfter(0), await breakAfter(0)]).toEqual([200, 400, 800]);
    expect([await breakAfter(2_000), await breakAfter(0)]).toEqual([200, 400]);
  });

  test.each([code.invalidArgument, code.failedPrecondition, code.permissionDenied, code.unimplemented])(
    "gives up when the first hello is refused with %d",
    (refused) => {
      const s = startSession();
      s.stream().end(refused, "not you");
      expect(s.told()).toEqual([{ type: "closed", error: { code: refused, message: "not you" } }]);
      expect(s.clock.pending()).toBe(0);
    },
  );

  test("gives up later only when the server itself says that it does not want it", async () => {
    const s = startSession();
    s.stream().welcome();
    (await s.reconnect()).end(code.unimplemented, "a proxy");
    await s.clock.advance(3_000);
    expect(s.told()).toEqual([]);
    s.stream().end(code.failedPrecondition, "retired");
    expect(s.told()).toMatchObject([{ type: "closed", error: { code: code.failedPrecondition } }]);
  });

  test("tries anew when no welcome comes", async () => {
    const s = startSession();
    await s.clock.advance(10_200);
    expect([s.streams.length, s.streams[0]?.isClosed]).toEqual([2, true]);
    // What the one that was given up still says is not heard.
    s.streams[0]?.welcome();
    s.streams[0]?.end(code.failedPrecondition, "late");
    expect([s.told(), s.log()]).toEqual([[], ["warn: not connected: tasks go on, and the runner tries again"]]);
  });

  test("has the same instance id on every stream, and says once that it is not connected", async () => {
    const s = startSession();
    s.stream().welcome();
    for (let tries = 0; tries < 4; tries += 1) await s.reconnect();
    const ids = s.streams.map(({ said }) => (said[0]?.value as { instanceId: string }).instanceId);
    expect([ids.length, new Set(ids).size]).toEqual([5, 1]);
    expect(s.log().filter((line) => line.startsWith("warn"))).toHaveLength(1);
  });
});

describe("offers", () => {
  test("are accepted when the handlers' thread takes them, and not before", () => {
    const s = startSession();
    s.stream().welcome({ limits: { result_max_bytes: 9n } });
    s.stream().offer(5n);
    expect([s.limits(), s.told()]).toMatchObject([
      [{ result_max_bytes: 9n }],
      [{ type: "offer", offer: { fence: 5n, state: 0, metadata: "" } }],
    ]);
    expect(s.stream().saidOf("accept")).toEqual([]);
    s.accept(5n);
    expect(s.stream().saidOf("accept")).toEqual([{ accept: { taskId: "t5", fence: 5n, phase: PENDING } }]);
  });

  test("that are repeated are accepted again, and run once", () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.stream().offer(5n);
    s.accept(5n);
    s.stream().offer(5n);
    expect(s.told()).toHaveLength(1);
    expect(s.stream().saidOf("accept")).toHaveLength(2);
  });

  test("that nobody took before the stream broke are forgotten; taken later, their task is lost", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.stream().offer(6n);
    const first = s.stream();
    first.end(code.unavailable, "gone");
    // In between: the hello that lists it makes it count.
    s.accept(6n);
    await s.clock.advance(2_000);
    expect(s.stream().saidOf("hello")).toMatchObject([
      { hello: { held: [{ taskId: "t6", fence: 6n, phase: PENDING }] } },
    ]);
    // Who has not begun it learns that by the break, who has by the answer.
    expect(s.told().slice(2)).toEqual([{ type: "lost", fence: 5n }]);
    s.accept(5n);
    expect(s.told().slice(3)).toEqual([{ type: "lost", fence: 5n }]);
  });

  test("of RUNNING for a task that is not held are not taken", () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n, RUNNING);
    expect(s.told()).toEqual([]);
  });
});

describe("what was not answered", () => {
  test("is sent again after the next welcome, in order, from where the server has it", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.write(5n, 1n);
    s.write(5n, 2n);
    s.end(5n, 3n, PENDING);
    const second = await s.reconnect();
    expect(second.saidOf()).toMatchObject([{ hello: { held: [{ taskId: "t5", fence: 5n, phase: PENDING }] } }]);
    second.welcome({ held: [{ taskId: "t5", fence: 5n, phase: PENDING, writtenSeq: 1n }] });
    expect(second.saidOf("write", "end")).toMatchObject([{ write: { seq: 2n } }, { end: { seq: 3n } }]);
    expect(s.told().slice(1)).toEqual([{ type: "answered", fence: 5n, seq: 1n }]);
    second.written(5n, 3n);
    const third = await s.reconnect();
    third.welcome({ held: [{ taskId: "t5", fence: 5n, phase: RUNNING, writtenSeq: 3n }] });
    expect(third.saidOf("write", "end")).toEqual([]);
  });

  test("is sent once more of a task that was lost meanwhile, so that it is seen that it came late", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.write(5n, 1n);
    const second = await s.reconnect();
    second.welcome();
    expect(second.saidOf("write")).toMatchObject([{ write: { seq: 1n } }]);
    expect(s.told().slice(1)).toEqual([{ type: "lost", fence: 5n }]);
    second.refuse(5n, 1n, code.failedPrecondition);
    const third = await s.reconnect();
    third.welcome();
    expect(third.saidOf()).toMatchObject([{ hello: { held: [] } }]);
  });

  test("and was the last end tells by its answer what became of the task", async () => {
    const s = startSession();
    s.stream().welcome();
    for (const fence of [5n, 6n]) {
      s.stream().offer(fence);
      s.accept(fence);
      s.end(fence, 1n, PENDING, "failed");
    }
    const second = await s.reconnect();
    second.welcome();
    second.abort(5n, AbortReason.LOST_FENCE);
    expect(second.saidOf("end")).toHaveLength(2);
    expect(s.told().slice(2)).toEqual([]);
    second.written(5n, 1n);
    second.refuse(6n, 1n, code.failedPrecondition);
    expect(s.told().slice(2)).toEqual([
      { type: "answered", fence: 5n, seq: 1n },
      { type: "lost", fence: 6n },
    ]);
  });

  test("is never sent again when the server ended the stream with INVALID_ARGUMENT: the lease is over", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.write(5n, 1n);
    const second = await s.reconnect(code.invalidArgument);
    expect(s.told().slice(1)).toEqual([{ type: "lost", fence: 5n }]);
    second.welcome();
    expect(second.saidOf()).toMatchObject([{ hello: { held: [] } }]);
    expect(s.log()).toContainEqual(expect.stringMatching(/^error: the server ended the stream.*INVALID_ARGUMENT/));
  });
});

describe("a task", () => {
  test("goes from its first phase to the next under one fence, and is over with the answer to its end", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.end(5n, 1n, PENDING);
    s.stream().written(5n, 1n);
    s.stream().offer(5n, RUNNING);
    s.accept(5n, RUNNING);
    s.end(5n, 2n, RUNNING);
    const second = await s.reconnect();
    expect(second.saidOf("hello")).toMatchObject([{ hello: { held: [{ fence: 5n, phase: RUNNING }] } }]);
    second.welcome({ held: [{ taskId: "t5", fence: 5n, phase: RUNNING, writtenSeq: 1n }] });
    second.written(5n, 2n);
    expect((await s.reconnect()).saidOf("hello")).toMatchObject([{ hello: { held: [] } }]);
    expect(s.told().map(({ type }) => type)).toEqual(["offer", "answered", "offer", "answered", "answered"]);
  });

  test("whose next phase was offered and not taken is held in the first, and taken once", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.end(5n, 1n, PENDING);
    s.stream().written(5n, 1n);
    s.stream().offer(5n, RUNNING);
    const second = await s.reconnect();
    expect(second.saidOf("hello")).toMatchObject([{ hello: { held: [{ fence: 5n, phase: PENDING }] } }]);
    second.welcome({ held: [{ taskId: "t5", fence: 5n, phase: PENDING, writtenSeq: 1n }] });
    second.offer(5n, RUNNING);
    s.accept(5n, RUNNING);
    expect(s.told().filter(({ type }) => type === "offer")).toHaveLength(2);
    expect(second.saidOf("accept")).toEqual([{ accept: { taskId: "t5", fence: 5n, phase: RUNNING } }]);
  });

  test("is lost by a refusal, by LOST_FENCE, and not by a message that cannot be taken", () => {
    const s = startSession();
    s.stream().welcome();
    for (const fence of [5n, 6n, 7n]) {
      s.stream().offer(fence);
      s.accept(fence);
      s.write(fence, 1n);
    }
    s.stream().refuse(5n, 0n, code.failedPrecondition);
    s.stream().abort(6n, AbortReason.LOST_FENCE);
    s.stream().refuse(7n, 1n, code.invalidArgument);
    const error = { code: code.invalidArgument, message: "no" };
    expect(s.told().slice(3)).toEqual([
      { type: "lost", fence: 5n },
      { type: "lost", fence: 6n },
      { type: "answered", fence: 7n, seq: 1n, error },
    ]);
  });

  test("is told to stop, also again, and its answer goes out", () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.stream().abort(5n, AbortReason.CANCEL);
    s.stream().abort(5n, AbortReason.CANCEL);
    expect(s.told().slice(1)).toEqual([1, 2].map(() => ({ type: "abort", fence: 5n, reason: AbortReason.CANCEL })));
    s.session.receive({ type: "aborted", taskId: "t5", fence: 5n, reason: AbortReason.CANCEL });
    expect(s.stream().saidOf("aborted")).toEqual([
      { aborted: { taskId: "t5", fence: 5n, reason: AbortReason.CANCEL } },
    ]);
  });

  test("is waited for between its phases for three of the offer timeouts that the server has told, however long the lease is", async () => {
    const s = startSession();
    s.stream().welcome({ lease: { seconds: 3_600n }, offerTimeout: { seconds: 14n } });
    s.stream().offer(5n);
    s.accept(5n);
    s.end(5n, 1n, PENDING);
    s.stream().written(5n, 1n);
    for (let seconds = 0; seconds < 42; seconds += 3) {
      s.stream().answerKeepalives();
      expect(s.told().filter(({ type }) => type === "lost")).toEqual([]);
      await s.clock.advance(3_000);
    }
    expect(s.told().at(-1)).toEqual({ type: "lost", fence: 5n });
  });

  test("whose next phase does not come in time has ended; without a connection it is waited for", async () => {
    const s = startSession();
    s.stream().welcome();
    for (const fence of [5n, 6n]) {
      s.stream().offer(fence);
      s.accept(fence);
      s.end(fence, 1n, PENDING);
      s.stream().written(fence, 1n);
    }
    const lost = () => s.told().filter(({ type }) => type === "lost");
    s.stream().end(code.unavailable, "gone");
    await s.clock.advance(200);
    for (let count = 0; count < 4; count += 1) {
      s.stream().end(code.unavailable, "nobody there");
      await s.clock.advance(5_000);
    }
    const held = [5n, 6n].map((fence) => ({ taskId: `t${fence}`, fence, phase: PENDING, writtenSeq: 1n }));
    s.stream().welcome({ held });
    s.stream().offer(6n, RUNNING);
    s.accept(6n, RUNNING);
    expect(lost()).toEqual([]);
    for (let count = 0; count < 5; count += 1) {
      s.stream().answerKeepalives();
      await s.clock.advance(3_000);
    }
    expect(lost()).toEqual([{ type: "lost", fence: 5n }]);
  });

  test("in its phase COMPLETED is not held, and its end is sent again", async () => {
    const s = startSession({ wantsCompleted: true });
    s.stream().welcome();
    s.stream().offer(5n, COMPLETED);
    s.accept(5n, COMPLETED);
    s.end(5n, 1n, COMPLETED);
    const second = await s.reconnect();
    expect(second.saidOf("hello")).toMatchObject([{ hello: { held: [] } }]);
    second.welcome();
    expect(second.saidOf("end")).toMatchObject([{ end: { seq: 1n, phase: COMPLETED } }]);
    second.written(5n, 1n);
    expect(s.told().slice(1)).toEqual([{ type: "answered", fence: 5n, seq: 1n }]);
  });
});

describe("draining", () => {
  test("takes no more, finishes what there is, and closes its side", () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.stream().offer(6n);
    s.session.receive({ type: "drain" });
    s.stream().offer(7n);
    expect(s.told().slice(2)).toEqual([{ type: "lost", fence: 6n }]);
    expect(s.stream().saidOf("drain")).toEqual([{ drain: {} }]);
    s.accept(6n);
    expect(s.told().slice(3)).toEqual([{ type: "lost", fence: 6n }]);
    s.end(5n, 1n, PENDING, "released");
    expect(s.stream().isHalfClosed).toBe(false);
    s.stream().written(5n, 1n);
    expect(s.stream().isHalfClosed).toBe(true);
    expect(s.told().filter(({ type }) => type === "closed")).toEqual([]);
    s.stream().end();
    expect(s.told().at(-1)).toEqual({ type: "closed" });
    expect(s.clock.pending()).toBe(0);
  });

  test("goes on after a broken stream, and is said again", async () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.session.receive({ type: "drain" });
    const second = await s.reconnect();
    second.welcome({ held: [{ taskId: "t5", fence: 5n, phase: PENDING }] });
    expect(second.saidOf("drain")).toHaveLength(1);
  });

  test.each(["connecting", "waiting"])("with nothing left closes at once while %s", (state) => {
    const s = startSession();
    if (state === "waiting") s.stream().end(code.unavailable, "gone");
    s.session.receive({ type: "drain" });
    expect(s.told()).toEqual([{ type: "closed" }]);
    expect([s.stream().isClosed, s.clock.pending()]).toEqual([true, 0]);
  });

  test("does not wait for ever for the server to end the stream", async () => {
    const s = startSession();
    s.stream().welcome();
    s.session.receive({ type: "drain" });
    await s.clock.advance(10_000);
    expect(s.told()).toEqual([{ type: "closed" }]);
  });

  test("stop leaves everything as it is", () => {
    const s = startSession();
    s.stream().welcome();
    s.stream().offer(5n);
    s.accept(5n);
    s.session.receive({ type: "stop" });
    expect(s.told().slice(1)).toEqual([{ type: "lost", fence: 5n }, { type: "closed" }]);
    expect(s.stream().isClosed).toBe(true);
  });
});
