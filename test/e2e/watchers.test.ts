/**
 * Many watchers that vanish, or do not read, and what they cost the program. WATCHERS: how many (default 100); from 1,000 on it is judged too by how much
 * later those that read hear of things. FAST_WATCHERS: how many read (default 5); WATCH_STEPS: how many updates there are, ten a second (default 100). Needs dist/ (npm run build).
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readlink } from "node:fs/promises";
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { TaskState } from "#gen/core/v1/core_pb.js";
import {
  TaskControllerService,
  WatchTaskRequestSchema,
  type WatchTaskResponse,
  WatchTaskResponseSchema,
} from "#gen/stint/v1/controller_pb.js";
import { timestampMs } from "../../src/task/task.ts";
import { canary } from "../support/canary.ts";
import { eventually } from "../support/eventually.ts";
import { envelope, grpcHeaders } from "../support/raw-http.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { type ServedProgram, serveProgram } from "../support/served-program.ts";

const watchers = Number(process.env["WATCHERS"] ?? 100);
const fastWatchers = Number(process.env["FAST_WATCHERS"] ?? 5);
const steps = Number(process.env["WATCH_STEPS"] ?? 100);
const perSession = 20;

const task = { controller: "steps", taskId: "a" };
const headers = { ...grpcHeaders, ":path": "/stint.v1.TaskControllerService/WatchTask" };
const request = envelope(
  toBinary(WatchTaskRequestSchema, create(WatchTaskRequestSchema, { ...task, includeLogs: true })),
);

function launch(served: ServedProgram, limit: number, intervalMs: number, taskId = task.taskId) {
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: served.baseUrl }));
  const payload = { case: "jsonMetadata" as const, value: JSON.stringify({ limit, intervalMs, canary }) };
  return client.launchTask({ ...task, taskId, labels: { secret: canary }, payload });
}

/** Those that read, to the end of the task; resolves to how late they heard of log entries, 99 of 100 at most, in ms. */
async function follow(served: ServedProgram, taskId: string): Promise<number> {
  const lateMs: number[] = [];
  const one = async (): Promise<void> => {
    const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: served.baseUrl }));
    let last: WatchTaskResponse | undefined;
    for await (const message of client.watchTask({ ...task, taskId, includeLogs: true })) {
      const nowMs = performance.timeOrigin + performance.now();
      // The first has what was there before anybody listened.
      const logs = last === undefined ? [] : message.logs;
      last = message;
      for (const { timestamp } of logs) if (timestamp !== undefined) lateMs.push(nowMs - timestampMs(timestamp));
    }
    expect(last?.status).toMatchObject({ state: TaskState.Completed, progress: { current: BigInt(steps) } });
  };
  await Promise.all(Array.from({ length: fastWatchers }, one));
  expect(lateMs.length, "log entries").toBeGreaterThan((fastWatchers * steps) / 2);
  lateMs.sort((a, b) => a - b);
  return lateMs[Math.floor(lateMs.length * 0.99)] ?? Number.NaN;
}

/** How many sockets the program has open. Its other files come and go with what the store writes. */
async function openSockets({ pid }: ServedProgram): Promise<number> {
  const files = await readdir(`/proc/${pid}/fd`);
  const targets = await Promise.all(files.map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => "")));
  return targets.filter((target) => target.startsWith("socket:")).length;
}

/** A process that watches, so many times; resolves when every watch has begun. */
async function spawnWatchers(served: ServedProgram) {
  const source = `
    const { connect } = require("node:http2");
    const [url, headers, body, count, perSession] = JSON.parse(process.argv[1]);
    let session, begun = 0;
    for (let i = 0; i < count; i += 1) {
      if (i % perSession === 0) session = connect(url).on("error", () => {});
      const stream = session.request(headers).on("error", () => {});
      stream.once("data", () => { begun += 1; if (begun === count) console.log("all"); });
      stream.end(Buffer.from(body, "base64"));
    }`;
  const args = JSON.stringify([served.baseUrl, headers, request.toString("base64"), watchers, perSession]);
  const child = spawn(process.execPath, ["-e", source, args], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return child;
}

test(`${watchers} watchers that vanish at once leave nothing behind`, { timeout: 180_000 }, async () => {
  await using scratch = await makeScratchDirectory();
  const limits = { watchersMax: watchers, pingIntervalMs: 500, pingTimeoutMs: 500 };
  await using served = await serveProgram(scratch.path, { limits });
  await launch(served, 1_000_000, 1_000);
  const baseline = await openSockets(served);
  const frozen = await spawnWatchers(served);
  expect(await openSockets(served)).toBeGreaterThanOrEqual(baseline + watchers / perSession);
  // Its connections stay, and nobody is there any more.
  frozen.kill("SIGSTOP");
  await eventually(async () => expect(await openSockets(served)).toBeLessThanOrEqual(baseline), 60_000);
  // The log comes by a way of its own, and may be later.
  await eventually(() => {
    const lost = served.log.filter(({ msg }) => msg === "a peer does not answer, and is taken for gone");
    expect(lost.map((line) => line["openStreams"])).toEqual(Array(watchers / perSession).fill(perSession));
    expect(lost.at(-1)).toMatchObject({ fault: "peers_lost", count: lost.length });
  });
  // There is room for as many again.
  const next = await spawnWatchers(served);
  for (const child of [frozen, next]) child.kill("SIGKILL");
});

/** A watch that does not read until it is told to; its messages are kept. */
class SlowWatch {
  readonly messages: WatchTaskResponse[] = [];
  readonly #stream: ClientHttp2Stream;
  #rest: Buffer = Buffer.alloc(0);

  constructor(session: ClientHttp2Session) {
    this.#stream = session.request(headers);
    this.#stream.on("error", () => {});
    this.#stream.pause();
    this.#stream.end(request);
  }

  /** Reads all there is; resolves at the end of the stream. */
  async read(): Promise<void> {
    this.#stream.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#stream.resume();
    await new Promise((resolve) => this.#stream.once("close", resolve));
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.byteLength >= 5) {
      const end = 5 + this.#rest.readUInt32BE(1);
      if (this.#rest.byteLength < end) return;
      this.messages.push(fromBinary(WatchTaskResponseSchema, this.#rest.subarray(5, end)));
      this.#rest = this.#rest.subarray(end);
    }
  }
}

test(`${watchers} watchers that do not read cost little, slow nobody, and miss no transition`, {
  timeout: 180_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  // What is held for them must fit into this; with no limit, what could be collected would count too.
  await using served = await serveProgram(scratch.path, { heapMaxMb: 100 });
  await launch(served, steps, 1, "alone");
  const aloneMs = await follow(served, "alone");
  await launch(served, steps, 1);
  const before = await served.memory();
  // A small window, which a few messages fill.
  const sessions = Array.from({ length: watchers / perSession }, () =>
    connectHttp2(served.baseUrl, { settings: { initialWindowSize: 1 } }).on("error", () => {}),
  );
  const slow = sessions.flatMap((session) => Array.from({ length: perSession }, () => new SlowWatch(session)));

  const besideMs = await follow(served, task.taskId);
  const grownBytes = (await served.memory()) - before;
  const late = `${besideMs.toFixed(0)} ms late beside them and ${aloneMs.toFixed(0)} alone (p99)`;
  const line = `${watchers} watchers that do not read, ${fastWatchers} that do, ${steps} updates: RSS +${(grownBytes / 2 ** 20).toFixed(0)} MiB, ${late}`;
  process.stderr.write(`slow watchers: ${line}\n`);
  expect(grownBytes).toBeLessThan(150 * 1024 * 1024);
  // Of a moment with few watchers a percentile is noise.
  if (watchers >= 1_000) expect(besideMs, line).toBeLessThan(2 * aloneMs + 20);

  for (const session of sessions) session.settings({ initialWindowSize: 65_535 });
  await Promise.all(slow.map((watch) => watch.read()));
  for (const { messages } of slow) {
    const revisions = messages.map(({ revision }) => revision);
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => Number(a - b)));
    const logs = messages.flatMap((message) => message.logs.map(({ seq }) => Number(seq)));
    expect(logs).toEqual(logs.map((_, i) => (logs[0] ?? 0) + i));
    expect(logs.at(-1)).toBe(steps);
    expect(messages.at(-1)?.status?.state).toBe(TaskState.Completed);
    // The newest progress may be skipped over; that it was skipped shows that nothing was kept for who does not read.
    expect(messages.length).toBeLessThan(steps);
  }
  for (const session of sessions) session.destroy();
});
