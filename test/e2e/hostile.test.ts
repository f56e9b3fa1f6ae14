/**
 * What a hostile network can send to the port, one kind after the other, at a server in a process of its own: the same process is up
 * afterwards, its memory is back, and an honest client beside it is served throughout. HOSTILE_DOSE: how much of each (default 1).
 * Needs dist/ (npm run build).
 */
import { connect as connectSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { TaskControllerService, WatchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { eventually } from "../support/eventually.ts";
import { envelope, grpcHeaders, http2Request, openHttp2, sendBytes } from "../support/raw-http.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { serveProgram } from "../support/served-program.ts";

const dose = Number(process.env["HOSTILE_DOSE"] ?? 1);
const http2Preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const task = { controller: "steps", taskId: "watched" };

async function times(count: number, attack: (i: number) => Promise<unknown>): Promise<void> {
  const size = 25;
  for (let i = 0; i < count * dose; i += size) {
    await Promise.all(Array.from({ length: Math.min(size, count * dose - i) }, (_, j) => attack(i + j)));
  }
}

/** A watch whose answers are never read, for as long as the socket is open. */
async function neverRead(port: number): Promise<() => void> {
  const socket = connectSocket({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("connect", resolve));
  const body = envelope(
    toBinary(WatchTaskRequestSchema, create(WatchTaskRequestSchema, { ...task, includeLogs: true })),
  );
  const head =
    "POST /stint.v1.TaskControllerService/WatchTask HTTP/1.1\r\nhost: a\r\ncontent-type: application/connect+proto\r\n";
  socket.write(`${head}connect-protocol-version: 1\r\ncontent-length: ${body.byteLength}\r\n\r\n`);
  socket.write(body);
  socket.pause();
  return () => socket.destroy();
}

type Attack = (port: number) => Promise<void>;

const attacks: Readonly<Record<string, Attack>> = {
  garbage: (port) =>
    times(200, (i) =>
      sendBytes(port, Buffer.from(Array.from({ length: 512 }, (_, j) => (i * 31 + j * 7) % 256)), { quietMs: 20 }),
    ),
  "half a preface": (port) =>
    times(200, (i) => sendBytes(port, http2Preface.subarray(0, 1 + (i % 23)), { quietMs: 20 })),
  "an authority that is none, or is missing": (port) =>
    times(200, (i) => http2Request(port, { ...grpcHeaders, ":authority": ["a:99999", "[", "", "a b"][i % 4] })),
  "a length prefix that lies": (port) =>
    times(200, () => http2Request(port, grpcHeaders, envelope(Buffer.alloc(8), { claimedBytes: 0xffff_ffff }))),
  "a compression bomb": (port) => {
    const bomb = envelope(gzipSync(Buffer.alloc(200 * 1024 * 1024)), { flags: 1 });
    return times(25, () => http2Request(port, { ...grpcHeaders, "grpc-encoding": "gzip" }, bomb));
  },
  "a flood of headers": (port) => {
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-${i}`, "v".repeat(1_000)]));
    return times(200, () => http2Request(port, { ...grpcHeaders, ...many }));
  },
  "thousands of streams that are opened and reset": async (port) => {
    const session = openHttp2(port);
    for (let i = 0; i < 3_000 * dose && !session.destroyed; i += 1) {
      const stream = session.request(grpcHeaders);
      stream.on("error", () => {});
      stream.close(8);
      if (i % 100 === 0) await sleep(1);
    }
    session.destroy();
  },
  "peers that never read": async (port) => {
    const leave = await Promise.all(Array.from({ length: 30 }, () => neverRead(port)));
    await sleep(2_000 * dose);
    for (const each of leave) each();
  },
};

test("a hostile network: the same process is up, its memory is back, and an honest client was served throughout", async () => {
  await using scratch = await makeScratchDirectory();
  // The honest client is at the same address as the others.
  await using server = await serveProgram(scratch.path, { limits: { sessionsPerIpMax: 1_000 } });
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: server.baseUrl }));
  await client.launchTask({ ...task, payload: { case: "jsonMetadata", value: '{"limit": 1000000, "intervalMs": 5}' } });
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
  for (const [name, attack] of Object.entries(attacks)) {
    const served = honest.served;
    await attack(server.port);
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
