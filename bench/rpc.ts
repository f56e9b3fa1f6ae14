/**
 * What does a call cost? LaunchTask over gRPC, a load process on grpc-js with 64 calls in flight over one connection, against
 * the server in a process of its own. A call counts when its launch is on disk.
 *
 * stint          LaunchTask; the tasks wait for a runner, so that nothing but the launches is measured
 * stint, run     the same, and the server runs each task, which does nothing: three commits more for each
 * stint batch    BatchLaunchTasks, counted by the task
 * grpc-js        an echo of the same messages, which stores nothing, on grpc-js's server
 * connect        an echo on connect-node's
 * http2          an echo on Node's http2 core with the framing by hand: the limit of Node
 * asynq          the peer of batches: tasks enqueued by id, 64 in flight, by a Go program with asynq, into a Redis with fsync always
 *
 * The peer is measured where `go` and `redis-server` are on the PATH; its program, bench/peers/asynq, is built then.
 *
 * Then latencies, at a rate that is the same for all (open loop: a call is counted from when it was to be sent). The timer
 * that sends them keeps to milliseconds, which is in all of them.
 *
 * RPC_SECONDS, RPC_ROUNDS and RPC_RATE change the dose.
 */
import { makeDirectory } from "./support/directory.ts";
import { startGoPeer } from "./support/go-peer.ts";
import { type AskedProcess, startProcess, startStint } from "./support/processes.ts";
import { missingRedis, startRedis } from "./support/redis.ts";
import { dose, inFigures, inTurn, median, printRates, shareOf } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const inFlight = 64;
const batch = { inFlight: 2, batch: 500 };

interface Target {
  readonly name: string;
  readonly address: string;
  readonly controller: string;
  readonly remark: string;
  readonly batch?: number;
  readonly inFlight: number;
  /** What calls it, where that is not the load of all. */
  readonly load?: AskedProcess;
}

interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Prints calls a second and latencies of the server and of the echoes. */
export async function run(): Promise<Row[]> {
  const seconds = dose("RPC_SECONDS", 2);
  const rounds = dose("RPC_ROUNDS", 5);
  const perSecond = dose("RPC_RATE", 300);
  const started: AsyncDisposable[] = [];
  try {
    const load = startProcess("launch-load");
    started.push(load);
    const targets = await startTargets(started);
    const asynq = await startAsynq(started);
    const all = typeof asynq === "string" ? targets : [...targets, asynq];
    const rates = await measureRates(load, all, { seconds, rounds });
    const title = `rpc: LaunchTask over gRPC for ${seconds} s a round, ${inFlight} calls in flight on one connection`;
    printRates({ title, unit: "tasks/s", remark: "what" }, all, rates, ["grpc-js", "connect", "http2"]);
    if (typeof asynq === "string") console.log(`\nasynq is left out: ${asynq}`);
    const unary = targets.filter((target) => target.batch === undefined);
    const latencies = await inTurn(
      unary.map((target) => ({
        name: target.name,
        measure: () => load.ask<Latency>("open", { ...target, perSecond, seconds }),
      })),
      rounds,
    );
    printLatencies(`rpc: latency in ms, ${perSecond} calls a second (open loop)`, unary, latencies);
    return rowsOf(rates, latencies, perSecond);
  } finally {
    for (const each of started.toReversed()) await each[Symbol.asyncDispose]();
  }
}

async function startTargets(started: AsyncDisposable[]): Promise<Target[]> {
  const directory = await makeDirectory();
  started.push(directory);
  const stint = await startStint(directory.path);
  started.push(stint);
  const targets: Target[] = [
    { name: "stint", address: stint.address, controller: "remote", inFlight, remark: "LaunchTask, synced" },
    {
      name: "stint, run",
      address: stint.address,
      controller: "module",
      inFlight,
      remark: "and run to its end, synced",
    },
    {
      name: "stint batch",
      address: stint.address,
      controller: "remote",
      ...batch,
      remark: `BatchLaunchTasks, ${batch.inFlight} calls of ${batch.batch} in flight, synced`,
    },
  ];
  for (const name of ["grpc-js", "connect", "http2"]) {
    const echo = startProcess("echo-server", name);
    started.push(echo);
    const { address } = await echo.ask<{ address: string }>("listen");
    targets.push({ name, address, controller: "remote", inFlight, remark: "echo, stores nothing" });
  }
  return targets;
}

/** The peer of batches, or why there is none. */
async function startAsynq(started: AsyncDisposable[]): Promise<Target | string> {
  const missing = missingRedis();
  if (missing !== undefined) return missing;
  const directory = await makeDirectory();
  started.push(directory);
  const load = startGoPeer("asynq", directory.path);
  if (typeof load === "string") return load;
  started.push(load);
  const redis = await startRedis(directory.path, "always");
  started.push(redis);
  const address = `127.0.0.1:${redis.port}`;
  return { name: "asynq", address, controller: "", inFlight, load, remark: "tasks enqueued, synced" };
}

async function measureRates(
  load: AskedProcess,
  targets: readonly Target[],
  { seconds, rounds }: { seconds: number; rounds: number },
): Promise<Map<string, number[]>> {
  const measured = targets.map(({ load: own = load, ...target }) => ({
    name: target.name,
    async measure() {
      const { perSecond } = await own.ask<{ perSecond: number }>("closed", { ...target, seconds });
      // What the server put off is done now, and not in the next one's time.
      await new Promise((resolve) => setTimeout(resolve, 500));
      return perSecond;
    },
  }));
  await inTurn(measured, 1);
  return inTurn(measured, rounds);
}

function printLatencies(title: string, targets: readonly Target[], latencies: ReadonlyMap<string, Latency[]>): void {
  for (const key of ["p50Ms", "p99Ms"] as const) {
    const values = new Map([...latencies].map(([name, all]) => [name, all.map((each) => each[key])]));
    printRates({ title, unit: key, remark: "what" }, targets, values, ["grpc-js"]);
  }
}

function rowsOf(rates: Map<string, number[]>, latencies: Map<string, Latency[]>, perSecond: number): Row[] {
  const rate = (name: string): string => inFigures(median(rates.get(name) ?? []));
  const ofEcho = shareOf(rates, "stint", "grpc-js");
  const ofBatch = shareOf(rates, "stint batch", "stint");
  const ofAsynq = rates.has("asynq") ? shareOf(rates, "stint batch", "asynq") : undefined;
  const p = (key: keyof Latency): string => inFigures(median((latencies.get("stint") ?? []).map((each) => each[key])));
  return [
    {
      name: "rpc: LaunchTask, of the grpc-js echo",
      measured: `${rate("stint")} calls/s, ${(ofEcho * 100).toFixed(0)} %`,
      target: "at least 85 %",
      met: ofEcho >= 0.85,
    },
    {
      name: "rpc: LaunchTask, of the connect-node echo",
      measured: `${shareOf(rates, "stint", "connect").toFixed(2)} times`,
      target: "",
    },
    {
      name: "rpc: BatchLaunchTasks, a task",
      measured: `${rate("stint batch")} tasks/s, ${ofBatch.toFixed(1)} times LaunchTask`,
      target: "at least 10 times",
      met: ofBatch >= 10,
    },
    {
      name: "rpc: BatchLaunchTasks, against asynq",
      measured:
        ofAsynq === undefined
          ? "asynq was left out"
          : `${rate("stint batch")} tasks/s, ${ofAsynq.toFixed(2)} times asynq's`,
      target: "above asynq's",
      met: ofAsynq === undefined ? undefined : ofAsynq > 1,
    },
    {
      name: `rpc: latency at ${perSecond} a second`,
      measured: `p50 ${p("p50Ms")} ms, p99 ${p("p99Ms")} ms`,
      target: "",
    },
  ];
}
