/**
 * The disk of a server is full, under load, and has room again: what was acknowledged is there, calls fail as the API says
 * meanwhile, and the same process goes on. On a file system that is full, and with files that must not grow; what the machine does not
 * have for that is skipped, and said.
 *
 * FULL_DISK_CYCLES: how often each is full (default 1). Needs dist/ (npm run build).
 */
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "#gen/grpc/health/v1/health_pb.js";
import type { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { decodeTask } from "../../src/store/codec.ts";
import { taskKey } from "../../src/store/keys.ts";
import { openStore } from "../../src/store/open.ts";
import { isActive, StateCompleted } from "../../src/task/state.ts";
import { canary } from "../support/canary.ts";
import { checkConsistency } from "../support/check-consistency.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import { type FullDisk, smallDisk, smallFiles } from "./full-disk/full-disk.ts";

const cycles = Number(process.env["FULL_DISK_CYCLES"] ?? 1);
const controller = "short";
const clients = 8;
const metadataBytes = 16_000;
/** How long it stays full once the server has said so. */
const fullMs = 500;
/** Far more than it should take: the machine may have much else to do. */
const changeMaxMs = 60_000;

/** What a launch may fail with while nothing can be stored. */
const expectedCodes: readonly Code[] = [Code.Unavailable, Code.ResourceExhausted];

interface Launch {
  readonly taskId: string;
  runId: string | undefined;
}

const disks: Record<string, FullDisk> = {
  "a disk without room": smallDisk(64 + 4 * cycles),
  "files that cannot grow": smallFiles,
};

for (const [name, disk] of Object.entries(disks)) {
  const { missing } = disk;
  if (missing !== undefined) process.stderr.write(`full disk: ${name}: skipped, there is no ${missing}\n`);
  test.skipIf(missing !== undefined)(
    `${name}: nothing acknowledged is lost, and the server recovers by itself`,
    { timeout: 120_000 + cycles * 120_000 },
    () => fillAndFree(name, disk),
  );
}

async function fillAndFree(name: string, disk: FullDisk): Promise<void> {
  await using scratch = await makeScratchDirectory();
  const root = join(scratch.path, "disk");
  await mkdir(root);
  const config = await writeConfig(scratch.path);
  const data = join(root, "data");
  await using service = await ServedProcess.create({ directory: data, config, under: disk.under(root) });
  await service.start();
  const { pid } = service;
  await using load = new Load(service.client);
  const health = createClient(Health, createGrpcTransport({ baseUrl: service.baseUrl }));
  const becomes = async (status: ServingStatus, meanwhile = async (): Promise<void> => {}): Promise<void> => {
    const since = performance.now();
    while ((await health.check({}, { timeoutMs: 5_000 })).status !== status) {
      expect(performance.now() - since, `ms until the health is ${ServingStatus[status]}`).toBeLessThan(changeMaxMs);
      await meanwhile();
      await sleep(10);
    }
  };
  let recoveredMs = 0;

  const running = load.run();
  // Awaited below, unless the test fails before.
  running.catch(() => {});
  for (let cycle = 0; cycle < cycles; cycle += 1) {
    await load.moreThan(20);
    // Not until a call fails: those that were under way wait for the disk as long as they may.
    await becomes(ServingStatus.NOT_SERVING, () => disk.fill(root, pid));
    await sleep(fullMs);
    await disk.free(root, pid);
    const freedMs = performance.now();
    await becomes(ServingStatus.SERVING);
    await load.moreThan(1);
    recoveredMs = Math.max(recoveredMs, performance.now() - freedMs);
  }
  load.stop();
  await running;
  await rested(service.client);
  const { failed, launches, codes } = load;
  const counts = `${launches.length} launches acknowledged, ${failed} calls failed (${[...codes].join()})`;
  process.stderr.write(
    `full disk: ${name}: ${cycles} times, ${counts}, at most ${Math.round(recoveredMs)} ms until it took launches again\n`,
  );
  expect(codes.filter((code) => !expectedCodes.includes(Code[code as keyof typeof Code]))).toEqual([]);
  expect(service.pid).toBe(pid);

  const { faults } = await service.client.getServerInfo({});
  expect(faults["store_reopens"], JSON.stringify(Object.entries(faults).map(String))).toBeGreaterThanOrEqual(cycles);
  expect(faults["storage_errors"]).toBeGreaterThanOrEqual(cycles);

  // What a crash at this moment would leave.
  const copy = join(scratch.path, "copy");
  process.kill(pid, "SIGSTOP");
  await cp(join(disk.seen(root, pid), "data"), copy, { recursive: true });
  process.kill(pid, "SIGCONT");
  expect(await service.stop(), "the exit code of a stop").toBe(0);
  const store = await openStore(`level:${copy}`);
  const lost: string[] = [];
  for (const { taskId, runId } of launches) {
    const entry = await store.get(taskKey(controller, taskId));
    const status = entry && decodeTask(entry.value).status;
    if (status?.runId !== runId || status?.state !== StateCompleted) lost.push(taskId);
  }
  expect(lost).toEqual([]);
  await checkConsistency(store, controller);
  await store.close();
}

async function writeConfig(directory: string): Promise<string> {
  const config = join(directory, "stint.yaml");
  const runner = { module: join(repositoryRoot, "test/e2e/runners/short.mjs") };
  // Without a reserve the disk can become full.
  const limits = { diskReserveBytes: 0, diskReservePercent: 0 };
  // JSON is YAML.
  await writeFile(config, JSON.stringify({ limits, controllers: [{ name: controller, runner }] }));
  return config;
}

async function rested(client: Client<typeof TaskControllerService>): Promise<void> {
  for (const untilMs = Date.now() + 60_000; ; await sleep(50)) {
    const { controllers } = await client.listControllers({});
    if (!controllers.flatMap(({ tasks }) => tasks).some(({ state }) => isActive(state))) return;
    expect(Date.now(), "tasks do not end").toBeLessThan(untilMs);
  }
}

/** Clients that launch, and repeat what failed in the same words until it is acknowledged. */
class Load implements AsyncDisposable {
  /** Those that were acknowledged. */
  readonly launches: Launch[] = [];
  readonly codes: string[] = [];
  failed = 0;
  readonly #client: Client<typeof TaskControllerService>;
  readonly #stopping = new AbortController();
  #calls = 0;
  #isGivenUp = false;

  constructor(client: Client<typeof TaskControllerService>) {
    this.#client = client;
  }

  async run(): Promise<void> {
    await Promise.all(Array.from({ length: clients }, () => this.#launchAll()));
  }

  /** Begins no more. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Repeats no more, either. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    this.#isGivenUp = true;
  }

  /** Until so many more were acknowledged. */
  async moreThan(acknowledged: number): Promise<void> {
    const until = this.launches.length + acknowledged;
    const since = performance.now();
    while (this.launches.length < until) {
      expect(performance.now() - since, `ms for ${acknowledged} launches`).toBeLessThan(changeMaxMs);
      await sleep(10);
    }
  }

  async #launchAll(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#calls += 1;
      const taskId = `task-${this.#calls}`;
      const text = `${this.#calls} ${canary} `.padEnd(metadataBytes, "not all the same ");
      const payload = { case: "jsonMetadata" as const, value: JSON.stringify({ text }) };
      const request = { controller, taskId, payload, requestId: `request ${taskId}` };
      const runId = await this.#untilAcknowledged((options) => this.#client.launchTask(request, options));
      this.launches.push({ taskId, runId });
      await sleep(5);
    }
  }

  async #untilAcknowledged(send: (options: { timeoutMs: number }) => Promise<{ runId: string }>): Promise<string> {
    for (;;) {
      try {
        return (await send({ timeoutMs: 30_000 })).runId;
      } catch (error) {
        if (this.#isGivenUp) throw error;
        const code = Code[ConnectError.from(error).code];
        this.failed += 1;
        if (!this.codes.includes(code)) this.codes.push(code);
        await sleep(20);
      }
    }
  }
}
