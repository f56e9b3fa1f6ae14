import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
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
  const messages = link.messages(leaving.signal);
  return {
    link,
    ends,
    unloadable,
    leaving,
    messages,
    written: (taskId: string, seq: number) =>
      link.written(create(TaskWrittenSchema, { taskId, fence: 1n, seq: BigInt(seq) })),
    refuse: (taskId: string, seq: number) =>
      link.refuse({ taskId, fence: 1n, seq: BigInt(seq), error: new ControllerError("FAILED_PRECONDITION", "no") }),
    abort: (taskId: string, reason = AbortReason.CANCEL) =>
      link.abort(create(TaskAbortSchema, { taskId, fence: 1n, reason })),
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

function offerOf(taskId: string): TaskOffer {
  return create(TaskOfferSchema, { taskId, fence: 1n, phase: RunPhase.PENDING });
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

  test("leaves out an offer that cannot be loaded", async () => {
    const { link, offer, unloadable, take } = openOutbound();
    link.offer(() => Promise.reject(new Error("damaged")));
    offer("b");
    expect(await take(1)).toEqual(["offer b"]);
    expect(unloadable).toEqual([new Error("damaged")]);
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
