/**
 * What does watching cost? The server as a process of its own, and a process of watchers, which read streams of Node's http2 core.
 * A module of the server sets the progress of its tasks; each change of a watched task is an event for each of its watchers.
 *
 * 1,000 tasks   1,000 watchers, each on a task of its own, whose progress is set once a second: 1,000 events a second
 * one task      1,000 watchers on one task, whose progress is set once a second: 1,000 events at the same moment
 * ..., storm    the same with progress every 100 ms, which is as often as a watcher is told: 10,000 events a second, or what can be had
 *
 * The peer in the same run is a bare server on Node's http2 core that writes messages of the same size to the same watchers at
 * the same rates: what that takes is the limit.
 *
 * A delay is from the change to its arrival, the sync of its commit included. Processor time is the server's for each event, the commits
 * of changes included. The memory of a watcher is what the server's resident memory grows by for each of 4,000 that are idle, after the first 1,000.
 *
 * WATCH_SECONDS, WATCH_ROUNDS and WATCH_WATCHERS change the dose.
 */
import { makeDirectory } from "./support/directory.ts";
import { type AskedProcess, type BenchProcess, startProcess, startStint } from "./support/processes.ts";
import { dose, inFigures, inTurn, median, printRates } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const settleMs = 1_500;
const bare = "bare http2";

interface Delivered {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuUs: number;
}

interface Asked {
  readonly tasks: number;
  readonly everyMs: number;
  readonly watchers: number;
  readonly seconds: number;
}

/** A server, its watchers, and what has the watched tasks change, where that is not so from their launch on. */
interface Watched {
  readonly server: BenchProcess;
  readonly address: string;
  readonly load: AskedProcess;
  readonly tick: () => Promise<void>;
}

/** Prints events a second, delays, processor time, and the memory of a watcher, each of Stint and of the peer. */
export async function run(): Promise<Row[]> {
  const watchers = dose("WATCH_WATCHERS", 1_000);
  const seconds = dose("WATCH_SECONDS", 3);
  const rounds = dose("WATCH_ROUNDS", 5);
  const kinds = [
    { name: "1,000 tasks", tasks: watchers, everyMs: 1_000 },
    { name: "one task", tasks: 1, everyMs: 1_000 },
    { name: "1,000 tasks, storm", tasks: watchers, everyMs: 100 },
    { name: "one task, storm", tasks: 1, everyMs: 100 },
  ].flatMap((kind) => [
    { ...kind, isBare: false },
    { ...kind, name: `${kind.name}, ${bare}`, isBare: true },
  ]);
  const delivered = await inTurn(
    kinds.map((kind) => ({ name: kind.name, measure: () => deliver({ ...kind, watchers, seconds }, kind.isBare) })),
    rounds,
  );
  const lines = kinds.map(({ name, everyMs }) => ({ name, remark: `progress every ${everyMs} ms` }));
  for (const [key, unit] of [
    ["perSecond", "events/s"],
    ["p50Ms", "p50, ms"],
    ["p99Ms", "p99, ms"],
    ["cpuUs", "processor, µs/event"],
  ] as const) {
    const values = new Map([...delivered].map(([name, all]) => [name, all.map((each) => each[key])]));
    const title = `watch: ${watchers} watchers, ${seconds} s a round, each on a server of its own`;
    printRates({ title, unit, remark: "of each task" }, lines, values);
  }
  const memory = await inTurn(
    [
      { name: "Stint", measure: () => memoryOf(watchers, false) },
      { name: bare, measure: () => memoryOf(watchers, true) },
    ],
    rounds,
  );
  const title = `watch: memory of a watcher, each round on a server of its own`;
  const remark = "resident memory of the server";
  printRates(
    { title, unit: "KiB", remark: "" },
    [...memory.keys()].map((name) => ({ name, remark })),
    memory,
  );
  return rowsOf(delivered, watchers, memory);
}

async function deliver(asked: Asked, isBare: boolean): Promise<Delivered> {
  const measure = async ({ server, address, load, tick }: Watched): Promise<Delivered> => {
    await load.ask("watch", { ...asked, address, controller: "ticking" });
    await tick();
    await settle();
    const before = server.processorMs();
    const { events, ...rest } = await load.ask<Delivered & { events: number }>("measure", asked);
    return { ...rest, cpuUs: ((server.processorMs() - before) * 1_000) / events };
  };
  return await (isBare ? withBare(asked, measure) : withStint({ ...asked, controller: "ticking" }, measure));
}

async function memoryOf(watchers: number, isBare: boolean): Promise<number> {
  const asked = { tasks: watchers, everyMs: 0, controller: "many" };
  const measure = async ({ server, address, load }: Watched): Promise<number> => {
    await load.ask("watch", { ...asked, address, watchers });
    await settle();
    const before = server.rssBytes();
    const more = 4 * watchers;
    await load.ask("watch", { ...asked, address, watchers: more });
    await settle();
    return (server.rssBytes() - before) / more / 1_024;
  };
  return await (isBare ? withBare(asked, measure) : withStint(asked, measure));
}

/** With Stint, and its tasks launched. */
async function withStint<T>(launch: object, measure: (watched: Watched) => Promise<T>): Promise<T> {
  await using directory = await makeDirectory();
  await using server = await startStint(directory.path);
  const { address } = server;
  await using load = startProcess("watch-load");
  await load.ask("launch", { ...launch, address });
  return await measure({ server, address, load, tick: async () => {} });
}

/** With the peer, which begins to send when it is told to tick. */
async function withBare<T>(
  ticking: Pick<Asked, "tasks" | "everyMs">,
  measure: (watched: Watched) => Promise<T>,
): Promise<T> {
  await using server = startProcess("watch-peer");
  const { address } = await server.ask<{ address: string }>("listen");
  await using load = startProcess("watch-load");
  return await measure({ server, address, load, tick: () => server.ask("tick", ticking) });
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, settleMs));
}

function rowsOf(
  delivered: ReadonlyMap<string, readonly Delivered[]>,
  watchers: number,
  memory: ReadonlyMap<string, readonly number[]>,
): Row[] {
  const rows = [...delivered].map(([name, all]) => {
    const of = (key: keyof Delivered): number => median(all.map((each) => each[key]));
    const hasTarget = !name.includes("storm") && !name.endsWith(bare);
    const [perSecond, p50, p99, cpu] = [of("perSecond"), of("p50Ms"), of("p99Ms"), of("cpuUs")].map(inFigures);
    return {
      name: `watch: ${name}`,
      measured: `${perSecond} events/s, p50 ${p50} ms, p99 ${p99} ms, ${cpu} µs of processor each`,
      target: hasTarget ? `p99 under 10 ms, ${watchers} events/s` : "",
      // Delays of what was hardly delivered say nothing.
      met: hasTarget ? of("p99Ms") < 10 && of("perSecond") > watchers * 0.9 : undefined,
    };
  });
  const [stint = NaN, peer = NaN] = [...memory.values()].map(median);
  const measured = `${inFigures(stint)} KiB, ${bare} ${inFigures(peer)} KiB`;
  return [...rows, { name: "watch: memory of a watcher", measured, target: "under 16 KiB", met: stint < 16 }];
}
