/** What SIGTERM does to a server that is busy. Needs dist/ (npm run build). */
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { status as Status } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "#gen/grpc/health/v1/health_pb.js";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { openClient } from "../../src/cli/client.ts";
import type { RpcError } from "../../src/cli/rpc-error.ts";
import { systemClock } from "../../src/clock.ts";
import { canary } from "../support/canary.ts";
import { type CallError, callError } from "../support/call-error.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { type ServedProgram, serveProgram } from "../support/served-program.ts";

/** How often it is stopped in the middle of launches. */
const stops = Number(process.env["STOP_ROUNDS"] ?? 4);
/** What the second signals go by; printed. */
const seed = Number(process.env["STOP_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
/** At most as late does a second signal come: while it stops, or right after that. */
const secondMaxMs = 300;
const watchesEach = 4;
/** A call that is neither answered nor cut off by then has been forgotten. */
const answerMaxMs = 60_000;

const task = { controller: "steps", taskId: "long" };
const payload = { case: "jsonMetadata" as const, value: JSON.stringify({ limit: 1_000_000, intervalMs: 20, canary }) };

function transports({ baseUrl }: ServedProgram): [string, Transport][] {
  return [
    ["grpc", createGrpcTransport({ baseUrl })],
    ["grpc-web over HTTP/1.1", createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
    ["connect over HTTP/1.1", createConnectTransport({ baseUrl, httpVersion: "1.1" })],
    ["connect over HTTP/2", createConnectTransport({ baseUrl, httpVersion: "2" })],
  ];
}

const slowly = { case: "jsonMetadata" as const, value: JSON.stringify({ limit: 1_000_000, intervalMs: 2_000 }) };

interface Watched {
  /** The newest revision that was sent. */
  revision: bigint;
  /** How the watch ended; rejects where it ended with OK. */
  readonly ended: Promise<CallError>;
}

/** Watches the task; resolves when the first message is there. */
async function watch(transport: Transport, watchedTask = task): Promise<Watched> {
  const messages = createClient(TaskControllerService, transport).watchTask(watchedTask)[Symbol.asyncIterator]();
  const first = await messages.next();
  const watched = { revision: first.done === true ? 0n : first.value.revision };
  async function rest() {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      watched.revision = next.value.revision;
    }
  }
  return Object.assign(watched, { ended: callError(rest()) });
}

/** All that health says, until its watch ends. */
async function watchHealth(transport: Transport, seen: ServingStatus[], onFirst: () => void): Promise<void> {
  for await (const { status } of createClient(Health, transport).watch({})) {
    seen.push(status);
    onFirst();
  }
}

describe("SIGTERM", () => {
  test("says NOT_SERVING, ends watches with where to go on, and the process exits with 0", async () => {
    await using scratch = await makeScratchDirectory();
    await using served = await serveProgram(scratch.path);
    const all = transports(served);
    const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: served.baseUrl }));
    await client.launchTask({ ...task, payload });
    const watches = await Promise.all(all.map(([, transport]) => watch(transport)));
    const seen: ServingStatus[] = [];
    let healthEnded: Promise<CallError> | undefined;
    await new Promise<void>((resolve) => {
      healthEnded = callError(watchHealth(createGrpcTransport({ baseUrl: served.baseUrl }), seen, resolve));
    });

    const stoppedAt = performance.now();
    served.kill("SIGTERM");
    for (const { ended } of watches) {
      expect(await ended).toMatchObject({ code: "Unavailable", reason: "DRAINING", retries: true });
    }
    for (const { ended, revision } of watches)
      expect((await ended).metadata).toEqual({ since_revision: String(revision) });
    expect(await healthEnded).toMatchObject({ code: "Unavailable" });
    expect(seen).toEqual([ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
    expect(await served.exited).toEqual({ code: 0, signal: null });
    expect(performance.now() - stoppedAt).toBeLessThan(10_000);
    expect(served.log.slice(-2).map(({ msg }) => msg)).toEqual(["the server is stopping", "the server has stopped"]);
  });

  test(`under load, in ${stops} rounds, and a second signal in every other: nothing that was answered is lost`, {
    timeout: 60_000 + stops * 30_000,
  }, async () => {
    const random = new SeededRandom(seed);
    await using scratch = await makeScratchDirectory();
    const answered: Answered = { launches: [], cancels: [] };
    const seen = { ended: 0, cutShort: 0, told: 0, longestMs: 0 };
    for (let round = 0; round < stops; round += 1) {
      await using served = await serveProgram(scratch.path);
      const second = round % 2 === 0 ? undefined : random.int(0, secondMaxMs);
      const { code, told, tookMs } = await stopUnderLoad(served, { round, second, answered });
      if (code === 0) {
        seen.ended += 1;
        seen.told += told;
        seen.longestMs = Math.max(seen.longestMs, tookMs);
        expect(told, `watches that were told where to go on, in round ${round}`).toBe(watchesEach);
        expect(tookMs).toBeLessThan(10_000);
      } else {
        seen.cutShort += 1;
        // Which of two that are under way comes second is the system's choice.
        expect([143, 130], `round ${round} with a second signal after ${second} ms`).toContain(code);
        expect(second).toBeDefined();
      }
    }
    await using served = await serveProgram(scratch.path);
    const there = await tasksOf(served);
    expect(answered.launches.filter((taskId) => !there.has(taskId))).toEqual([]);
    expect(answered.cancels.filter((taskId) => there.get(taskId)?.cancel === undefined)).toEqual([]);
    process.stderr.write(
      `stops under load: ${stops} rounds, STOP_SEED=${seed}: ${seen.ended} exits with 0 in ${Math.round(seen.longestMs)} ms at most, ${seen.cutShort} by a second signal; ` +
        `${seen.told} watches told; ${answered.launches.length} launches and ${answered.cancels.length} cancels answered, 0 lost\n`,
    );
    expect(answered.launches.length).toBeGreaterThanOrEqual(20 * stops);
    expect(answered.cancels.length).toBeGreaterThanOrEqual(stops);
    expect(seen.ended).toBeGreaterThanOrEqual(Math.ceil(stops / 2));
    if (stops >= 10) expect(seen.cutShort).toBeGreaterThan(0);
  });
});

/** What clients were told is done. */
interface Answered {
  readonly launches: string[];
  readonly cancels: string[];
}

/** Signals while four clients launch and cancel, and others watch. */
async function stopUnderLoad(
  served: ServedProgram,
  { round, second, answered }: { round: number; second: number | undefined; answered: Answered },
): Promise<{ code: number | null; told: number; tookMs: number }> {
  const before = answered.launches.length;
  let lanes = 4;
  const launching = Promise.all(
    [0, 1, 2, 3].map((lane) => launchUntilRefused(served, `r${round}-${lane}`, answered).finally(() => (lanes -= 1))),
  );
  while (answered.launches.length === before && lanes > 0) await sleep(5);
  const [taskId = ""] = answered.launches.slice(before);
  const transport = createGrpcTransport({ baseUrl: served.baseUrl });
  const watches = await Promise.all(
    Array.from({ length: watchesEach }, () => watch(transport, { controller: "steps", taskId })),
  );
  while (answered.launches.length < before + 20 && lanes > 0) await sleep(5);
  const fromMs = performance.now();
  served.kill("SIGTERM");
  if (second !== undefined) {
    await sleep(second);
    // Two of one kind that are under way are one.
    served.kill("SIGINT");
  }
  const { code } = await served.exited;
  const tookMs = performance.now() - fromMs;
  await launching;
  let told = 0;
  for (const watched of watches) {
    const { code: status, reason, metadata } = await watched.ended;
    const isRight = status === "Unavailable" && reason === "DRAINING";
    if (isRight && metadata?.["since_revision"] === String(watched.revision)) told += 1;
  }
  return { code, told, tookMs };
}

async function tasksOf({ baseUrl }: ServedProgram): Promise<Map<string, TaskStatus | undefined>> {
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl }));
  const there = new Map<string, TaskStatus | undefined>();
  let pageToken = "";
  do {
    const page = await client.listTasks({ controller: "steps", pageSize: 1_000, pageToken });
    for (const { taskId, status } of page.tasks) there.set(taskId, status);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return there;
}

/**
 * Launches one task after the other until the server takes no more, and cancels some; adds what was answered.
 *
 * Over grpc-js: where a connection is reset after its GOAWAY, Node closes its streams without an error, and a unary call of
 * connect-node 2.1.2 that has no answer by then is never settled.
 */
async function launchUntilRefused({ port }: ServedProgram, name: string, answered: Answered): Promise<void> {
  const client = openClient(`127.0.0.1:${port}`, { clock: systemClock });
  const { launchTask, cancelTask } = TaskControllerService.method;
  const options = { timeoutMs: answerMaxMs };
  for (let i = 0; ; i += 1) {
    const taskId = `${name}-${i}`;
    const which = { controller: "steps", taskId };
    try {
      // Slow ones, so that hundreds of them leave the machine to the launches.
      await client.call(launchTask, { ...which, payload: slowly }, options);
      answered.launches.push(taskId);
      if (i % 3 !== 2) continue;
      await client.call(cancelTask, which, options);
      answered.cancels.push(taskId);
    } catch (error) {
      client.close();
      // Refused, or cut off on the way: each is a call that was not answered. One that hears nothing at all was forgotten.
      expect((error as RpcError).code, `what became of ${taskId}`).not.toBe(Status.DEADLINE_EXCEEDED);
      return;
    }
  }
}

describe("a map of a request", () => {
  test("may have the key __proto__ where any key is allowed, and is refused where it is not", async () => {
    await using scratch = await makeScratchDirectory();
    await using served = await serveProgram(scratch.path);
    const launch = async (body: string) => {
      const answer = await fetch(`${served.baseUrl}/stint.v1.TaskControllerService/LaunchTask`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      return (await answer.json()) as { code?: string; message?: string; status?: { metadata: string } };
    };
    const kept = await launch('{"controller": "steps", "metadata": {"limit": 1, "__proto__": {"x": 1}}}');
    expect(kept.status?.metadata).toBe('{"__proto__":{"x":1},"limit":1}');
    const refused = await launch('{"controller": "steps", "labels": {"__proto__": "x"}}');
    expect(refused).toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("__proto__") as string,
    });
  });
});
