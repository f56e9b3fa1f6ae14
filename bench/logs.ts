/**
 * What does the n-th log entry of a task cost? One process; tasks that have 0, 1,000 and 100,000 entries already get some more, one
 * after the other, each on disk before the next. Wall time is mostly the disk's; processor time is what Stint does itself.
 *
 * n = 1         a new task in each round
 * n = 1,000     the limits of a log are raised, so that all entries are kept
 * n = 100,000   as before
 * n = 100,000, default limits   its newest 10,000 entries are kept, and the oldest dropped, a tenth at a time
 *
 * LOGS_ENTRIES (a round) and LOGS_ROUNDS change the dose.
 */
import type { ActiveTask, Controller } from "../src/index.ts";
import { makeDirectory } from "./support/directory.ts";
import { openController, openStore } from "./support/product.ts";
import { dose, inFigures, inTurn, median, printRates } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const text = "row 123456 of customers.csv has been imported, with one warning";
const keepAll = { logMaxEntries: 10_000_000, logMaxBytes: 2 ** 31 - 1 };
/** Fewer than may wait for the disk (10,000). */
const fillAtOnce = 1_000;

interface Cost {
  readonly wallUs: number;
  readonly cpuUs: number;
}

/** A controller whose tasks run until it closes, and are handed out. */
interface Handed {
  /** Launches a task that has `entries` log entries. */
  launch(entries: number): Promise<ActiveTask>;
}

/** Prints what an entry costs in tasks that have few and many. */
export async function run(): Promise<Row[]> {
  const entries = dose("LOGS_ENTRIES", 200);
  const rounds = dose("LOGS_ROUNDS", 7);
  await using directory = await makeDirectory();
  const store = await openStore(`level:${directory.path}`);
  const controllers: Controller[] = [];
  try {
    const kept = await handOut("kept", keepAll);
    const usual = await handOut("usual", {});
    const [some, many, dropping] = [await kept.launch(1_000), await kept.launch(100_000), await usual.launch(100_000)];
    const tasks = [
      { name: "n = 1", remark: "all entries are kept", task: () => kept.launch(0) },
      { name: "n = 1,000", remark: "all entries are kept", task: async () => some },
      { name: "n = 100,000", remark: "all entries are kept", task: async () => many },
      { name: "n = 100,000, default limits", remark: "the newest 10,000 are kept", task: async () => dropping },
    ];
    const measured = tasks.map(({ name, task }) => ({ name, measure: async () => add(await task(), entries) }));
    await inTurn(measured, 1);
    const costs = await inTurn(measured, rounds);
    return print(tasks, costs, entries);
  } finally {
    for (const controller of controllers) await controller.close();
    await store.close();
  }

  async function handOut(name: string, limits: object): Promise<Handed> {
    const waiting = new Map<string, (task: ActiveTask) => void>();
    const controller = await openController({
      name,
      store,
      limits,
      retention: { afterEndMs: 0 },
      runner: {
        onTaskRunning(task, { signal }) {
          waiting.get(task.taskId)?.(task);
          return new Promise((_, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason as Error));
          });
        },
      },
    });
    controllers.push(controller);
    let launched = 0;
    return {
      async launch(count) {
        const taskId = `task-${(launched += 1)}`;
        const handed = new Promise<ActiveTask>((resolve) => waiting.set(taskId, resolve));
        await controller.launchTask(taskId);
        const task = await handed;
        for (let done = 0; done < count; done += fillAtOnce)
          await Promise.all(Array.from({ length: fillAtOnce }, () => task.addLogEntry("info", text)));
        return task;
      },
    };
  }
}

async function add(task: ActiveTask, entries: number): Promise<Cost> {
  const since = performance.now();
  const before = process.cpuUsage();
  for (let i = 0; i < entries; i += 1) await task.addLogEntry("info", text);
  const { user, system } = process.cpuUsage(before);
  return { wallUs: ((performance.now() - since) * 1_000) / entries, cpuUs: (user + system) / entries };
}

function print(
  tasks: readonly { name: string; remark: string }[],
  costs: ReadonlyMap<string, readonly Cost[]>,
  entries: number,
): Row[] {
  const kinds = { wallUs: "wall time", cpuUs: "processor time" } as const;
  return Object.entries(kinds).map(([key, kind]) => {
    const values = new Map([...costs].map(([name, all]) => [name, all.map((cost) => cost[key as keyof Cost])]));
    const title = `logs: ${kind} of an entry in us, ${entries} a round, each on disk before the next`;
    printRates({ title, unit: "us", remark: "of the entries" }, tasks, values, ["n = 1"]);
    const medians = [...values.values()].map(median);
    const factor = Math.max(...medians) / Math.min(...medians);
    return {
      name: `logs: ${kind} of the n-th entry`,
      measured: `${medians.map(inFigures).join(", ")} us; within a factor of ${factor.toFixed(2)}`,
      target: "within a factor of 2",
      met: factor <= 2,
    };
  });
}
