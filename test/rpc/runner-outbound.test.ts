import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import {
  AbortReason,
  RunnerKeepaliveSchema,
  type RunResponse,
  RunPhase,
  TaskAbortSchema,
  type TaskOffer,
  TaskOfferSchema,
  TaskWrittenSchema,
} from "#gen/stint/v1/runner_pb.js";
import { ControllerError } from "../../src/controller/error.ts";
import { RunnerOutbound } from "../../src/rpc/runner-outbound.ts";

function openOutbound() {
  const ends: string[] = [];
  const unloadable: unknown[] = [];
  const link = new RunnerOutbound({
    toStatus: ({ message }) => ({ code: 9, message }),
    onUnloadable: (error) => unloadable.push(error),
    onEnd: () => ends.push("ended"),
  });
  const leaving = new AbortController();
  const messages = eachOf(link.batches(leaving.signal, () => Promise.resolve()));
  return {
    link,
    ends,
    unloadable,
    leaving,
    messages,
    written: (taskId: string, seq: number) =>
      link.written(create(TaskWrittenSchema, { taskId, fence: fenceOf(taskId), seq: BigInt(seq) })),
    refuse: (taskId: string, seq: number) =>
      link.refuse({
        taskId,
        fence: fenceOf(taskId),
        seq: BigInt(seq),
        error: new ControllerError("FAILED_PRECONDITION", "no"),
      }),
    abort: (taskId: string, reason = AbortReason.CANCEL) =>
      link.abort(create(TaskAbortSchema, { taskId, fence: fenceOf(taskId), reason })),
    keepalive: (number: number) => link.keepalive(create(RunnerKeepaliveSchema, { number: BigInt(number) })),
    offer: (taskId: string) => link.offer(async () => offerOf(taskId)),
    /** The next so many messages. */
    async take(count: number): Promise<string[]> {
      const taken: string[] = [];
      while (taken.length < count) taken.push(describeMessage((await messages.next()).value as RunResponse));
      return taken;
    },
  };
}

async function* eachOf(batches: AsyncIterable<readonly RunResponse[]>): AsyncGenerator<RunResponse> {
  for await (const batch of batches) yield* batch;
}

/** Each run has a fence of its own. */
function fenceOf(taskId: string): bigint {
  return BigInt(taskId.codePointAt(0) ?? 0);
}

function offerOf(taskId: string): TaskOffer {
  return create(TaskOfferSchema, { taskId, fence: fenceOf(taskId), phase: RunPhase.PENDING });
}

function describeMessage({ message }: RunResponse): string {
  const { taskId = "", seq = "", number = "" } = (message.value ?? {}) as Record<string, string>;
  return [message.case, taskId, seq, number].filter((part) => part !== "").join(" ");
}

describe("what a runner is told", () => {
  test("is keepalives and aborts before answers, and answers before offers", async () => {
    const { offer, written, refuse, abort, keepalive, take } = openOutbound();
    offer("a");
    written("b", 1);
    refuse("c", 2);
    abort("d");
    keepalive(7);
    expect(await take(5)).toEqual(["abort d", "keepalive 7", "written b 1", "refused c 2", "offer a"]);
  });

  test("is of several answers and aborts under a fence the last, and never a refusal after what covers it", async () => {
    const { written, refuse, abort, link, take } = openOutbound();
    written("a", 1);
    written("b", 1);
    refuse("a", 2);
    written("a", 3);
    abort("c");
    abort("c", AbortReason.LOST_FENCE);
    link.finish();
    expect(await take(4)).toEqual(["abort c", "written b 1", "refused a 2", "written a 3"]);
  });

  test("is an offer as it is when its turn has come, one after the other, and nothing else waits for that", async () => {
    const { link, keepalive, take } = openOutbound();
    const loads: string[] = [];
    let resolveFirst = (_: TaskOffer | undefined): void => {};
    link.offer(() => {
      loads.push("first");
      return new Promise((resolve) => (resolveFirst = resolve));
    });
    link.offer(async () => {
      loads.push("second");
      return offerOf("second");
    });
    const next = take(1);
    keepalive(1);
    expect(await next).toEqual(["keepalive 1"]);
    const after = take(1);
    keepalive(2);
    expect([await after, loads]).toEqual([["keepalive 2"], ["first"]]);
    // It is taken back while it is loaded.
    resolveFirst(undefined);
    expect([await take(1), loads]).toEqual([["offer second"], ["first", "second"]]);
  });

  test("is as much at once as there is when a turn has passed, offers too, sixty-four at most", async () => {
    const { link, leaving, written, offer } = openOutbound();
    let pass = (): void => {};
    const turn = (): Promise<void> => new Promise((resolve) => (pass = resolve));
    const batches = link.batches(leaving.signal, turn);
    const next = batches.next();
    for (let i = 0; i < 70; i += 1) offer(`${i}`);
    written("a", 1);
    await new Promise(setImmediate);
    written("b", 1);
    pass();
    const batch: readonly RunResponse[] = (await next).value ?? [];
    const offers = Array.from({ length: 64 }, (_, i) => `offer ${i}`);
    expect(batch.map(describeMessage)).toEqual(["written a 1", "written b 1", ...offers]);
    await batches.return(undefined);
  });

  test("is not many large offers at once", async () => {
    const { link, leaving } = openOutbound();
    const batches = link.batches(leaving.signal, () => new Promise(setImmediate));
    const status = create(TaskStatusSchema, { metadata: "x".repeat(40 * 1024) });
    for (let i = 0; i < 4; i += 1) link.offer(async () => create(TaskOfferSchema, { taskId: `${i}`, status }));
    const sizes = [(await batches.next()).value?.length, (await batches.next()).value?.length];
    expect(sizes).toEqual([2, 2]);
  });

  test("is no offer that was loaded while nobody could send it", async () => {
    const { link, leaving } = openOutbound();
    const loads: string[] = [];
    const batches = link.batches(leaving.signal, () => Promise.resolve());
    const next = batches.next();
    const load = (taskId: string) => async () => {
      loads.push(taskId);
      return offerOf(taskId);
    };
    link.offer(load("a"));
    expect((await next).value?.map(describeMessage)).toEqual(["offer a"]);
    link.offer(load("b"));
    await new Promise(setImmediate);
    expect(loads).toEqual(["a"]);
    expect((await batches.next()).value?.map(describeMessage)).toEqual(["offer b"]);
  });

  test("is an offer with room for four messages of the runner's, once it is sent, and for 4,000 in all", async () => {
    const { link, offer, take } = openOutbound();
    const takeAll = (): number => {
      let count = 0;
      while (link.takeAllowance()) count += 1;
      return count;
    };
    link.offer(async () => undefined);
    offer("a");
    expect(takeAll()).toBe(0);
    await take(1);
    expect(takeAll()).toBe(4);
    for (let i = 0; i < 1_100; i += 1) offer(`${i}`);
    await take(1_100);
    expect(takeAll()).toBe(4_000);
  });

  test("leaves out an offer that cannot be loaded", async () => {
    const { link, offer, unloadable, take } = openOutbound();
    link.offer(() => Promise.reject(new Error("damaged")));
    link.offer(() => {
      throw new Error("closed");
    });
    offer("b");
    expect(await take(1)).toEqual(["offer b"]);
    expect(unloadable).toEqual([new Error("damaged"), new Error("closed")]);
  });

  test("is an offer that is at hand behind one that has to be read, and not before somebody can send it", async () => {
    const { link, leaving, offer } = openOutbound();
    const loads: string[] = [];
    const batches = link.batches(leaving.signal, () => new Promise(setImmediate));
    const atHand = (taskId: string): void =>
      link.offer(() => {
        loads.push(taskId);
        return offerOf(taskId);
      });
    const next = batches.next();
    offer("a");
    atHand("b");
    expect(loads).toEqual([]);
    atHand("c");
    expect((await next).value?.map(describeMessage)).toEqual(["offer a", "offer b", "offer c"]);
    atHand("d");
    expect(loads).toEqual(["b", "c"]);
    expect((await batches.next()).value?.map(describeMessage)).toEqual(["offer d"]);
  });

  test("ends with the error that it is closed with, after the answers before it, without the offers, and once", async () => {
    const { link, offer, written, take, messages, ends } = openOutbound();
    offer("a");
    written("b", 1);
    link.close(new ControllerError("ABORTED", "newer"));
    link.close(new ControllerError("UNAVAILABLE", "later"));
    written("b", 2);
    offer("c");
    expect(await take(1)).toEqual(["written b 1"]);
    await expect(messages.next()).rejects.toMatchObject({ code: "ABORTED" });
    expect(ends).toEqual(["ended"]);
  });

  test("that is more than may be left unread ends the stream, and what waited is dropped", async () => {
    const { refuse, written, messages, ends } = openOutbound();
    // Of one task's answers only the last waits.
    for (let seq = 0; seq < 10_000; seq += 1) written("a", seq);
    for (let seq = 0; seq < 4_095; seq += 1) refuse("b", seq);
    expect(ends).toEqual([]);
    refuse("b", 5_000);
    expect(ends).toEqual(["ended"]);
    await expect(messages.next()).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED", details: { reason: "LIMIT" } });
  });

  test("ends when the runner leaves", async () => {
    const { messages, leaving } = openOutbound();
    const next = messages.next();
    leaving.abort();
    await expect(next).rejects.toThrow("the call was canceled");
  });
});

test("offers have the room that answers leave in a batch, and the others are in the next", async () => {
  const { link, refuse, leaving } = openOutbound();
  const batches = link.batches(leaving.signal, () => Promise.resolve());
  const first = batches.next();
  for (let i = 0; i < 64; i += 1) link.offer(() => offerOf(`t${i}`));
  for (let i = 0; i < 200; i += 1) refuse("t", i);
  const offersIn = async (batch: Promise<IteratorResult<readonly RunResponse[]>>): Promise<number> =>
    ((await batch).value as readonly RunResponse[]).filter(({ message }) => message.case === "offer").length;
  expect(await offersIn(first)).toBe(56);
  expect(await offersIn(batches.next())).toBe(8);
});

test("what is said of another task under the same fence takes no other's place", async () => {
  const { link, take } = openOutbound();
  for (const taskId of ["own", "wrong"]) {
    link.written(create(TaskWrittenSchema, { taskId, fence: 7n, seq: 1n }));
    link.abort(create(TaskAbortSchema, { taskId, fence: 7n, reason: AbortReason.LOST_FENCE }));
  }
  expect(await take(4)).toHaveLength(4);
});
