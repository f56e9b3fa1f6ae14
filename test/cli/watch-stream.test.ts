import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { ErrorInfoSchema, RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import type { WatchTaskRequest } from "#gen/stint/v1/controller_pb.js";
import { openClient } from "../../src/cli/client.ts";
import { Interrupted } from "../../src/cli/io.ts";
import { RpcError } from "../../src/cli/rpc-error.ts";
import { retryDelayMs, type WatchEvent, watchTask } from "../../src/cli/watch-stream.ts";
import { systemClock } from "../../src/clock.ts";
import { createFakeIo, hastyClock } from "./support/fake-io.ts";
import { type FakeServer, type FakeStream, openFakeServer, StatusFailure } from "./support/fake-server.ts";
import { Completed, Pending, Running, taskStatus, watchMessage } from "./support/fake-task.ts";

type Stream = FakeStream<object>;
type Script = (request: WatchTaskRequest, stream: Stream) => void;

/** A server whose n-th stream is what the n-th script does; keeps the requests. */
async function openScriptedServer(scripts: Script[], port = 0): Promise<FakeServer & { requests: WatchTaskRequest[] }> {
  const requests: WatchTaskRequest[] = [];
  const server = await openFakeServer(
    {
      watchTask: (request, stream) => {
        requests.push(request);
        const script = scripts[requests.length - 1];
        if (!script) throw new StatusFailure(Code.INTERNAL, `stream ${requests.length} was not expected`);
        script(request, stream);
      },
    },
    port,
  );
  return Object.assign(server, { requests });
}

type Told = { events: string[]; error: unknown };

/** All events of a watch; `onEvent` happens before the next is asked for. */
async function collect(
  address: string,
  request: object = {},
  options: { onEvent?(event: string): unknown; [option: string]: unknown } = {},
): Promise<Told> {
  const client = openClient(address, { clock: systemClock });
  const io = createFakeIo({ clock: hastyClock });
  const events: string[] = [];
  try {
    for await (const event of watchTask(client, { controller: "c", taskId: "t", ...request }, { ...io, ...options })) {
      events.push(eventText(event));
      await options.onEvent?.(eventText(event));
    }
    return { events, error: undefined };
  } catch (error) {
    return { events, error };
  } finally {
    client.close();
  }
}

function eventText(event: WatchEvent): string {
  return event.kind === "message" ? `message ${event.message.revision}` : event.kind;
}

const pending = (revision: bigint) => watchMessage(taskStatus([Pending]), { revision });
const running = (revision: bigint) => watchMessage(taskStatus([Pending, Running]), { revision });
const completed = (revision: bigint) => watchMessage(taskStatus([Pending, Running, Completed]), { revision });
const bookmark = (revision: bigint) => watchMessage(undefined, { revision });
const unavailable = new StatusFailure(Code.UNAVAILABLE, "the server is stopping", [
  [ErrorInfoSchema, { reason: "DRAINING", domain: "stint.v1" }],
  [RetryInfoSchema, { retryDelay: { seconds: 0n, nanos: 5_000_000 } }],
]);
const compacted = new StatusFailure(Code.OUT_OF_RANGE, "the history begins at 50", [
  [ErrorInfoSchema, { reason: "COMPACTED", domain: "stint.v1", metadata: { first_revision: "50" } }],
]);

const sendAll =
  (...messages: object[]): Script =>
  (_request, stream) => {
    for (const message of messages) stream.send(message);
    stream.end();
  };
const sendAndFail =
  (failure: StatusFailure, ...messages: object[]): Script =>
  (_request, stream) => {
    for (const message of messages) stream.send(message);
    stream.fail(failure);
  };

describe("a watch", () => {
  test("hands on every message and ends with the stream", async () => {
    await using server = await openScriptedServer([sendAll(pending(1n), running(2n), completed(3n))]);
    expect(await collect(server.address, { includeLogs: true, runId: "r" })).toEqual({
      events: ["message 1", "message 2", "message 3"],
      error: undefined,
    });
    expect(server.requests[0]).toMatchObject({
      controller: "c",
      taskId: "t",
      includeLogs: true,
      runId: "r",
      sinceRevision: 0n,
    });
  });

  test("goes on from the last revision when the stream breaks, and says once that it did", async () => {
    await using server = await openScriptedServer([
      sendAndFail(unavailable, pending(1n), running(7n)),
      sendAndFail(unavailable),
      sendAndFail(unavailable),
      sendAndFail(unavailable, bookmark(9n)),
      sendAll(completed(12n)),
    ]);
    const { events, error } = await collect(server.address);
    expect(error).toBeUndefined();
    expect(events).toEqual([
      "message 1",
      "message 7",
      "disconnected",
      "reconnected",
      "message 9",
      "disconnected",
      "reconnected",
      "message 12",
    ]);
    expect(server.requests.map((request) => request.sinceRevision)).toEqual([0n, 7n, 7n, 7n, 9n]);
  });

  test("finds a server that was killed and started again on the same port", async () => {
    await using first = await openScriptedServer([(_request, stream) => stream.send(running(5n))]);
    const restarted: Awaited<ReturnType<typeof openScriptedServer>>[] = [];
    const { events, error } = await collect(
      first.address,
      {},
      {
        async onEvent(event) {
          if (event === "message 5") first.kill();
          if (event !== "disconnected") return;
          restarted.push(await openScriptedServer([sendAll(completed(6n))], first.port));
        },
      },
    );
    expect(error).toBeUndefined();
    await using second = restarted[0];
    expect(events).toEqual(["message 5", "disconnected", "reconnected", "message 6"]);
    expect(second?.requests[0]?.sinceRevision).toBe(5n);
  });

  test("begins again with a snapshot where the history is gone", async () => {
    await using server = await openScriptedServer([sendAndFail(compacted), sendAll(running(60n), completed(61n))]);
    expect(await collect(server.address, { sinceRevision: 3n })).toEqual({
      events: ["history-lost", "message 60", "message 61"],
      error: undefined,
    });
    expect(server.requests.map((request) => request.sinceRevision)).toEqual([3n, 0n]);
  });

  test("begins again where the server came back with a store that is behind", async () => {
    await using server = await openScriptedServer([
      sendAndFail(unavailable, running(90n)),
      sendAndFail(new StatusFailure(Code.OUT_OF_RANGE, "revision 90 lies ahead")),
      sendAll(completed(4n)),
    ]);
    const { events } = await collect(server.address);
    expect(events).toEqual(["message 90", "disconnected", "history-lost", "reconnected", "message 4"]);
  });

  test("fails where the revision that was asked for lies ahead, and when a snapshot is refused too", async () => {
    await using ahead = await openScriptedServer([sendAndFail(new StatusFailure(Code.OUT_OF_RANGE, "lies ahead"))]);
    expect((await collect(ahead.address, { sinceRevision: 3n })).error).toMatchObject({ code: Code.OUT_OF_RANGE });
    await using gone = await openScriptedServer([sendAndFail(compacted), sendAndFail(compacted)]);
    expect((await collect(gone.address, { sinceRevision: 3n })).error).toMatchObject({ code: Code.OUT_OF_RANGE });
  });

  test("does not ask again once the end was handed on", async () => {
    await using server = await openScriptedServer([sendAndFail(unavailable, completed(3n))]);
    expect(await collect(server.address)).toEqual({ events: ["message 3"], error: undefined });
  });

  test("fails at once where there never was a server", async () => {
    const server = await openScriptedServer([]);
    await server[Symbol.asyncDispose]();
    const { events, error } = await collect(server.address, { waitForLaunch: true });
    expect(events).toEqual([]);
    expect(error).toMatchObject({ code: Code.UNAVAILABLE });
  });

  test("waits for a launch over an outage before the first message too", async () => {
    await using server = await openScriptedServer([sendAndFail(unavailable), sendAll(completed(3n))]);
    const { events } = await collect(server.address, { waitForLaunch: true });
    expect(events).toEqual(["disconnected", "reconnected", "message 3"]);
  });

  test("waits out an outage where there was nothing new since the revision that was asked for", async () => {
    await using server = await openScriptedServer([sendAndFail(unavailable), sendAll(completed(9n))]);
    const { events, error } = await collect(server.address, { sinceRevision: 7n });
    expect(error).toBeUndefined();
    expect(events).toEqual(["disconnected", "reconnected", "message 9"]);
    expect(server.requests.map((request) => request.sinceRevision)).toEqual([7n, 7n]);
  });

  test.each([Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.DATA_LOSS, Code.UNIMPLEMENTED])(
    "does not try again after code %d",
    async (code) => {
      await using server = await openScriptedServer([sendAndFail(new StatusFailure(code, "no"), running(1n))]);
      const { events, error } = await collect(server.address);
      expect(events).toEqual(["message 1"]);
      expect(error).toBeInstanceOf(RpcError);
      expect(error).toMatchObject({ code, message: "no" });
    },
  );

  test("gives up when an outage has lasted too long", async () => {
    await using server = await openScriptedServer([
      sendAndFail(unavailable, running(1n)),
      ...Array.from({ length: 50 }, () => sendAndFail(unavailable)),
    ]);
    const { error } = await collect(server.address, {}, { outageMaxMs: 100 });
    expect(error).toMatchObject({ code: Code.UNAVAILABLE });
  });

  test("ends with the reason of its signal, also between two tries", async () => {
    const io = createFakeIo();
    await using server = await openScriptedServer([sendAndFail(unavailable, running(1n))]);
    const onEvent = (event: string) => event === "disconnected" && io.interrupt(new Interrupted("SIGINT"));
    const { error } = await collect(server.address, {}, { signal: io.signal, onEvent });
    expect(error).toBeInstanceOf(Interrupted);
  });

  test("leaves the stream when the loop is left", async () => {
    let left: Promise<void> | undefined;
    await using server = await openScriptedServer([
      (_request, stream) => {
        left = stream.cancelled;
        stream.send(running(1n));
      },
    ]);
    const client = openClient(server.address, { clock: systemClock });
    for await (const _event of watchTask(client, { controller: "c", taskId: "t" }, createFakeIo())) break;
    await left;
    client.close();
  });
});

describe("the delay before the next try", () => {
  const plain = new RpcError(Code.UNAVAILABLE, "", {
    reason: "",
    metadata: {},
    violations: [],
    resource: "",
    retryDelayMs: undefined,
  });
  const random = (fraction: number) => ({ id: () => "", fraction: () => fraction });

  test.each([
    [0, 0, 125],
    [0, 1, 250],
    [1, 1, 500],
    [4, 1, 4000],
    [5, 0, 2500],
    [5, 1, 5000],
    [1000, 1, 5000],
  ])("after %d tries and by chance %d is %d ms", (tries, fraction, ms) => {
    expect(retryDelayMs(tries, plain, random(fraction))).toBe(ms);
  });

  test("is not less than the server asks for, within reason", () => {
    const asking = (ms: number) => new RpcError(Code.UNAVAILABLE, "", { ...plain.details, retryDelayMs: ms });
    expect(retryDelayMs(0, asking(2000), random(0))).toBe(2000);
    expect(retryDelayMs(0, asking(1e9), random(0))).toBe(30_000);
  });
});
