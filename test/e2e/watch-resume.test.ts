/** A client that watches a task of a real server, which is killed again and again. Needs dist/ (npm run build). */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { type LogEntry, TaskState } from "#gen/core/v1/core_pb.js";
import { TaskControllerService, type WatchTaskResponse } from "#gen/stint/v1/controller_pb.js";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const kills = Number(process.env["WATCH_RESUME_KILLS"] ?? 3);
const stepsPerLife = 8;

/** The program, on one port and one directory, whatever happens to its process. */
class Service implements AsyncDisposable {
  readonly client: Client<typeof TaskControllerService>;
  readonly #args: string[];
  #process: ChildProcess | undefined;

  constructor(directory: string, port: number) {
    const main = join(root, "dist/cli/main.js");
    const config = join(root, "examples/stint.yaml");
    this.#args = [
      main,
      "serve",
      "--config",
      config,
      "--no-banner",
      "--listen",
      `127.0.0.1:${port}`,
      "--data-dir",
      directory,
    ];
    const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}` });
    this.client = createClient(TaskControllerService, transport);
  }

  /** Resolves when it serves. */
  async start(): Promise<void> {
    const started = spawn(process.execPath, this.#args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#process = started;
    let said = "";
    started.stderr?.on("data", (data: Buffer) => {
      said = (said + data.toString()).slice(-4_000);
    });
    for (const untilMs = Date.now() + 20_000; ; await sleep(50)) {
      try {
        await this.client.listControllers({}, { timeoutMs: 1_000 });
        return;
      } catch (error) {
        if (started.exitCode !== null || Date.now() > untilMs)
          throw new Error(`the server is not up: ${said}`, { cause: error });
      }
    }
  }

  async kill(): Promise<void> {
    const killed = this.#process;
    if (killed === undefined || killed.exitCode !== null || killed.signalCode !== null) return;
    const exited = new Promise((resolve) => killed.once("exit", resolve));
    killed.kill("SIGKILL");
    await exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

/** Watches the task to its end, over every broken stream, by the revision of the message before. */
class WatchingClient {
  readonly changes: WatchTaskResponse[] = [];
  readonly logs: LogEntry[] = [];
  readonly done: Promise<void>;
  streams = 0;

  constructor(client: Client<typeof TaskControllerService>, taskId: string) {
    this.done = this.#run(client, taskId);
  }

  async #run(client: Client<typeof TaskControllerService>, taskId: string): Promise<void> {
    let sinceRevision = 0n;
    for (;;) {
      this.streams += 1;
      try {
        const request = {
          controller: "countdown",
          taskId,
          sinceRevision,
          includeLogs: true,
          waitForLaunch: sinceRevision === 0n,
        };
        for await (const change of client.watchTask(request)) {
          expect(change.revision).toBeGreaterThanOrEqual(sinceRevision);
          sinceRevision = change.revision;
          this.logs.push(...change.logs);
          if (change.status !== undefined) this.changes.push(change);
        }
        return;
      } catch {
        await sleep(50);
      }
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

test(`a watch goes on over ${kills} kills of the server, without a gap and without a repetition`, {
  timeout: 60_000 + kills * 20_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  await using service = new Service(scratch.path, await freePort());
  await service.start();
  const { client } = service;
  const watching = new WatchingClient(client, "long");
  const limit = stepsPerLife * (kills + 1);
  await client.launchTask({
    controller: "countdown",
    taskId: "long",
    payload: { case: "jsonMetadata", value: JSON.stringify({ limit, intervalMs: 40 }) },
    requestId: "once",
  });
  for (let life = 1; life <= kills; life += 1) {
    while (Number(watching.changes.at(-1)?.status?.progress?.current ?? 0n) < life * stepsPerLife) await sleep(10);
    await service.kill();
    await service.start();
  }
  await watching.done;

  const { status } = await client.getTaskStatus({ controller: "countdown", taskId: "long", logLimit: 1_000 });
  expect(status?.state).toBe(TaskState.Completed);
  expect(status?.attempt).toBe(kills + 1);
  expect(watching.streams).toBeGreaterThan(kills);

  const revisions = watching.changes.map(({ revision }) => revision);
  expect(revisions, "each message once, in order").toEqual([...new Set(revisions)].sort((a, b) => Number(a - b)));
  // A message that shows one transition more than the one before it is that transition's.
  const counts = watching.changes.map((change) => change.status?.transitions.length ?? 0);
  const isTransition = counts.map((count, i) => count !== (counts[i - 1] ?? 0));
  const seen = watching.changes.filter((_, i) => isTransition[i]).map((change) => change.status?.state);
  const made = status?.transitions.map(({ state }) => state) ?? [];
  expect(made).toEqual([
    ...Array.from({ length: kills + 1 }, () => [TaskState.Pending, TaskState.Running]).flat(),
    TaskState.Completed,
  ]);
  // The watch may have begun when the task was there already.
  expect(seen).toEqual(made.slice(made.length - seen.length));
  expect(counts.filter((_, i) => isTransition[i])).toEqual(made.map((_, i) => i + 1).slice(made.length - seen.length));
  expect(seen.length).toBeGreaterThanOrEqual(made.length - 1);

  const seqs = watching.logs.map(({ seq }) => Number(seq));
  expect(seqs).toEqual(seqs.map((_, i) => i + 1));
  expect(BigInt(seqs.length)).toBe(status?.logCount);
});
