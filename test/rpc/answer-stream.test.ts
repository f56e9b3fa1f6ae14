/** Calls that stream their answers, whoever asks for these: connect's handlers or the lane of gRPC. */
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { Faults } from "../../src/faults.ts";
import { serverStreamCall, type Streamed } from "../../src/rpc/answer-stream.ts";
import { createAvailability, drainingError } from "../../src/rpc/availability.ts";
import { createStreamSlots } from "../../src/rpc/stream-slots.ts";

const left = new ConnectError("the call was canceled", Code.Canceled);
const method = { name: "Watch" };

function setUp(slots = 1) {
  const availability = createAvailability();
  availability.enter("serving");
  const streams = createStreamSlots(slots);
  const open = (handle: () => Streamed<number>) =>
    serverStreamCall({ availability, streams, faults: new Faults() }, handle)(undefined, { method });
  return { availability, streams, open };
}

/** An iterator that says nothing, and ignores that it is told to return. */
function silent(told: string[]): AsyncIterable<number> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise<IteratorResult<number>>(() => told.push("next")),
      return: () => new Promise<IteratorResult<number>>(() => told.push("return")),
    }),
  };
}

describe("a call that streams its answers", () => {
  test("passes them on, and ends with its method; its slot is free then", async () => {
    const { streams, open } = setUp();
    const noted: number[] = [];
    async function* count(): AsyncGenerator<number> {
      yield 1;
      yield 2;
    }
    const answers = open(() => ({ answers: count(), note: (answer) => noted.push(answer) }));
    expect(await answers.next()).toEqual({ done: false, value: 1 });
    expect(streams.tryTake()).toBeUndefined();
    expect(await answers.next()).toEqual({ done: false, value: 2 });
    expect(await answers.next()).toEqual({ done: true, value: undefined });
    expect(await answers.next()).toEqual({ done: true, value: undefined });
    expect(noted).toEqual([1, 2]);
    expect(streams.tryTake()).toBeDefined();
  });

  test("is ended at once from outside, though its method ignores that", async () => {
    const { streams, open } = setUp();
    const told: string[] = [];
    const answers = open(() => ({ answers: silent(told) }));
    const next = answers.next();
    answers.end(left);
    await expect(next).rejects.toBe(left);
    await expect(answers.next()).rejects.toBe(left);
    expect(told).toEqual(["next", "return"]);
    // Its client may not have read what was said: it has the slot until that is gone.
    expect(streams.tryTake()).toBeUndefined();
    answers.close();
    expect(streams.tryTake()).toBeDefined();
  });

  test("that is ended before it has begun is not begun", async () => {
    const { streams, open } = setUp();
    let calls = 0;
    const answers = open(() => {
      calls += 1;
      return { answers: silent([]) };
    });
    answers.end(left);
    await expect(answers.next()).rejects.toBe(left);
    expect(calls).toBe(0);
    expect(streams.tryTake()).toBeDefined();
  });

  test("ends while it waits when the server drains, where its method says with what", async () => {
    const { availability, open } = setUp(2);
    const told: string[] = [];
    const drained = open(() => ({ answers: silent(told), drained: () => drainingError({ since_revision: "7" }) }));
    const own = open(() => ({ answers: silent([]) }));
    const next = drained.next();
    let isOver = false;
    own.next().then(
      () => (isOver = true),
      () => (isOver = true),
    );
    availability.setStoreHealthy(false);
    expect(told).toEqual(["next"]);
    availability.enter("draining");
    await expect(next).rejects.toMatchObject({ code: Code.Unavailable });
    expect([told, isOver]).toEqual([["next", "return"], false]);
  });

  test("has no signal until it is asked for one, which is aborted with the error of the call, also afterwards", async () => {
    const { availability, streams } = setUp(2);
    const signals: AbortSignal[] = [];
    let get = (): AbortSignal => AbortSignal.abort();
    const call = serverStreamCall<undefined, number>({ availability, streams, faults: new Faults() }, (_, streamed) => {
      get = () => streamed.signal;
      return { answers: silent([]) };
    })(undefined, { method });
    const next = call.next();
    signals.push(get());
    expect(signals[0]?.aborted).toBe(false);
    call.end(left);
    await expect(next).rejects.toBe(left);
    expect(signals[0]?.reason).toBe(left);
    expect(get()).toBe(signals[0]);
  });

  test("says what is wrong with its request before that all slots are taken", async () => {
    const { streams, open } = setUp(0);
    const wrong = open(() => {
      throw new ConnectError("no such field", Code.InvalidArgument);
    });
    await expect(wrong.next()).rejects.toMatchObject({ code: Code.InvalidArgument });
    await expect(open(() => ({ answers: silent([]) })).next()).rejects.toMatchObject({ code: Code.ResourceExhausted });
    expect(streams.tryTake()).toBeUndefined();
  });
});
