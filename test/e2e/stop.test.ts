/** What SIGTERM does to a server that is busy. Needs dist/ (npm run build). */
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "#gen/grpc/health/v1/health_pb.js";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { type CallError, callError } from "../support/call-error.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { type ServedProgram, serveProgram } from "../support/served-program.ts";

/** How often it is stopped in the middle of launches. */
const stops = Number(process.env["STOP_ROUNDS"] ?? 2);

const task = { controller: "steps", taskId: "long" };
const payload = { case: "jsonMetadata" as const, value: JSON.stringify({ limit: 1_000_000, intervalMs: 20 }) };

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
async function watch(transport: Transport): Promise<Watched> {
  const messages = createClient(TaskControllerService, transport).watchTask(task)[Symbol.asyncIterator]();
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

  test.each([
    ["once, and it exits with 0 when all is closed", ["SIGTERM"], [0]],
    // Two of one kind that are under way are one, so they are of two kinds; which of them comes second is the system's choice.
    ["twice, and it exits at once", ["SIGTERM", "SIGINT"], [143, 130]],
  ] as const)(
    `%s: no launch that was answered is lost, in ${stops} rounds`,
    { timeout: 60_000 + stops * 30_000 },
    async (_, signals, codes) => {
      await using scratch = await makeScratchDirectory();
      const answered: string[] = [];
      for (let round = 0; round < stops; round += 1) {
        await using served = await serveProgram(scratch.path);
        const before = answered.length;
        const launching = Promise.all(
          [0, 1, 2, 3].map((lane) => launchUntilRefused(served, `r${round}-${lane}`, answered)),
        );
        let isOver = false;
        void launching.then(() => (isOver = true));
        while (answered.length < before + 20 && !isOver) await sleep(5);
        for (const signal of signals) served.kill(signal);
        await launching;
        const { code } = await served.exited;
        expect(codes).toContain(code);
      }
      await using served = await serveProgram(scratch.path);
      const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: served.baseUrl }));
      const there = new Set<string>();
      let pageToken = "";
      do {
        const page = await client.listTasks({ controller: "steps", pageSize: 1_000, pageToken });
        for (const { taskId } of page.tasks) there.add(taskId);
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      expect(answered.length).toBeGreaterThanOrEqual(20 * stops);
      expect(answered.filter((taskId) => !there.has(taskId))).toEqual([]);
    },
  );
});

/** Launches one task after the other until the server takes no more; adds those that were answered. */
async function launchUntilRefused({ baseUrl }: ServedProgram, name: string, answered: string[]): Promise<void> {
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl }));
  for (let i = 0; ; i += 1) {
    const taskId = `${name}-${i}`;
    try {
      // Slow ones, so that hundreds of them leave the machine to the launches.
      await client.launchTask({ controller: "steps", taskId, payload: slowly });
    } catch {
      // Refused, or cut off on the way: each is a launch that was not answered.
      return;
    }
    answered.push(taskId);
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
