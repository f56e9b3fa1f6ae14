/**
 * How many tasks a second does one process bring from launch to end, every step on disk? 64 launchers; each
 * task is launched by its own id, Pending, Running, one progress, Completed, and counts when its end is told.
 *
 * stint        synced: every one of these steps is on disk before the next
 * bullmq       on redis-server, append-only file, fsync each second: weaker; add with a job id, one updateProgress
 * bullmq sync  the same with fsync always, one round: the equal
 *
 * The peer is measured where `bullmq` can be imported and `redis-server` is on the PATH:
 * npm install --no-save bullmq, and the package redis-server of the system.
 *
 * LIFECYCLE_TASKS and LIFECYCLE_ROUNDS change the dose.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openController } from "../src/controller/open-controller.ts";
import { openStore } from "../src/store/open.ts";

const inFlight = 64;
const retention = { afterEndMs: 3_600_000 };

/** Brings tasks from launch to end. */
interface Subject {
  bring(id: string): Promise<void>;
  close(): Promise<void>;
}

type Open = (directory: string) => Promise<Subject>;

/** Prints tasks a second of Stint and, where it is there, of the peer: the median of the rounds, and their spread. */
export async function run(): Promise<void> {
  const tasks = Number(process.env["LIFECYCLE_TASKS"] ?? 10_000);
  const rounds = Number(process.env["LIFECYCLE_ROUNDS"] ?? 5);
  const subjects: [name: string, open: Open, rounds: number][] = [["stint", openStint, rounds]];
  const missing = await missingPeer();
  if (missing === undefined) {
    subjects.push(["bullmq", (directory) => openBullmq(directory, "everysec"), rounds]);
    subjects.push(["bullmq sync", (directory) => openBullmq(directory, "always"), 1]);
  }
  const results = new Map<string, number[]>(subjects.map(([name]) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, open, most] of subjects) {
      if (round < most) results.get(name)?.push(await measure(open, tasks));
    }
  }
  console.log(`lifecycle: tasks/s from launch to end, ${inFlight} launchers, ${tasks} tasks a round, stint synced`);
  console.log(`Node ${process.version}, ${rounds} rounds in turn\n`);
  console.log("                median      low     high   stint is");
  const ours = median(results.get("stint") ?? []);
  for (const [name, rates] of results) {
    const columns = [median(rates), Math.min(...rates), Math.max(...rates)];
    const ratio = `${(ours / median(rates)).toFixed(2)} x`;
    console.log(
      name.padEnd(13) + columns.map((rate) => Math.round(rate).toString().padStart(9)).join("") + ratio.padStart(11),
    );
  }
  if (missing !== undefined) console.log(`\nbullmq is left out: ${missing}`);
}

function median(rates: readonly number[]): number {
  return rates.toSorted((a, b) => a - b)[rates.length >> 1] ?? 0;
}

async function measure(open: Open, tasks: number): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "stint-lifecycle-"));
  try {
    const subject = await open(directory);
    let next = 0;
    const since = performance.now();
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        while (next < tasks) await subject.bring(`task-${next++}`);
      }),
    );
    const seconds = (performance.now() - since) / 1_000;
    await subject.close();
    return tasks / seconds;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function openStint(directory: string): Promise<Subject> {
  const store = await openStore(`level:${directory}`);
  const controller = await openController({
    name: "bench",
    store,
    retention,
    runner: { onTaskRunning: (task) => task.setProgress({ current: 1, total: 1 }) },
  });
  return {
    bring: (id) =>
      new Promise((resolve, reject) => {
        controller.launchTask(id, { onState: () => resolve() }).catch(reject);
      }),
    async close() {
      await controller.close();
      await store.close();
    },
  };
}

/** Why the peer cannot be measured; undefined when it can. */
async function missingPeer(): Promise<string | undefined> {
  if (spawnSync("redis-server", ["--version"]).status !== 0)
    return "no redis-server on the PATH (the system's package redis-server)";
  try {
    await importBullmq();
    return undefined;
  } catch {
    return "the package bullmq is not installed (npm install --no-save bullmq)";
  }
}

interface Closable {
  close(): Promise<void>;
}

/** The little of bullmq that is used here; it is no dependency of this package. */
interface Bullmq {
  Queue: new (
    name: string,
    options: object,
  ) => Closable & { add(name: string, payload: object, options: object): Promise<unknown> };
  Worker: new (
    name: string,
    process: (job: { id: string; updateProgress(progress: number): Promise<void> }) => Promise<void>,
    options: object,
  ) => Closable & { on(event: "completed", listener: (job: { id: string }) => void): void };
}

async function importBullmq(): Promise<Bullmq> {
  const name = "bullmq";
  return (await import(name)) as Bullmq;
}

async function openBullmq(directory: string, appendfsync: "everysec" | "always"): Promise<Subject> {
  const { Queue, Worker } = await importBullmq();
  const port = 17_000 + Math.floor(Math.random() * 10_000);
  const redis = await startRedis(directory, port, appendfsync);
  const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
  const ended = new Map<string, () => void>();
  const queue = new Queue("bench", { connection });
  const worker = new Worker("bench", (job) => job.updateProgress(1), { connection, concurrency: inFlight });
  worker.on("completed", ({ id }) => ended.get(id)?.());
  return {
    bring: (id) =>
      new Promise((resolve, reject) => {
        ended.set(id, () => {
          ended.delete(id);
          resolve();
        });
        queue.add("task", {}, { jobId: id }).catch(reject);
      }),
    async close() {
      await worker.close();
      await queue.close();
      redis.kill();
    },
  };
}

function startRedis(directory: string, port: number, appendfsync: string): Promise<ChildProcess> {
  const flags = [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--dir",
    directory,
    "--save",
    "",
    "--appendonly",
    "yes",
  ];
  const redis = spawn("redis-server", [...flags, "--appendfsync", appendfsync], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((resolve, reject) => {
    redis.once("error", reject);
    redis.once("exit", () => reject(new Error("redis-server did not start")));
    redis.stdout?.on("data", (text: Buffer) => {
      if (text.includes("Ready to accept connections")) resolve(redis);
    });
  });
}
