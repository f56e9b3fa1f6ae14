/**
 * A process that does one thing with many tasks in a LevelDB store, and prints what it took, as JSON on one line:
 * many-tasks.ts launch DIRECTORY FROM TO | open DIRECTORY | list DIRECTORY | sweep DIRECTORY.
 */
import { openController } from "../../src/controller/open-controller.ts";
import type { Controller } from "../../src/controller/controller.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { Store } from "../../src/store/store.ts";
import { StateCompleted } from "../../src/task/state.ts";
import { heapBytes } from "../support/heap.ts";

const [verb = "", directory = "", fromText = "0", toText = "0"] = process.argv.slice(2);
const launchers = 64;
/** Longer than what is put off is put off, which is a second (LevelStoreOptions.roundDelayMs). */
const settleMs = 1_500;

export interface Memory {
  /** What is held in the heap, and in buffers beside it, once all garbage is gone. */
  readonly heldBytes: number;
  readonly rssBytes: number;
}

export interface Launched {
  readonly launchMs: number;
  /** After a fifth of the launches, and after all. */
  readonly warm: Memory;
  readonly worked: Memory;
}

export interface Opened extends Memory {
  readonly openStoreMs: number;
  readonly openControllerMs: number;
}

export interface Listed {
  readonly listMs: number;
  readonly pages: number;
  readonly listed: number;
  readonly distinct: number;
  readonly counted: number;
  readonly totalSize: number;
}

export interface Swept {
  readonly sweepMs: number;
  readonly leftAfterSweep: number;
  readonly keysAfterSweep: number;
}

interface Open extends AsyncDisposable {
  readonly store: Store;
  readonly controller: Controller;
  readonly openStoreMs: number;
  readonly openControllerMs: number;
}

async function open(afterEndMs = 24 * 3_600_000): Promise<Open> {
  const begun = performance.now();
  // Small caches, full before the first measurement, so that what grows with the number of tasks stands out.
  const store = await openLevelStore(directory, {
    cacheMaxEntries: 1_024,
    cacheMaxBytes: 1 << 20,
    blockCacheBytes: 1 << 18,
  });
  const opened = performance.now();
  const runner = { onTaskRunning: () => ({ done: true }) };
  const controller = await openController({ name: "many", store, runner, retention: { afterEndMs } });
  return {
    store,
    controller,
    openStoreMs: opened - begun,
    openControllerMs: performance.now() - opened,
    async [Symbol.asyncDispose]() {
      await controller.close();
      await store.close();
    },
  };
}

/** What the process holds, once what it does behind the calls is through: for longer than that is put off it has hardly worked. */
async function memory(): Promise<Memory> {
  for (let busyMs = Infinity; busyMs > settleMs / 20; ) {
    const before = process.cpuUsage();
    await pause(settleMs);
    const { user, system } = process.cpuUsage(before);
    busyMs = (user + system) / 1_000;
  }
  const rssBytes = process.memoryUsage().rss;
  const heldBytes = heapBytes() + process.memoryUsage().arrayBuffers;
  return { heldBytes, rssBytes };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function launch(from: number, to: number): Promise<Launched> {
  await using opened = await open();
  const middle = from + Math.floor((to - from) / 5);
  const begun = performance.now();
  await launchUpTo(opened.controller, from, middle);
  const paused = performance.now();
  const warm = await memory();
  const resumed = performance.now();
  await launchUpTo(opened.controller, middle, to);
  const launchMs = performance.now() - resumed + paused - begun;
  return { launchMs, warm, worked: await memory() };
}

async function launchUpTo(controller: Controller, from: number, to: number): Promise<void> {
  let next = from;
  const launchAll = async (): Promise<void> => {
    while (next < to)
      await controller.launchTask(`task-${String((next += 1)).padStart(8, "0")}`, {
        metadata: { n: next },
        labels: { parity: String(next % 2) },
      });
  };
  await Promise.all(Array.from({ length: launchers }, launchAll));
  while (((await controller.countTasks()).get(StateCompleted) ?? 0n) < BigInt(to)) await pause(10);
}

async function openAndSettle(): Promise<Opened> {
  await using opened = await open();
  const { openStoreMs, openControllerMs } = opened;
  return { openStoreMs, openControllerMs, ...(await memory()) };
}

async function list(): Promise<Listed> {
  await using opened = await open();
  const { controller } = opened;
  const begun = performance.now();
  const ids = new Set<string>();
  let listed = 0;
  let pages = 0;
  let pageToken = "";
  let totalSize = 0n;
  do {
    const page = await controller.queryTasks({ pageSize: 1_000, pageToken });
    for (const { taskId } of page.tasks) ids.add(taskId);
    listed += page.tasks.length;
    pages += 1;
    totalSize = page.totalSize ?? -1n;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  const listMs = performance.now() - begun;
  const counted = Number((await controller.countTasks()).get(StateCompleted) ?? 0n);
  return { listMs, pages, listed, distinct: ids.size, counted, totalSize: Number(totalSize) };
}

async function sweep(): Promise<Swept> {
  const begun = performance.now();
  await using opened = await open(0);
  while ((await opened.controller.countTasks()).size > 0) await pause(20);
  const sweepMs = performance.now() - begun;
  const leftAfterSweep = (await opened.controller.queryTasks()).tasks.length;
  const keys = await opened.store.scan({ prefix: "/", limit: 100 });
  return { sweepMs, leftAfterSweep, keysAfterSweep: keys.filter(({ key }) => !key.startsWith("/counts/")).length };
}

const verbs: Record<string, () => Promise<unknown>> = {
  launch: () => launch(Number(fromText), Number(toText)),
  open: openAndSettle,
  list,
  sweep,
};
process.stdout.write(`${JSON.stringify(await verbs[verb]?.())}\n`);
