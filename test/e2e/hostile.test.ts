/**
 * What a hostile network can send to the port, one kind after the other, at a server in a process of its own: the same process is up
 * afterwards, its memory is back, and an honest client beside it is served throughout. HOSTILE_DOSE: how much of each (default 1).
 * Needs dist/ (npm run build).
 */
import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { TaskControllerService, WatchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { eventually } from "../support/eventually.ts";
import { callHeaders, endHeaders, endStream, frame, FrameSocket, frameType, uint32 } from "../support/raw-frames.ts";
import { envelope, grpcHeaders, http2Request, type RawAnswer } from "../support/raw-http.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { type ServedProgram, serveProgram } from "../support/served-program.ts";

const dose = Number(process.env["HOSTILE_DOSE"] ?? 1);
const http2Preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const task = { controller: "steps", taskId: "watched" };
/** One with a status that is large. */
const large = { controller: "steps", taskId: "large" };
const largeBytes = 250_000;
const servicePath = "/stint.v1.TaskControllerService";

/** Resolves to how many of the attacks are known to have arrived. */
async function times(count: number, attack: (i: number) => Promise<boolean>): Promise<number> {
  const size = 25;
  let arrived = 0;
  for (let i = 0; i < count * dose; i += size) {
    const all = await Promise.all(Array.from({ length: Math.min(size, count * dose - i) }, (_, j) => attack(i + j)));
    arrived += all.filter(Boolean).length;
  }
  return arrived;
}

/** Whether the server has taken the bytes: the socket was connected and has none of them left. */
async function throwBytes(port: number, bytes: Buffer): Promise<boolean> {
  const socket = connectSocket({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  await once(socket, "connect");
  await new Promise((resolve) => socket.write(bytes, resolve));
  await new Promise((resolve) =>
    socket
      .once("close", resolve)
      .setTimeout(20, () => resolve(undefined))
      .resume(),
  );
  const isTaken = socket.bytesWritten === bytes.byteLength && socket.writableLength === 0;
  socket.destroy();
  return isTaken;
}

/** Whether the server has answered the request, with an error of its own or with that of HTTP/2. */
async function isRefused(answer: Promise<RawAnswer>): Promise<boolean> {
  const { grpcStatus = 0, resetCode } = await answer;
  return grpcStatus > 0 || resetCode !== undefined;
}

const streamsPerPeer = 500;

/** Opens streams and resets them, and waits until the server has seen all of that or has closed the connection. Whether it has seen all. */
async function openAndReset(port: number): Promise<boolean> {
  const peer = new FrameSocket(port);
  const headers = callHeaders(`${servicePath}/GetServerInfo`);
  const ids = Array.from({ length: streamsPerPeer }, (_, i) => 1 + 2 * i);
  const frames = ids.flatMap((id) => [
    frame(frameType.headers, endHeaders, id, headers),
    frame(frameType.rstStream, 0, id, uint32(8)),
  ]);
  await peer.send(...frames, frame(frameType.ping, 0, 0, Buffer.alloc(8)));
  const isSeen = (): boolean => peer.received.some(({ type }) => type === frameType.ping);
  await Promise.race([eventually(() => expect(isSeen()).toBe(true), 20_000), peer.closed]);
  peer.destroy();
  return isSeen();
}

const windowBytes = 1_024;

/** A watch whose peer has room for 1,024 bytes and never makes any. */
function neverMakesRoom(port: number) {
  const peer = new FrameSocket(port);
  const message = toBinary(WatchTaskRequestSchema, create(WatchTaskRequestSchema, { ...task, includeLogs: true }));
  const initialWindowSize = Buffer.concat([Buffer.from([0, 4]), uint32(windowBytes)]);
  void peer.send(
    frame(frameType.settings, 0, 0, initialWindowSize),
    frame(frameType.headers, endHeaders, 1, callHeaders(`${servicePath}/WatchTask`)),
    frame(frameType.data, endStream, 1, envelope(message)),
  );
  const received = (): number =>
    peer.received
      .filter(({ type }) => type === frameType.data)
      .reduce((sum, { payload }) => sum + payload.byteLength, 0);
  return { received, leave: () => peer.destroy() };
}

const pipelined = 80;

/** Asks for a large status many times over HTTP/1.1, and reads nothing before it is told to. */
async function neverReads(port: number) {
  const socket = connectSocket({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.pause();
  await once(socket, "connect");
  const body = JSON.stringify(large);
  const head = `POST ${servicePath}/GetTaskStatus HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n`;
  socket.write(`${head}content-length: ${body.length}\r\n\r\n${body}`.repeat(pipelined));
  const readAll = async (): Promise<number> => {
    socket.resume();
    await eventually(() => expect(socket.bytesRead).toBeGreaterThan(pipelined * largeBytes), 30_000);
    return socket.bytesRead;
  };
  return { readAll, leave: () => socket.destroy() };
}

/** Resolves to how much of it has arrived, in a unit of its own. */
type Attack = (server: ServedProgram) => Promise<number>;

/** Each with how much has to arrive, so that none is one in name only. */
const attacks: Readonly<Record<string, { readonly least: number; readonly run: Attack }>> = {
  garbage: {
    least: 200,
    run: ({ port }) =>
      times(200, (i) => throwBytes(port, Buffer.from(Array.from({ length: 512 }, (_, j) => (i * 31 + j * 7) % 256)))),
  },
  "half a preface": {
    least: 200,
    run: ({ port }) => times(200, (i) => throwBytes(port, http2Preface.subarray(0, 1 + (i % 23)))),
  },
  "an authority that is none, or is missing": {
    least: 200,
    run: ({ port }) =>
      times(200, (i) =>
        isRefused(http2Request(port, { ...grpcHeaders, ":authority": ["a:99999", "[", "%", "a b"][i % 4] })),
      ),
  },
  "a length prefix that lies": {
    least: 200,
    run: ({ port }) =>
      times(200, () =>
        isRefused(http2Request(port, grpcHeaders, envelope(Buffer.alloc(8), { claimedBytes: 0xffff_ffff }))),
      ),
  },
  "a compression bomb": {
    least: 25,
    run: ({ port }) => {
      const bomb = envelope(gzipSync(Buffer.alloc(200 * 1024 * 1024)), { flags: 1 });
      return times(25, () => isRefused(http2Request(port, { ...grpcHeaders, "grpc-encoding": "gzip" }, bomb)));
    },
  },
  "a flood of headers": {
    least: 200,
    run: ({ port }) => {
      const many = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-${i}`, "v".repeat(1_000)]));
      return times(200, () => isRefused(http2Request(port, { ...grpcHeaders, ...many })));
    },
  },
  "thousands of streams that are opened and reset": {
    // As many times 500.
    least: 20,
    run: ({ port }) => times(20, () => openAndReset(port)),
  },
  "peers that never make room": {
    least: 30,
    run: async ({ port }) => {
      const peers = Array.from({ length: 30 * dose }, () => neverMakesRoom(port));
      // There is more to send all the time, and no more than that is.
      await eventually(
        () => expect(peers.map(({ received }) => received())).toEqual(peers.map(() => windowBytes)),
        20_000,
      );
      await sleep(1_000);
      const stalled = peers.filter(({ received }) => received() === windowBytes).length;
      for (const { leave } of peers) leave();
      return stalled;
    },
  },
  "peers that never read": {
    least: pipelined * largeBytes,
    run: async (server) => {
      const before = await server.memory();
      const peers = await Promise.all(Array.from({ length: 30 * dose }, () => neverReads(server.port)));
      await sleep(2_000);
      // They have asked for 600 MB; without backpressure it would be here.
      expect((await server.memory()) - before).toBeLessThan(200 * 1024 * 1024);
      const read = await peers[0]?.readAll();
      for (const { leave } of peers) leave();
      return (read ?? 0) * dose;
    },
  },
};

test("a hostile network: the same process is up, its memory is back, and an honest client was served throughout", async () => {
  await using scratch = await makeScratchDirectory();
  // The honest client is at the same address as the others.
  await using server = await serveProgram(scratch.path, { limits: { sessionsPerIpMax: 1_000 } });
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: server.baseUrl }));
  await client.launchTask({ ...task, payload: { case: "jsonMetadata", value: '{"limit": 1000000, "intervalMs": 5}' } });
  await client.launchTask({
    ...large,
    payload: { case: "jsonMetadata", value: JSON.stringify({ limit: 0, pad: "x".repeat(largeBytes) }) },
  });
  let isOver = false;
  const honest = { served: 0, failures: [] as unknown[] };
  const serving = (async () => {
    while (!isOver) {
      await client.getTaskStatus(task, { timeoutMs: 10_000 }).then(
        () => (honest.served += 1),
        (error: unknown) => honest.failures.push(error),
      );
      await sleep(20);
    }
  })();
  await sleep(1_000);
  const before = await server.memory();
  for (const [name, { least, run }] of Object.entries(attacks)) {
    const served = honest.served;
    expect(await run(server), name).toBeGreaterThanOrEqual(least * dose);
    // Served while it went on, or at once after it.
    await eventually(() => expect(honest.served, name).toBeGreaterThan(served), 10_000);
    expect(honest.failures, name).toEqual([]);
  }
  // What was allocated is let go of when it is needed again, so it may take a while.
  await eventually(async () => expect((await server.memory()) - before).toBeLessThan(150 * 1024 * 1024), 30_000);
  isOver = true;
  await serving;
  expect(() => process.kill(server.pid, 0)).not.toThrow();
  expect(await Promise.race([server.exited, sleep(0)])).toBeUndefined();
  expect(honest.served).toBeGreaterThan(50);
  expect(server.log.filter(({ level }) => level === "fatal")).toEqual([]);
}, 180_000);
