/** What a call that streams its answers keeps while it waits, over a stream that is none of HTTP/2. */
import type { ServerHttp2Stream } from "node:http2";
import { Duplex } from "node:stream";
import { expect, test } from "vitest";
import { DueLine } from "../../src/async/due-line.ts";
import { Faults } from "../../src/faults.ts";
import { serverStreamCall } from "../../src/rpc/answer-stream.ts";
import { createAvailability } from "../../src/rpc/availability.ts";
import type { GrpcStream } from "../../src/rpc/grpc-stream.ts";
import { createStreamSlots } from "../../src/rpc/stream-slots.ts";
import { defaultServerLimits } from "../../src/server/limits.ts";
import { ByteBudget } from "../../src/server/request-body.ts";
import { StreamCall } from "../../src/server/stream-call.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { heapBytes } from "../support/heap.ts";

interface Said {
  readonly text: string;
}

/** A stream without a request, and what is written to it. */
function createStream(highWaterMark: number) {
  const written: string[] = [];
  const taken: Array<() => void> = [];
  const stream = new Duplex({
    writableHighWaterMark: highWaterMark,
    read() {
      this.push(null);
    },
    write(bytes: Buffer, _, done) {
      written.push(String(bytes));
      taken.push(done);
    },
  });
  Object.assign(stream, { headersSent: false, respond: () => Object.assign(stream, { headersSent: true }) });
  return { stream: stream as unknown as ServerHttp2Stream, written, taken };
}

/** A call that is answered with what `say` is called with. */
function setUp(highWaterMark: number) {
  const { stream, written, taken } = createStream(highWaterMark);
  const faults = new Faults();
  const availability = createAvailability();
  availability.enter("serving");
  let asked: ((next: IteratorResult<Said>) => void) | undefined;
  let askedCount = 0;
  const next = (): Promise<IteratorResult<Said>> => {
    askedCount += 1;
    return new Promise((resolve) => (asked = resolve));
  };
  const answers = { [Symbol.asyncIterator]: () => ({ next }) };
  const implement = serverStreamCall({ availability, streams: createStreamSlots(1), faults }, () => ({ answers }));
  const method = {
    method: { name: "Watch" },
    reader: { readHeaders: () => ({ timeoutMs: undefined, compression: null, error: undefined }) },
    open: async () => implement(undefined, { method: { name: "Watch" } }),
    encode: ({ text }: Said) => Buffer.from(text),
  } as unknown as GrpcStream;
  const clock = createFakeClock();
  const call = new StreamCall({ stream: method, requestLimit: { name: "request_max_bytes", value: 1_000 } }, stream, {
    limits: defaultServerLimits,
    budget: new ByteBudget(1_000, faults),
    clock,
    faults,
    untaken: new DueLine(defaultServerLimits.writeStallMaxMs),
  });
  call.run({});
  const say = async (text: string): Promise<WeakRef<Said>> => {
    const value = { text };
    asked?.({ done: false, value });
    asked = undefined;
    await new Promise(setImmediate);
    return new WeakRef(value);
  };
  return { say, written, taken, clock, stream, askedCount: () => askedCount };
}

test("nothing is kept of an answer that was sent, while the next is waited for", async () => {
  const { say, written, taken, clock, stream } = setUp(1_000);
  await new Promise(setImmediate);
  const said = [await say("one"), await say("two")];
  taken.shift()?.();
  taken.shift()?.();
  await new Promise(setImmediate);
  heapBytes();
  expect(written).toEqual(["one", "two"]);
  expect(said.map((each) => each.deref())).toEqual([undefined, undefined]);
  expect(clock.pending()).toBe(0);
  stream.destroy();
});

test("the next answer is asked for when the stream takes more", async () => {
  const { say, written, taken, stream, askedCount } = setUp(4);
  await new Promise(setImmediate);
  await say("long one");
  expect(askedCount()).toBe(1);
  taken.shift()?.();
  await new Promise(setImmediate);
  expect(askedCount()).toBe(2);
  await say("two");
  expect(written).toEqual(["long one", "two"]);
  stream.destroy();
});
