/**
 * T-X1: the port of a server in a process of its own, given frames of HTTP/2 and bytes of HTTP/1.1 that nobody should send, while an honest client
 * beside them goes on. At the end the same process is up, its memory, its files and its store are as they were, and it has logged no error.
 *
 * FUZZ_WIRE: how many requests, hostile frames and connections of HTTP/1.1 (default 600). FUZZ_SEED: each connection has its own, from this on.
 * Needs dist/ (npm run build).
 */
import { connect as connectSocket } from "node:net";
import { readdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { eventually } from "../support/eventually.ts";
import { endStream, FrameSocket, frameType, greedySettings, grpcStatusIn } from "../support/raw-frames.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { type ServedProgram, serveProgram } from "../support/served-program.ts";
import { printFigures, readFuzzDose, Tally } from "./fuzz-dose.ts";
import { hostileFrame, http1Bytes } from "./wire-garbage.ts";
import { endedTask, makeWireRequest, type WireChange, wireChanges } from "./wire-requests.ts";

const dose = readFuzzDose("FUZZ_WIRE", 600);
const requestsPerConnection = 40;
const connectionsAtOnce = 10;
const answerMaxMs = 15_000;

/** What servers say of their own mistakes. */
const serversMistakes = new Set([2, 13, 15]);
// A connection that broke the rules is not read any more: that its peer has gone is found out by asking.
const pings = { pingIntervalMs: 1_000, pingTimeoutMs: 1_000 };
const limits = { sessionsPerIpMax: 1_000, receiveMaxMs: 200, waitMaxMs: 500, unaryDeadlineMs: 5_000, ...pings };

type Seen = "answered" | "refused" | "reset" | "cut off" | "hostile frames" | "HTTP/1.1" | "read of HTTP/1.1";

class WireFuzz {
  readonly changes = new Tally<WireChange>();
  readonly seen = new Tally<Seen>();
  readonly codes = new Tally();
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  get count(): number {
    return this.changes.total + this.seen.of("hostile frames") + this.seen.of("HTTP/1.1");
  }

  /** One connection of either kind. */
  async connection(seed: number): Promise<void> {
    const random = new SeededRandom(seed);
    try {
      if (seed % 4 === 0) for (let i = 0; i < 8; i += 1) await this.#http1(random);
      else await this.#http2(random);
    } catch (error) {
      const command = `FUZZ_SEED=${seed} FUZZ_WIRE=1 npx vitest run test/fuzz/wire.test.ts`;
      throw new Error(`${String(error)}\n${command}`, { cause: error });
    }
  }

  async #http2(random: SeededRandom): Promise<void> {
    const peer = new FrameSocket(this.#port);
    await peer.send(greedySettings);
    const asked = new Map<number, WireChange>();
    for (let i = 0; i < requestsPerConnection; i += 1) {
      const isLast = i === requestsPerConnection - 1;
      if (isLast) await this.#judge(peer, asked);
      const streamId = 1 + 2 * i;
      const { change, frames } = makeWireRequest(streamId, random, isLast);
      asked.set(streamId, change);
      await peer.send(frames);
      this.changes.add(change);
    }
    await this.#judge(peer, asked);
    for (let i = random.int(0, 8); i > 0; i -= 1) {
      await peer.send(hostileFrame(random, 1 + 2 * requestsPerConnection));
      this.seen.add("hostile frames");
    }
    if (random.chance(0.3)) peer.socket.end();
    await Promise.race([peer.closed, sleep(random.int(0, 10))]);
    peer.destroy();
  }

  /** Every stream comes to an end, or the connection does. What was judged is taken from `asked`. */
  async #judge(peer: FrameSocket, asked: Map<number, WireChange>): Promise<void> {
    const open = new Map(asked);
    for (const [streamId, change] of asked) if (change.startsWith("reset")) open.delete(streamId);
    let isClosed = false;
    void peer.closed.then(() => (isClosed = true));
    for (const untilMs = performance.now() + answerMaxMs; open.size > 0 && !isClosed; await sleep(2)) {
      const received = peer.received.splice(0);
      for (const each of received) this.#see(each, asked, open);
      if (received.some(({ type }) => type === frameType.goaway)) break;
      if (performance.now() > untilMs) throw new Error(`no answer to ${JSON.stringify([...open])}`);
    }
    this.seen.add("cut off", open.size);
    asked.clear();
  }

  #see(
    { type, flags, streamId, payload }: FrameSocket["received"][number],
    asked: ReadonlyMap<number, WireChange>,
    open: Map<number, WireChange>,
  ): void {
    const change = asked.get(streamId);
    if (type === frameType.rstStream && open.delete(streamId)) this.seen.add("reset");
    if (
      type === frameType.data &&
      /"code":"(internal|unknown|data_loss)"|grpc-status: ?(2|13|15)\b/.test(payload.toString("latin1"))
    ) {
      throw new Error(`${change}: the answer is ${payload.toString("latin1")}`);
    }
    if (type === frameType.headers) {
      const code = grpcStatusIn(payload);
      if (code !== undefined) this.codes.add(String(code));
      if (code !== undefined && serversMistakes.has(code)) throw new Error(`${change}: grpc-status is ${code}`);
      if (code !== undefined) this.seen.add(code === 0 ? "answered" : "refused");
      // 500, in the static table of HPACK; the first block has the size of the other table before it.
      if (payload[(payload[0] ?? 0) >> 5 === 1 ? 1 : 0] === 0x8e) throw new Error(`${change}: the status is 500`);
    }
    if ((type === frameType.headers || type === frameType.data) && (flags & endStream) !== 0) open.delete(streamId);
  }

  async #http1(random: SeededRandom): Promise<void> {
    const socket = connectSocket({ port: this.#port, host: "127.0.0.1", allowHalfOpen: true });
    const chunks: Buffer[] = [];
    socket.on("error", () => {}).on("data", (chunk: Buffer) => chunks.push(chunk));
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    const answered = new Promise<void>((resolve) => socket.once("data", () => resolve()));
    const bytes = http1Bytes(random);
    if (random.chance(0.5)) socket.end(bytes);
    else socket.write(bytes);
    await Promise.race([closed, answered.then(() => sleep(5)), sleep(random.chance(0.5) ? 1_000 : 5)]);
    socket.destroy();
    const text = Buffer.concat(chunks).toString("latin1");
    this.seen.add("HTTP/1.1");
    if (text.startsWith("HTTP/1.1 ")) this.seen.add("read of HTTP/1.1");
    if (/^HTTP\/1\.1 50[0-3]|"code":"(internal|unknown|data_loss)"|grpc-status: ?(2|13|15)\b/m.test(text)) {
      throw new Error(`HTTP/1.1: the answer is ${text.slice(0, 1_000)}\n${bytes.toString("hex")}`);
    }
  }
}

/** Somebody who asks as one should, all the time. */
function beHonest(client: Client<typeof TaskControllerService>) {
  let isOver = false;
  const seen = { served: 0, failures: [] as unknown[] };
  const over = (async () => {
    for (; !isOver; await sleep(20)) {
      await client.getTaskStatus(endedTask, { timeoutMs: 10_000 }).then(
        () => (seen.served += 1),
        (error: unknown) => seen.failures.push(error),
      );
    }
  })();
  const stop = (): Promise<void> => {
    isOver = true;
    return over;
  };
  return { seen, stop, [Symbol.asyncDispose]: stop };
}

async function openFiles({ pid }: ServedProgram): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

test(`${dose.count} requests and frames that nobody should send: the same process serves, and nothing has changed`, {
  timeout: 120_000 + dose.count * 20,
}, async () => {
  await using scratch = await makeScratchDirectory();
  await using server = await serveProgram(scratch.path, { limits });
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: server.baseUrl }));
  await client.launchTask({ ...endedTask, payload: { case: "jsonMetadata", value: '{"limit":1}' } });
  await client.waitTask(endedTask);
  const storeNow = async () => (await client.getServerInfo({})).store?.revision;
  // The delivery of the end is a commit, too.
  await sleep(500);
  const revision = await storeNow();
  await using honest = beHonest(client);
  const fuzz = new WireFuzz(server.port);
  let exit: unknown;
  void server.exited.then((how) => (exit = how));
  let seed = dose.seed;
  const fuzzUpTo = (count: number): Promise<unknown> => {
    const lane = async (): Promise<void> => {
      while (fuzz.count < count) {
        const own = seed;
        seed += 1;
        await fuzz.connection(own);
        if (exit !== undefined) throw new Error(`the server has ended at FUZZ_SEED=${own}: ${JSON.stringify(exit)}`);
      }
    };
    return Promise.all(Array.from({ length: count === 1 ? 1 : connectionsAtOnce }, lane));
  };
  const beganMs = performance.now();
  // What is loaded and compiled only once is no leak.
  await fuzzUpTo(Math.ceil(dose.count / 5));
  const before = { memory: await server.memory(), files: await openFiles(server) };
  await fuzzUpTo(dose.count);
  const served = honest.seen.served;
  await eventually(() => expect(honest.seen.served).toBeGreaterThan(served), 10_000);
  await eventually(async () => expect((await server.memory()) - before.memory).toBeLessThan(100 * 1024 * 1024), 30_000);
  await eventually(async () => expect(await openFiles(server)).toBeLessThanOrEqual(before.files + 5), 60_000);
  await honest.stop();
  const grown = Math.round(((await server.memory()) - before.memory) / 2 ** 20);
  if (dose.isAsked) {
    const figures = `${fuzz.seen}; codes ${fuzz.codes}; honest ${honest.seen.served}; memory ${grown} MiB; ${fuzz.changes}`;
    printFigures("fuzzed wire", dose, beganMs, figures);
  }
  expect(honest.seen.failures).toEqual([]);
  expect(await storeNow()).toBe(revision);
  expect(exit).toBeUndefined();
  const complaints = server.log.filter(
    ({ level, msg }) => level === "error" || level === "fatal" || msg === "a request could not be answered",
  );
  expect(complaints).toEqual([]);
  if (dose.count === 1) return;
  for (const change of wireChanges) expect(fuzz.changes.of(change), change).toBeGreaterThan(dose.count / 400);
  for (const what of ["answered", "refused", "reset"] as const)
    expect(fuzz.seen.of(what), what).toBeGreaterThan(dose.count / 50);
  for (const what of ["hostile frames", "HTTP/1.1", "read of HTTP/1.1"] as const)
    expect(fuzz.seen.of(what), what).toBeGreaterThan(dose.count / 300);
});
