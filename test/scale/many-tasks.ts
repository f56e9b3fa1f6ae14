/**
 * Launches many tasks on the LevelDB store, lists, counts and sweeps them, and prints what it took, as JSON on one line.
 * Run in a process of its own, with --expose-gc: many-tasks.ts DIRECTORY COUNT.
 */
import { openController, type ControllerOptions } from "../../src/controller/open-controller.ts";
import type { Controller } from "../../src/controller/controller.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { Store } from "../../src/store/store.ts";
import { StateCompleted } from "../../src/task/state.ts";

const [directory = "", countText = "0"] = process.argv.slice(2);
const count = Number(countText);
const launchers = 64;
const keepAll = { afterEndMs: 24 * 3_600_000 };

export interface Figures {
  readonly count: number;
  readonly launchMs: number;
  /** The heap after a collection, when the first half and when all had ended, and what an ended task added to it. */
  readonly heapAtHalf: number;
  readonly heapAtAll: number;
  readonly heapBytesPerEndedTask: number;
  readonly rssBytes: number;
  readonly listMs: number;
  readonly pages: number;
  readonly listed: number;
  readonly distinct: number;
  readonly counted: number;
  readonly totalSize: number;
  readonly openStoreMs: number;
  readonly openControllerMs: number;
  readonly heapAfterOpening: number;
  readonly heapEmpty: number;
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

async function open(options: Partial<ControllerOptions> = {}): Promise<Open> {
  const begun = performance.now();
  // Small caches, so that what grows with the number of tasks stands out.
  const store = await openLevelStore(directory, {
    cacheMaxEntries: 1_024,
    cacheMaxBytes: 1 << 20,
    blockCacheBytes: 1 << 18,
  });
  const opened = performance.now();
  const runner = { onTaskRunning: () => ({ done: true }) };
  const controller = await openController({ name: "many", store, runner, retention: keepAll, ...options });
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

async function launchUpTo(controller: Controller, from: number, to: number): Promise<void> {
  let next = from;
  const launch = async (): Promise<void> => {
    while (next < to)
      await controller.launchTask(`task-${String((next += 1)).padStart(8, "0")}`, {
        metadata: { n: next },
        labels: { parity: String(next % 2) },
      });
  };
  await Promise.all(Array.from({ length: launchers }, launch));
  while (((await controller.countTasks()).get(StateCompleted) ?? 0n) < BigInt(to))
    await new Promise((resolve) => setTimeout(resolve, 10));
}

/** The heap in use once everything that nobody holds is gone. */
async function heapUsed(): Promise<number> {
  for (let i = 0; i < 4; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    globalThis.gc?.();
  }
  return process.memoryUsage().heapUsed;
}

async function list(controller: Controller): Promise<Pick<Figures, "pages" | "listed" | "distinct" | "totalSize">> {
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
  return { pages, listed, distinct: ids.size, totalSize: Number(totalSize) };
}

async function measure(): Promise<Figures> {
  const figures: Record<string, number> = { count };
  {
    await using opened = await open();
    const { controller } = opened;
    figures["heapEmpty"] = await heapUsed();
    const begun = performance.now();
    await launchUpTo(controller, 0, count / 2);
    figures["launchMs"] = performance.now() - begun;
    figures["heapAtHalf"] = await heapUsed();
    const again = performance.now();
    await launchUpTo(controller, count / 2, count);
    figures["launchMs"] += performance.now() - again;
    figures["heapAtAll"] = await heapUsed();
    figures["heapBytesPerEndedTask"] = (figures["heapAtAll"] - figures["heapAtHalf"]) / (count / 2);
    figures["rssBytes"] = process.memoryUsage().rss;
    const listing = performance.now();
    Object.assign(figures, await list(controller));
    figures["listMs"] = performance.now() - listing;
    figures["counted"] = Number((await controller.countTasks()).get(StateCompleted) ?? 0n);
  }
  {
    await using opened = await open();
    figures["openStoreMs"] = opened.openStoreMs;
    figures["openControllerMs"] = opened.openControllerMs;
    figures["heapAfterOpening"] = await heapUsed();
  }
  {
    const sweeping = performance.now();
    await using opened = await open({ retention: { afterEndMs: 0 } });
    while ((await opened.controller.countTasks()).size > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    figures["sweepMs"] = performance.now() - sweeping;
    figures["leftAfterSweep"] = (await opened.controller.queryTasks()).tasks.length;
    const keys = await opened.store.scan({ prefix: "/", limit: 100 });
    figures["keysAfterSweep"] = keys.filter(({ key }) => !key.startsWith("/counts/")).length;
  }
  return figures as unknown as Figures;
}

process.stdout.write(`${JSON.stringify(await measure())}\n`);
