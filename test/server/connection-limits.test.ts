/** How many connections, calls and streams there may be: as many as allowed, one more, and ten times as many. */
import { once } from "node:events";
import { connect as connectSocket, type Socket } from "node:net";
import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { callHeaders, endHeaders, frame, FrameSocket, frameType } from "../support/raw-frames.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";

const refusedMessage = "a connection was refused: there are too many";

/** So many connections from an address; each says nothing, and whether it was refused can be waited for. */
async function connectMany(port: number, count: number, localAddress: string): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => connectSocket({ port, host: "127.0.0.1", localAddress }));
  for (const socket of sockets) socket.on("error", () => {}).resume();
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  return sockets;
}

const isOpen = (socket: Socket) => !socket.readableEnded && !socket.destroyed;

async function expectOpen(sockets: readonly Socket[], count: number): Promise<void> {
  await eventually(() => expect(sockets.filter(isOpen)).toHaveLength(count));
}

describe("connections", () => {
  test("from one address are as many as allowed, and those from another are not fewer for it", async () => {
    await using served = await serveFake({ limits: { sessionsPerIpMax: 3 } });
    const allowed = await connectMany(served.port, 3, "127.0.0.2");
    const tooMany = await connectMany(served.port, 30, "127.0.0.2");
    await expectOpen(tooMany, 0);
    expect(allowed.filter(isOpen)).toHaveLength(3);
    const others = await connectMany(served.port, 2, "127.0.0.3");
    expect((await served.client().getServerInfo({})).version).toBe("0.0.0-test");
    expect(others.filter(isOpen)).toHaveLength(2);

    // One that ends makes room for one.
    allowed[0]?.destroy();
    await eventually(async () => {
      const [next] = await connectMany(served.port, 1, "127.0.0.2");
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(next && isOpen(next)).toBe(true);
    });
    // However many are refused, the log has a line.
    expect(served.logged).toEqual([
      {
        level: "warn",
        message: refusedMessage,
        fields: { sessionsPerIpMax: 3, address: "127.0.0.2", fault: "connections_refused", count: 1 },
      },
    ]);
    expect(served.faults.counts().connections_refused).toBeGreaterThan(1);
  });

  test("of all addresses are as many as allowed", async () => {
    await using served = await serveFake({ limits: { sessionsMax: 4 } });
    const allowed = [
      ...(await connectMany(served.port, 2, "127.0.0.2")),
      ...(await connectMany(served.port, 2, "127.0.0.3")),
    ];
    await expectOpen(await connectMany(served.port, 40, "127.0.0.4"), 0);
    expect(allowed.filter(isOpen)).toHaveLength(4);
    expect(served.logged).toMatchObject([{ message: refusedMessage, fields: { sessionsMax: 4, count: 1 } }]);
    expect(served.faults.counts().connections_refused).toBeGreaterThan(1);
  });
});

describe("calls on one connection", () => {
  test("are as many as allowed at one time, whatever the peer thinks of the settings", async () => {
    await using served = await serveFake({ limits: { streamsPerSessionMax: 5 } });
    const peer = new FrameSocket(served.port);
    const open = (i: number) =>
      frame(frameType.headers, endHeaders, 2 * i + 1, callHeaders("/stint.v1.TaskControllerService/GetServerInfo"));
    await peer.send(...Array.from({ length: 50 }, (_, i) => open(i)));
    await eventually(() => {
      const refused = peer.received.filter(({ type }) => type === frameType.rstStream);
      expect(refused.map(({ streamId }) => streamId)).toEqual(Array.from({ length: 45 }, (_, i) => 2 * (i + 5) + 1));
      // REFUSED_STREAM: a client may send it again.
      expect(new Set(refused.map(({ payload }) => payload.readUInt32BE(0)))).toEqual(new Set([7]));
    });
    peer.destroy();
  });
});

describe("streams of the whole server", () => {
  const task = { controller: "countdown", taskId: "a" };

  /** Reads a stream until it is told to stop; resolves when its first message is there. */
  async function openStream(stream: (signal: AbortSignal) => AsyncIterable<unknown>): Promise<() => void> {
    const leaving = new AbortController();
    const messages = stream(leaving.signal)[Symbol.asyncIterator]();
    await messages.next();
    return () => leaving.abort();
  }

  function streamsOf(served: ServedFake): Array<(signal: AbortSignal) => AsyncIterable<unknown>> {
    const health = createClient(Health, served.transport());
    const reflection = createClient(ServerReflection, served.transport());
    async function* requests() {
      yield { messageRequest: { case: "listServices" as const, value: "" } };
      await new Promise(() => {});
    }
    return [
      (signal) => served.client().watchTask(task, { signal }),
      (signal) => health.watch({}, { signal }),
      (signal) => reflection.serverReflectionInfo(requests(), { signal }),
    ];
  }

  test("are as many as allowed, of whatever kind, and one that ends makes room for one", async () => {
    await using served = await serveFake({ limits: { watchersMax: 3 } });
    served.controller.put("a", { state: StateRunning });
    const streams = streamsOf(served);
    const leave = await Promise.all(streams.map((stream) => openStream(stream)));
    for (const stream of [...streams, ...streams]) {
      expect(await callError(openStream(stream))).toMatchObject({
        code: "ResourceExhausted",
        reason: "LIMIT",
        metadata: { limit: "watchers_max", value: "3" },
        retries: true,
      });
    }
    for (const [i, stream] of streams.entries()) {
      leave[i]?.();
      await eventually(async () => {
        leave[i] = await openStream(stream);
      });
    }
    expect(served.faults.counts().calls_refused).toBeGreaterThanOrEqual(2 * streams.length);
    for (const each of leave) each();
    expect((await served.client().getServerInfo({})).version).toBe("0.0.0-test");
  });

  test("are not what a bad request is refused for, though all are taken", async () => {
    await using served = await serveFake({ limits: { watchersMax: 1 } });
    served.controller.put("a", { state: StateRunning });
    const client = served.client();
    const leave = await openStream((signal) => client.watchTask(task, { signal }));
    const health = createClient(Health, served.transport());
    const refusals: [() => AsyncIterable<unknown> | Promise<unknown>, string][] = [
      [() => client.watchTask({ ...task, taskId: "/" }), "InvalidArgument"],
      [() => client.watchTasks({ controller: "countdown", labels: { "": "" } }), "InvalidArgument"],
      [() => health.watch({ service: "s".repeat(257) }), "InvalidArgument"],
      [() => client.waitTask({ ...task, runId: "\n" }), "InvalidArgument"],
      [() => client.watchTask({ ...task, controller: "nowhere" }), "NotFound"],
      [() => client.watchTasks({ controller: "nowhere" }), "NotFound"],
      [() => client.watchTask(task), "ResourceExhausted"],
    ];
    for (const [call, code] of refusals) expect((await callError(call())).code).toBe(code);
    leave();
  });

  test("are taken by waits too, but a cancel stands where it cannot wait", async () => {
    await using served = await serveFake({ limits: { watchersMax: 1 } });
    served.controller.put("a", { state: StateRunning });
    const client = served.client();
    const wait = { seconds: 25n };
    const waits: ((signal: AbortSignal) => Promise<unknown>)[] = [
      (signal) => client.waitTask(task, { signal }),
      (signal) => client.cancelTask({ ...task, wait }, { signal }),
    ];
    const { cancels, waits: begun } = served.controller;
    const callCount = () => begun.length + cancels.length;
    for (const start of waits) {
      const before = callCount();
      const leaving = new AbortController();
      const waiting = callError(start(leaving.signal));
      await eventually(() => expect(callCount()).toBe(before + 1));
      expect(await callError(client.watchTask(task))).toMatchObject({ reason: "LIMIT" });
      expect(await callError(client.waitTask(task))).toMatchObject({ reason: "LIMIT", retries: true });
      expect((await client.waitTask({ ...task, timeout: { seconds: 0n } })).done).toBe(false);
      await client.cancelTask({ ...task, wait });
      expect(cancels.at(-1)?.waitMs).toBe(0);
      leaving.abort();
      expect((await waiting).code).toBe("Canceled");
      // It has made room, for a while: the next one has to find room again.
      await eventually(async () => (await openStream((signal) => client.watchTask(task, { signal })))());
      await eventually(async () => {
        served.controller.put("b", { state: StateCompleted });
        expect((await client.waitTask({ ...task, taskId: "b" })).done).toBe(true);
      });
    }
  });
});
