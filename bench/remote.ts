/**
 * How fast do tasks get to a remote runner, and through it? Three processes: the server, a runner (stint/runner) whose tasks do
 * nothing, and a load process on grpc-js.
 *
 * remote   tasks a second from BatchLaunchTasks to Completed, all steps synced, through the runner
 * module   the same in the process of the server, by a module
 * temporal the peer: workflows of one activity that does nothing, from start to result, 64 in flight, on a development server of its own in each round
 *          (its store is in memory, nothing is on disk), with a worker and a load process on Temporal's packages
 *
 * The peer is measured where `temporal` is on the PATH and its packages can be imported:
 * go install github.com/temporalio/cli/cmd/temporal@v1.5.1, and npm install --no-save @temporalio/client @temporalio/worker @temporalio/workflow.
 *
 * Then how long after it was to be launched a task is in the hands of the runner, which is when its onTaskPending is called, at
 * 100 launches a second (open loop). The clocks of the two processes are the machine's.
 *
 * REMOTE_TASKS, REMOTE_ROUNDS, REMOTE_RATE and REMOTE_SECONDS change the dose.
 */
import { makeDirectory } from "./support/directory.ts";
import { startProcess, startStint } from "./support/processes.ts";
import { dose, inFigures, inTurn, median, printRates, shareOf } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";
import { measureTemporal, missingTemporal } from "./support/temporal.ts";

const batch = { batch: 500, inFlight: 2 };
/** As many as one runner may have. */
const capacity = 1_000;
const remarks: Readonly<Record<string, string>> = {
  remote: `a process of capacity ${capacity}`,
  module: "in the server's process",
  temporal: "a process, nothing on disk",
};

interface Taken {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Prints tasks a second through a remote runner, and how soon it has them. */
export async function run(): Promise<Row[]> {
  const tasks = dose("REMOTE_TASKS", 5_000);
  const rounds = dose("REMOTE_ROUNDS", 5);
  const rate = dose("REMOTE_RATE", 100);
  const seconds = dose("REMOTE_SECONDS", 3);
  await using directory = await makeDirectory();
  await using stint = await startStint(directory.path);
  await using runner = startProcess("remote-runner");
  await using load = startProcess("launch-load");
  await runner.ask("connect", { address: stint.address, controller: "remote", capacity });
  const asked = { address: stint.address, ...batch };
  const own = ["remote", "module"].map((name) => ({
    name,
    measure: async () =>
      (await load.ask<{ perSecond: number }>("toEnd", { ...asked, tasks, controller: name })).perSecond,
  }));
  const missing = await missingTemporal();
  const temporal = { name: "temporal", measure: () => measureTemporal({ inFlight: 64, seconds }) };
  await inTurn(own, 1);
  const rates = await inTurn(missing === undefined ? [...own, temporal] : own, rounds);
  const lines = [...rates.keys()].map((name) => ({ name, remark: remarks[name] ?? "" }));
  const title = `remote: ${tasks} tasks a round from launch to end, ${batch.inFlight} batches of ${batch.batch} in flight, synced`;
  printRates({ title, unit: "tasks/s", remark: "runner" }, lines, rates, ["module"]);
  if (missing !== undefined) console.log(`\ntemporal is left out: ${missing}`);
  const assign = async (): Promise<Taken> => {
    await runner.ask("taken");
    await load.ask("open", { address: stint.address, controller: "remote", perSecond: rate, seconds });
    return runner.ask<Taken>("taken");
  };
  const taken = (await inTurn([{ name: "assigned", measure: assign }], rounds)).get("assigned") ?? [];
  const times = new Map((["p50Ms", "p99Ms"] as const).map((key) => [key, taken.map((each) => each[key])]));
  const timesTitle = `remote: from launch to assignment in ms, ${rate} launches a second, ${seconds} s a round`;
  const timesLines = [...times.keys()].map((name) => ({ name, remark: `${taken[0]?.count} tasks in the first round` }));
  printRates({ title: timesTitle, unit: "ms", remark: "" }, timesLines, times);
  await runner.ask("drain");
  return rowsOf(rates, median(times.get("p50Ms") ?? []), rate);
}

function rowsOf(rates: ReadonlyMap<string, number[]>, p50Ms: number, rate: number): Row[] {
  const perSecond = median(rates.get("remote") ?? []);
  return [
    {
      name: "remote: tasks through a remote runner",
      measured: `${inFigures(perSecond)} tasks/s, ${shareOf(rates, "remote", "module").toFixed(2)} of a module's`,
      target: "5000 tasks/s",
      met: perSecond >= 5_000,
    },
    {
      name: "remote: against temporal",
      measured: rates.has("temporal") ? `${shareOf(rates, "remote", "temporal").toFixed(1)} times` : "it was left out",
      target: "",
    },
    {
      name: `remote: launch to assignment at ${rate} a second`,
      measured: `p50 ${inFigures(p50Ms)} ms`,
      target: "p50 under 5 ms",
      met: p50Ms < 5,
    },
  ];
}
