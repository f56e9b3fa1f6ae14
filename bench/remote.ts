/**
 * How fast do tasks get to a remote runner, and through it? Three processes: the server, a runner (stint/runner) whose tasks do
 * nothing, and a load process on grpc-js.
 *
 * remote   tasks a second from BatchLaunchTasks to Completed, all steps synced, through the runner
 * module   the same in the process of the server, by a module
 *
 * Then how long after it was to be launched a task is in the hands of the runner, which is when its onTaskPending is called, at
 * 100 launches a second (open loop). The clocks of the two processes are the machine's.
 *
 * REMOTE_TASKS, REMOTE_ROUNDS, REMOTE_RATE and REMOTE_SECONDS change the dose.
 */
import { spawnSync } from "node:child_process";
import { makeDirectory, startProcess, startStint } from "./support/processes.ts";
import { dose, inFigures, inTurn, median, printRates, shareOf } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const batch = { batch: 500, inFlight: 2 };
/** As many as one runner may have. */
const capacity = 1_000;

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
  const lines = [
    { name: "remote", remark: `a runner process of capacity ${capacity}` },
    { name: "module", remark: "in the server's process" },
  ];
  const asked = { address: stint.address, ...batch };
  const measured = lines.map(({ name }) => ({
    name,
    measure: async () =>
      (await load.ask<{ perSecond: number }>("toEnd", { ...asked, tasks, controller: name })).perSecond,
  }));
  await inTurn(measured, 1);
  const rates = await inTurn(measured, rounds);
  const title = `remote: ${tasks} tasks a round from launch to end, ${batch.inFlight} batches of ${batch.batch} in flight, synced`;
  printRates({ title, unit: "tasks/s", remark: "runner" }, lines, rates, ["module"]);
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
  console.log(`\n${temporal()}`);
  return rowsOf(rates, median(times.get("p50Ms") ?? []), rate);
}

/** What is to be said of the peer, which is not measured yet: its worker is native code, and no dependency for a benchmark. */
function temporal(): string {
  const isThere = spawnSync("temporal", ["--version"]).status === 0;
  const install = "go install github.com/temporalio/cli/cmd/temporal@v1.5.1";
  return isThere
    ? "temporal is there, but a load for it is not: it is left out"
    : `temporal is left out: it is not on the PATH (${install})`;
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
      name: `remote: launch to assignment at ${rate} a second`,
      measured: `p50 ${inFigures(p50Ms)} ms`,
      target: "p50 under 5 ms",
      met: p50Ms < 5,
    },
  ];
}
