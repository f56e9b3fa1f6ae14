/**
 * What does LaunchTask take on a server that has other things to do? Its p99 at a modest rate (open loop), on a server with the limits
 * it is shipped with, quiet and under each load in turn; each time a server of its own, on which some thousand calls have been made before.
 *
 * quiet            nothing else
 * slow watchers    100 watchers that read nothing after their first message, of 10 tasks; each says 4,000 bytes of progress ten times a second
 * watchers         1,000 watchers, each on a task of its own whose progress is set once a second: 1,000 events a second
 * storm            a module of the server whose one task sets its progress 10,000 times a second
 * remote storm     the same by a runner in a process of its own
 * storm of many    1,000 tasks of the module that set theirs ten times a second, as often as it goes to disk: 10,000 writes a second, or what can be had
 *
 * The processes of the load share the machine with the server, so that what they take is in the latencies, too. The second table
 * has what the server itself takes of a processor.
 *
 * LOADED_RATE, LOADED_SECONDS and LOADED_ROUNDS change the dose.
 */
import { makeDirectory } from "./support/directory.ts";
import { type AskedProcess, type StintProcess, startProcess, startStint } from "./support/processes.ts";
import { dose, inFigures, inTurn, median, printRates, shareOf } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const settleMs = 2_000;

/** A server, and the processes that can load it. */
interface Loads {
  readonly stint: StintProcess;
  readonly watchers: AskedProcess;
  readonly runner: AskedProcess;
}

interface Load {
  readonly name: string;
  readonly remark: string;
  /** Whether LaunchTask must take no more than twice what it takes on a quiet server. */
  readonly target: boolean;
  readonly begin: (loads: Loads) => Promise<void>;
}

const storm = { tasks: 1, metadata: { perSecond: 10_000 } };
const loads: readonly Load[] = [
  { name: "quiet", remark: "", target: false, begin: async () => {} },
  {
    name: "slow watchers",
    remark: "100 that read nothing, of 10 tasks",
    target: true,
    begin: async (on) => {
      const tasks = 10;
      await launch(on, { tasks, metadata: { perSecond: 10, messageBytes: 4_000 } });
      await on.watchers.ask("watch", { controller: "progress", tasks, watchers: 100, slow: true });
    },
  },
  {
    name: "watchers",
    remark: "1,000, each of a task that changes once a second",
    target: true,
    begin: async (on) => {
      const tasks = 1_000;
      await launch(on, { tasks, metadata: { perSecond: 1 } });
      await on.watchers.ask("watch", { controller: "progress", tasks, watchers: tasks });
    },
  },
  {
    name: "storm",
    remark: "10,000 times a second progress of a module's task",
    target: true,
    begin: (on) => launch(on, storm),
  },
  {
    name: "remote storm",
    remark: "the same of a remote runner's",
    target: true,
    begin: async (on) => {
      const controller = "remote-progress";
      await on.runner.ask("connect", { address: on.stint.address, controller, capacity: 1, setsProgress: true });
      await launch(on, { ...storm, controller });
    },
  },
  {
    name: "storm of many",
    remark: "the same by 1,000 tasks of the module, ten times each",
    target: false,
    begin: (on) => launch(on, { tasks: 1_000, metadata: { perSecond: 10 } }),
  },
];

interface Found {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of 1. */
  readonly processor: number;
}

/** Prints what LaunchTask takes under each load. */
export async function run(): Promise<Row[]> {
  const perSecond = dose("LOADED_RATE", 200);
  const seconds = dose("LOADED_SECONDS", 5);
  const rounds = dose("LOADED_ROUNDS", 5);
  const found = await inTurn(
    loads.map((load) => ({ name: load.name, measure: () => measure(load, { perSecond, seconds }) })),
    rounds,
  );
  const title = `loaded: LaunchTask ${perSecond} times a second (open loop), ${seconds} s a round, each on a server of its own`;
  const of = (key: keyof Found): Map<string, number[]> =>
    new Map([...found].map(([name, all]) => [name, all.map((each) => each[key])]));
  for (const [key, unit] of [
    ["p50Ms", "p50, ms"],
    ["p99Ms", "p99, ms"],
    ["processor", "processors"],
  ] as const) {
    printRates({ title, unit, remark: "load" }, loads, of(key), ["quiet"]);
  }
  return loads.filter(({ target }) => target).map(({ name }) => rowOf(name, of("p99Ms")));
}

async function measure(load: Load, { perSecond, seconds }: { perSecond: number; seconds: number }): Promise<Found> {
  await using directory = await makeDirectory();
  await using stint = await startStint(directory.path, {});
  await using calls = startProcess("launch-load");
  await using watchers = startProcess("watch-load");
  await using runner = startProcess("remote-runner");
  const called = { address: stint.address, controller: "remote" };
  await calls.ask("closed", { ...called, inFlight: 16, seconds: 2 });
  await load.begin({ stint, watchers, runner });
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const [since, busySince] = [performance.now(), stint.processorMs()];
  const { p50Ms, p99Ms } = await calls.ask<Found>("open", { ...called, perSecond, seconds });
  return { p50Ms, p99Ms, processor: (stint.processorMs() - busySince) / (performance.now() - since) };
}

function launch({ stint, watchers }: Loads, what: object): Promise<void> {
  return watchers.ask("launch", { address: stint.address, controller: "progress", ...what });
}

function rowOf(name: string, p99Ms: ReadonlyMap<string, readonly number[]>): Row {
  const factor = shareOf(p99Ms, name, "quiet");
  return {
    name: `loaded: LaunchTask under ${name}`,
    measured: `p99 ${inFigures(median(p99Ms.get(name) ?? []))} ms, ${factor.toFixed(2)} times the quiet server's`,
    target: "within a factor of 2",
    met: factor <= 2,
  };
}
