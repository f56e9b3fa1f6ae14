/**
 * Four times as many launches as the server can take: it goes on at nearly the rate of its best, refuses the rest so that clients know when to come again,
 * cancels and remote runners do not suffer, and when it is over all is as it was.
 *
 * OVERLOAD_SECONDS: how long (default 2; only from 20 on is the rate compared with the best, as less is noise). Refusals are compared with other calls of the same moment, as
 * clients on a busy machine measure the machine. Needs dist/ (npm run build).
 */
import { execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { StateCanceled, StateRunning } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import type { Launched } from "./overload/launcher.ts";
import { batchSize, quantile } from "./overload/overload.ts";

const seconds = Number(process.env["OVERLOAD_SECONDS"] ?? 2);
const isCompared = seconds >= 20;
/** What is asked of it, as a multiple of what it can do. */
const factor = 4;
const inFlightMax = { best: 16, over: 2_000 };
const launcher = fileURLToPath(new URL("./overload/launcher.ts", import.meta.url));
const held = 40;
/** Fewer say nothing of how long they take. */
const refusalsMin = 20;

/** JavaScript, which starts faster than TypeScript. "quick" ends at once, "held" when it is told to. */
const runnerSource = `
  export const runner = {
    async onTaskRunning(task, { signal }) {
      if (await task.loadTaskMetadata() === undefined) return { done: true };
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  };`;

let line = "it did not come to its end";
afterAll(() => {
  process.stderr.write(`overload: ${seconds} s: ${line}\n`);
});

async function launch(url: string, rate: number, most: number): Promise<Launched> {
  const args = ["--import", import.meta.resolve("tsx"), launcher, url, String(rate), String(seconds), String(most)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 30 });
  return JSON.parse(stdout) as Launched;
}

/** With how much processor time its thread that serves has had for it, in seconds. */
type Measured = Launched & { readonly processorSeconds: number };

async function measure(pid: number, run: () => Promise<Launched>): Promise<Measured> {
  const before = processorSecondsOf(pid);
  const launched = await run();
  return { ...launched, processorSeconds: processorSecondsOf(pid) - before };
}

/** NaN where the system does not say. */
function processorSecondsOf(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e9;
  } catch {
    return Number.NaN;
  }
}

const perProcessorSecond = ({ acknowledged, processorSeconds }: Measured): number =>
  acknowledged.length / processorSeconds;

const perSecond = ({ timely, seconds: took }: Launched): number => timely / took;

type Calls = Client<typeof TaskControllerService>;

/** Cancels tasks that run, one after the other, until the signal; resolves to how long each took, in ms. */
async function cancelAll(client: Calls, taskIds: readonly string[], signal: AbortSignal): Promise<number[]> {
  const took: number[] = [];
  for (const taskId of taskIds) {
    if (signal.aborted) break;
    const fromMs = performance.now();
    await client.cancelTask({ controller: "held", taskId });
    took.push(performance.now() - fromMs);
    await sleep((seconds * 1_000) / held / 2, undefined, { signal }).catch(() => {});
  }
  return took;
}

const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Of times in ms: the median, and what 99 of 100 are not above. */
function timesOf(values: readonly number[]): string {
  return `${median(values).toFixed(0)} ms (median) and ${quantile(values, 0.99).toFixed(0)} (p99)`;
}

/** How long launches of single tasks take one after the other, in ms, in the median of ten. */
async function latencyMs(client: Calls): Promise<number> {
  const took: number[] = [];
  for (let i = 0; i < 10; i += 1) {
    const fromMs = performance.now();
    await client.launchTask({ controller: "quick" });
    took.push(performance.now() - fromMs);
  }
  return median(took);
}

async function countTasks(client: Calls): Promise<Set<string>> {
  const there = new Set<string>();
  let pageToken = "";
  do {
    const page = await client.listTasks({
      controller: "quick",
      pageSize: 1_000,
      pageToken,
      readMask: { paths: ["state"] },
    });
    for (const { taskId } of page.tasks) there.add(taskId);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return there;
}

test(`${factor} times as many launches as it can take do not stop a server from what it can do`, {
  timeout: 300_000 + seconds * 20_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const config = join(scratch.path, "stint.yaml");
  await writeFile(join(scratch.path, "runner.mjs"), runnerSource);
  const module = { module: "runner.mjs" };
  const controllers = [
    { name: "quick", runner: module },
    { name: "held", runner: module },
    { name: "count", runner: { remote: {} } },
  ];
  await writeFile(config, JSON.stringify({ limits: { leaseMs: 5_000 }, controllers }));
  await using server = await ServedProcess.create({ directory: join(scratch.path, "data"), config });
  await server.start();
  const { client, baseUrl } = server;
  const others = createClient(TaskControllerService, createGrpcTransport({ baseUrl }));

  // A remote runner with a task of the length of the test: it has to keep its lease.
  await writeFile(join(scratch.path, "1.txt"), "line\n");
  const counter = join(repositoryRoot, "test/e2e/runners/count-lines.ts");
  const target = baseUrl.replace("http://", "");
  const ledger = join(scratch.path, "ledger");
  const args = ["--import", import.meta.resolve("tsx"), counter, target, "count", ledger];
  const runner = spawn(process.execPath, args, { stdio: "ignore" });
  try {
    const files = { files: join(scratch.path, "*.txt"), pauseMs: 3_600_000 };
    const remote = { controller: "count", taskId: "remote" };
    await client.launchTask({ ...remote, payload: { case: "jsonMetadata", value: JSON.stringify(files) } });
    await eventually(async () => {
      expect((await client.getTaskStatus(remote)).status?.state).toBe(StateRunning);
    }, 60_000);
    const heldIds = Array.from({ length: held }, (_, i) => `h${i}`);
    for (const taskId of heldIds) {
      await client.launchTask({ controller: "held", taskId, payload: { case: "jsonMetadata", value: "{}" } });
    }
    const idleMs = await latencyMs(others);

    const best = await measure(server.pid, () => launch(baseUrl, 0, inFlightMax.best));
    const rate = Math.ceil((factor * perSecond(best)) / batchSize);
    const ending = new AbortController();
    const canceling = cancelAll(others, heldIds, ending.signal);
    const over = await measure(server.pid, () => launch(baseUrl, rate, inFlightMax.over));
    ending.abort();
    const cancels = await canceling;
    const overMs = performance.now();
    await eventually(async () => expect(await latencyMs(others)).toBeLessThan(3 * idleMs + 5), 60_000);
    const backMs = performance.now() - overMs;

    const { status } = await client.getTaskStatus(remote);
    const goodput = perSecond(over) / perSecond(best);
    const goodputOfProcessor = perProcessorSecond(over) / perProcessorSecond(best);
    const refusals = Object.values(over.refused).reduce((sum, count) => sum + count, 0);
    line = [
      `best ${perSecond(best).toFixed(0)} launches a second; ${rate * batchSize} asked, ${((over.calls * batchSize) / seconds).toFixed(0)} sent, ${perSecond(over).toFixed(0)} acknowledged (${(100 * goodput).toFixed(0)} %; ${(100 * goodputOfProcessor).toFixed(0)} % for the processor time that the server had)`,
      `refused ${JSON.stringify(over.refused)} in ${timesOf(over.refusedMs)}, where ${over.othersMs.length} other calls took ${timesOf(over.othersMs)}`,
      `${cancels.length} cancels in ${timesOf(cancels)}`,
      `remote runner in attempt ${status?.attempt}`,
      `back to ${idleMs.toFixed(1)} ms a launch after ${(backMs / 1_000).toFixed(1)} s`,
    ].join("; ");
    expect(over.withoutRetryInfo, line).toBe(0);
    const { faults } = await client.getServerInfo({});
    expect(Number(faults["calls_refused"]), line).toBeGreaterThanOrEqual(refusals);
    expect(
      Object.keys(over.refused).filter((name) => !name.endsWith(" ResourceExhausted")),
      line,
    ).toEqual([]);
    expect(status?.state, line).toBe(StateRunning);
    expect(status?.attempt, line).toBe(1);
    expect(cancels.length).toBeGreaterThan(0);
    for (const taskId of heldIds.slice(0, cancels.length)) {
      const canceled = await client.getTaskStatus({ controller: "held", taskId });
      expect(canceled.status?.state, taskId).toBe(StateCanceled);
    }
    const there = await countTasks(client);
    const lost = [...best.acknowledged, ...over.acknowledged].filter((taskId) => !there.has(taskId));
    expect(lost, `${lost.length} lost`).toEqual([]);
    expect(server.complaints).toEqual([]);
    expect(over.acknowledged.length).toBeGreaterThan(0);
    // A refusal waits for nothing: it takes no longer than any other call does just then, whatever else the machine has to do.
    if (refusals >= refusalsMin) {
      expect(median(over.refusedMs), line).toBeLessThan(2 * median(over.othersMs));
      expect(quantile(over.refusedMs, 0.99), line).toBeLessThan(2 * quantile(over.othersMs, 0.99));
    }
    if (isCompared) {
      expect(refusals, "refusals").toBeGreaterThan(refusalsMin);
      // On a machine with other work the rate says how much of a processor the server was left, too.
      expect(Math.max(goodput, goodputOfProcessor || 0), line).toBeGreaterThan(0.8);
      expect(quantile(cancels, 0.99), line).toBeLessThan(4 * quantile(over.othersMs, 0.99));
      expect(backMs, line).toBeLessThan(10_000);
    }
    expect(await server.stop()).toBe(0);
  } finally {
    runner.kill("SIGKILL");
  }
});
