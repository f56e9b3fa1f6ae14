/**
 * What does watching cost? The server as a process of its own, and a process of watchers on grpc-js. A module of the server sets
 * the progress of its tasks; each change of a watched task is an event for each of its watchers.
 *
 * 1,000 tasks   1,000 watchers, each on a task of its own, whose progress is set once a second: 1,000 events a second
 * one task      1,000 watchers on one task, whose progress is set once a second: 1,000 events at the same moment
 * ..., storm    the same with progress every 100 ms, which is as often as a watcher is told: 10,000 events a second, or what can be had
 *
 * A delay is from the change to its arrival, the sync of its commit included. The memory of a watcher is what the server's resident
 * memory grows by for each of 4,000 that are idle, after the first 1,000.
 *
 * WATCH_SECONDS, WATCH_ROUNDS and WATCH_WATCHERS change the dose.
 */
import { makeDirectory, startProcess, startStint } from "./support/processes.ts";
import { dose, inFigures, inTurn, median, printRates } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const settleMs = 1_500;

interface Delivered {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Prints events a second, delays, and the memory of a watcher. */
export async function run(): Promise<Row[]> {
  const watchers = dose("WATCH_WATCHERS", 1_000);
  const seconds = dose("WATCH_SECONDS", 3);
  const rounds = dose("WATCH_ROUNDS", 5);
  const kinds = [
    { name: "1,000 tasks", tasks: watchers, everyMs: 1_000 },
    { name: "one task", tasks: 1, everyMs: 1_000 },
    { name: "1,000 tasks, storm", tasks: watchers, everyMs: 100 },
    { name: "one task, storm", tasks: 1, everyMs: 100 },
  ];
  const delivered = await inTurn(
    kinds.map((kind) => ({ name: kind.name, measure: () => deliver({ ...kind, watchers, seconds }) })),
    rounds,
  );
  const lines = kinds.map(({ name, everyMs }) => ({ name, remark: `progress every ${everyMs} ms` }));
  for (const [key, unit] of [
    ["perSecond", "events/s"],
    ["p50Ms", "p50, ms"],
    ["p99Ms", "p99, ms"],
  ] as const) {
    const values = new Map([...delivered].map(([name, all]) => [name, all.map((each) => each[key])]));
    const title = `watch: ${watchers} watchers, ${seconds} s a round, each on a server of its own`;
    printRates({ title, unit, remark: "of each task" }, lines, values);
  }
  const memory = await inTurn([{ name: "KiB", measure: () => memoryOf(watchers) }], rounds);
  const title = `watch: memory of a watcher, each round on a server of its own`;
  printRates({ title, unit: "KiB", remark: "" }, [{ name: "KiB", remark: "resident memory of the server" }], memory);
  return rowsOf(delivered, watchers, median(memory.get("KiB") ?? []));
}

async function deliver(asked: {
  tasks: number;
  everyMs: number;
  watchers: number;
  seconds: number;
}): Promise<Delivered> {
  await using directory = await makeDirectory();
  await using stint = await startStint(directory.path);
  await using load = startProcess("watch-load");
  await load.ask("launch", { ...asked, controller: "ticking", address: stint.address });
  await load.ask("watch", { ...asked, controller: "ticking" });
  await settle();
  return await load.ask<Delivered>("measure", asked);
}

async function memoryOf(watchers: number): Promise<number> {
  await using directory = await makeDirectory();
  await using stint = await startStint(directory.path);
  await using load = startProcess("watch-load");
  await load.ask("launch", { address: stint.address, controller: "many", tasks: watchers, everyMs: 0 });
  await load.ask("watch", { controller: "many", tasks: watchers, watchers });
  await settle();
  const before = stint.rssBytes();
  const more = 4 * watchers;
  await load.ask("watch", { controller: "many", tasks: watchers, watchers: more });
  await settle();
  return (stint.rssBytes() - before) / more / 1_024;
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, settleMs));
}

function rowsOf(delivered: ReadonlyMap<string, readonly Delivered[]>, watchers: number, memoryKiB: number): Row[] {
  const rows = [...delivered].map(([name, all]) => {
    const of = (key: keyof Delivered): number => median(all.map((each) => each[key]));
    const isStorm = name.endsWith("storm");
    return {
      name: `watch: ${name}`,
      measured: `${inFigures(of("perSecond"))} events/s, p50 ${inFigures(of("p50Ms"))} ms, p99 ${inFigures(of("p99Ms"))} ms`,
      target: isStorm ? "" : `p99 under 10 ms, ${watchers} events/s`,
      // Delays of what was hardly delivered say nothing.
      met: isStorm ? undefined : of("p99Ms") < 10 && of("perSecond") > watchers * 0.9,
    };
  });
  const measured = `${inFigures(memoryKiB)} KiB`;
  return [...rows, { name: "watch: memory of a watcher", measured, target: "under 16 KiB", met: memoryKiB < 16 }];
}
