/**
 * How many tasks a second does one process bring from launch to end, every step on disk? 64 launchers; each
 * task is launched by its own id, Pending, Running, one progress, Completed, and counts when its end is told.
 *
 * stint        synced: every one of these steps is on disk before the next
 * ceiling      four changes of 200 bytes a task on bare LevelDB, synced, in the best layout known (bench/ceiling.ts, "journal+")
 * bullmq       on redis-server, append-only file, fsync each second: weaker; add with a job id, one updateProgress
 * bullmq sync  the same with fsync always: the equal
 *
 * The peer is measured where `bullmq` and its `ioredis` can be imported and `redis-server` is on the PATH:
 * npm install --no-save bullmq ioredis, and the package redis-server of the system.
 *
 * LIFECYCLE_TASKS and LIFECYCLE_ROUNDS change the dose.
 */
import { ceiling } from "./support/bare-level.ts";
import { openController, openStore } from "./support/product.ts";
import { type Appendfsync, missingRedis, startRedis } from "./support/redis.ts";
import { type Contender, dose, measureInTurn, median, printRates, shareOf, type Subject } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const inFlight = 64;
const retention = { afterEndMs: 3_600_000 };

/** Prints tasks a second of Stint, of the ceiling and, where it is there, of the peer: the median of the rounds, and their spread. */
export async function run(): Promise<Row[]> {
  const turns = { tasks: dose("LIFECYCLE_TASKS", 10_000), rounds: dose("LIFECYCLE_ROUNDS", 5), inFlight };
  const missing = await missingPeer();
  const contenders: readonly Contender[] = [
    { name: "stint", synced: "each step", open: openStint },
    { name: "ceiling", synced: "each step", open: ceiling },
    ...(missing === undefined ? bullmq : []),
  ];
  const rates = await measureInTurn(contenders, turns);
  const title = `lifecycle: ${turns.tasks} tasks a round from launch to end, ${inFlight} launchers`;
  const lines = contenders.map(({ name, synced }) => ({ name, remark: synced }));
  const peers = lines.map(({ name }) => name).filter((name) => name !== "stint");
  printRates({ title, unit: "tasks/s", remark: "on disk" }, lines, rates, peers);
  if (missing !== undefined) console.log(`\nbullmq is left out: ${missing}`);
  const rate = `${Math.round(median(rates.get("stint") ?? []))} tasks/s`;
  const targets = { ceiling: 0.5, bullmq: 3, "bullmq sync": 4 };
  return Object.entries(targets).map(([peer, target]) => against(peer, target, rate, rates));
}

/** How the lifecycle compares with a peer, which may not have been measured. */
function against(peer: string, target: number, rate: string, rates: ReadonlyMap<string, readonly number[]>): Row {
  const share = rates.has(peer) ? shareOf(rates, "stint", peer) : undefined;
  return {
    name: `lifecycle, against ${peer}`,
    measured: share === undefined ? `${rate}; ${peer} was left out` : `${rate}, ${share.toFixed(2)} times`,
    target: `at least ${target} times`,
    met: share === undefined ? undefined : share >= target,
  };
}

const bullmq: readonly Contender[] = [
  { name: "bullmq", synced: "within a second", open: (directory) => openBullmq(directory, "everysec") },
  { name: "bullmq sync", synced: "each command", open: (directory) => openBullmq(directory, "always") },
];

async function openStint(directory: string): Promise<Subject> {
  const store = await openStore(`level:${directory}`);
  const controller = await openController({
    name: "bench",
    store,
    retention,
    runner: { onTaskRunning: (task) => task.setProgress({ current: 1, total: 1 }) },
  });
  return {
    bring: (task) =>
      new Promise((resolve, reject) => {
        controller.launchTask(`task-${task}`, { onState: () => resolve() }).catch(reject);
      }),
    async close() {
      await controller.close();
      await store.close();
    },
  };
}

/** Why the peer cannot be measured; undefined when it can. */
async function missingPeer(): Promise<string | undefined> {
  const missing = missingRedis();
  if (missing !== undefined) return missing;
  try {
    await importBullmq();
    return undefined;
  } catch {
    return "the packages bullmq and ioredis are not installed (npm install --no-save bullmq ioredis)";
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
  const [client, name] = ["ioredis", "bullmq"];
  // BullMQ imports its client itself, but only when it connects, and without that tries again for ever.
  await import(client);
  return (await import(name)) as Bullmq;
}

async function openBullmq(directory: string, appendfsync: Appendfsync): Promise<Subject> {
  const { Queue, Worker } = await importBullmq();
  const redis = await startRedis(directory, appendfsync);
  const connection = { host: "127.0.0.1", port: redis.port, maxRetriesPerRequest: null };
  const ended = new Map<string, () => void>();
  const queue = new Queue("bench", { connection });
  const worker = new Worker("bench", (job) => job.updateProgress(1), { connection, concurrency: inFlight });
  worker.on("completed", ({ id }) => ended.get(id)?.());
  return {
    bring: (task) =>
      new Promise((resolve, reject) => {
        const id = `task-${task}`;
        ended.set(id, () => {
          ended.delete(id);
          resolve();
        });
        queue.add("task", {}, { jobId: id }).catch(reject);
      }),
    async close() {
      await worker.close();
      await queue.close();
      await redis[Symbol.asyncDispose]();
    },
  };
}
