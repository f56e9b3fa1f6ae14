import { connect as connectSocket, type Socket } from "node:net";
import { connect as connectHttp2 } from "node:http2";
import { toBinary, create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { WatchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { StateCanceled, StatePending, StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { protocolNames, type ServedFake, serveFake } from "../support/served-fake.ts";

const task = { controller: "countdown", taskId: "a" };

function watches(served: ServedFake, count: number): Promise<void> {
  return eventually(() => expect(served.controller.openWatches).toBe(count));
}

/** A watch over plain HTTP/2, whose stream the test has in its hands. */
function openRawWatch(served: ServedFake) {
  const message = toBinary(WatchTaskRequestSchema, create(WatchTaskRequestSchema, task));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.byteLength, 1);
  let socket: Socket | undefined;
  const session = connectHttp2(served.baseUrl, {
    createConnection: () => {
      socket = connectSocket(served.port, "127.0.0.1");
      return socket;
    },
  });
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": "/stint.v1.TaskControllerService/WatchTask",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  stream.end(Buffer.concat([prefix, message]));
  return { session, stream, socket: socket as Socket };
}

describe("a watch", () => {
  test("that waits for a launch waits, and shows it", async () => {
    await using served = await serveFake();
    const seen: number[] = [];
    const watching = (async () => {
      for await (const { status } of served.client().watchTask({ ...task, waitForLaunch: true }))
        seen.push(status?.state ?? -1);
    })();
    await watches(served, 1);
    served.controller.put("a", { state: StatePending });
    await eventually(() => expect(seen).toEqual([StatePending]));
    served.controller.put("a", { state: StateCanceled });
    await watching;
    expect(seen).toEqual([StatePending, StateCanceled]);
  });

  test.each(protocolNames)("is let go of when its client leaves, over %s", async (protocol) => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const leaving = new AbortController();
    const call = served.client(protocol).watchTask(task, { signal: leaving.signal });
    const watching = callError(call);
    await watches(served, 1);
    leaving.abort();
    expect(await watching).toMatchObject({ code: "Canceled" });
    await watches(served, 0);
  });

  test("is let go of when its connection is cut without a word", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const { socket } = openRawWatch(served);
    await watches(served, 1);
    socket.resetAndDestroy();
    await watches(served, 0);
  });
});

describe("a watch of a client that does not read", () => {
  test("is let go of when its stream is reset while it does not read, and its slot with it", async () => {
    await using served = await serveFake({ limits: { watchersMax: 1 } });
    const metadata = "x".repeat(100_000);
    served.controller.put("a", { state: StateRunning, metadata });
    const { stream, session } = openRawWatch(served);
    stream.pause();
    await watches(served, 1);
    // More than its windows hold: the call waits for a reader that never comes.
    for (let i = 0; i < 20; i += 1) {
      served.controller.put("a", { state: StateRunning, metadata });
      await new Promise((resolve) => setImmediate(resolve));
    }
    stream.close(8);
    await watches(served, 0);
    served.controller.put("a", { state: StateCanceled });
    for await (const { status } of served.client().watchTask(task)) expect(status?.state).toBe(StateCanceled);
    session.destroy();
  });

  test("of a client that does not read for too long is cut off", async () => {
    await using served = await serveFake({ limits: { writeStallMaxMs: 100 } });
    const metadata = "x".repeat(100_000);
    served.controller.put("a", { state: StateRunning, metadata });
    const { stream, session } = openRawWatch(served);
    stream.pause();
    await eventually(() => {
      served.controller.put("a", { state: StateRunning, metadata });
      expect(served.logged.map(({ message }) => message)).toContain(
        "a client did not read its answer, and was cut off",
      );
    });
    await watches(served, 0);
    session.destroy();
  });

  test("of a peer that no longer answers is let go of", async () => {
    await using served = await serveFake({ limits: { pingIntervalMs: 50, pingTimeoutMs: 50 } });
    served.controller.put("a", { state: StateRunning });
    const { socket } = openRawWatch(served);
    await watches(served, 1);
    // The connection stays, and nobody reads from it: as good as a frozen client.
    socket.pause();
    socket.removeAllListeners("data");
    (socket as unknown as { _handle: { readStop(): void } })._handle.readStop();
    await watches(served, 0);
    expect(served.logged.map(({ message }) => message)).toContain("a peer does not answer, and is taken for gone");
    socket.destroy();
  });
});

describe("the end of a watch", () => {
  test("has a deadline only if its client sets one, and then ends with it", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const error = await callError(served.client().watchTask(task, { timeoutMs: 100 }));
    expect(error.code).toBe("DeadlineExceeded");
    await watches(served, 0);
  });

  test("ends with UNAVAILABLE and where to go on when the server drains", async () => {
    await using served = await serveFake();
    const revision = served.controller.put("a", { state: StateRunning });
    const client = served.client();
    const seen: bigint[] = [];
    const watching = callError(
      (async () => {
        for await (const change of client.watchTask(task)) seen.push(change.revision);
      })(),
    );
    await eventually(() => expect(seen).toEqual([revision]));
    const closing = served.close(5_000);
    expect(await watching).toMatchObject({
      code: "Unavailable",
      reason: "DRAINING",
      retries: true,
      metadata: { since_revision: String(revision) },
    });
    await closing;
    expect(served.controller.openWatches).toBe(0);
  });
});
