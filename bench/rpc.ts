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
 * http2 batch    an echo of the messages of a batch there: what of a batch is messages, and not Stint's
 * asynq          the peer of batches: tasks enqueued by id, 64 in flight, by a Go program with asynq, into a Redis with fsync always
 *
 * The peer is measured where `go` and `redis-server` are on the PATH; its program, bench/peers/asynq, is built then.
 *
 * Beside the rates stands the processor time that the server takes for a task, with what it puts off: a load that shares the machine does not change it much.
 *
 * Then latencies, at a rate that is the same for all (open loop: a call is counted from when it was to be sent). The timer
 * that sends them keeps to milliseconds, which is in all of them.
 *
 * RPC_SECONDS, RPC_ROUNDS and RPC_RATE change the dose.
 */
import { makeDirectory } from "./support/directory.ts";
import { startGoPeer } from "./support/go-peer.ts";
import { type AskedProcess, type BenchProcess, startProcess, startStint } from "./support/processes.ts";
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
  /** Whose processor time is measured. */
  readonly server?: BenchProcess;
}

/** Of one target in one round. */
interface Measured {
  readonly perSecond: number;
  /** NaN where it is not measured. */
  readonly processorUs: number;
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
    const measured = await measureRates(load, all, { seconds, rounds });
    const valuesOf = (key: keyof Measured): Map<string, number[]> =>
      new Map([...measured].map(([name, each]) => [name, each.map((round) => round[key])]));
    const [rates, processor] = [valuesOf("perSecond"), valuesOf("processorUs")];
    const title = `rpc: LaunchTask over gRPC for ${seconds} s a round, ${inFlight} calls in flight on one connection`;
    printRates({ title, unit: "tasks/s", remark: "what" }, all, rates, ["grpc-js", "connect", "http2"]);
    const withServer = all.filter(({ server }) => server !== undefined);
    const processorTitle = "rpc: processor time of the server for a task in µs";
    printRates({ title: processorTitle, unit: "µs", remark: "what" }, withServer, processor, ["http2", "http2 batch"]);
    if (typeof asynq === "string") console.log(`\nasynq is left out: ${asynq}`);
    const unary = targets.filter((target) => target.batch === undefined);
    const latencies = await inTurn(
      unary.map((target) => ({
        name: target.name,
        measure: () => load.ask<Latency>("open", { ...askedOf(target), perSecond, seconds }),
      })),
      rounds,
    );
    printLatencies(`rpc: latency in ms, ${perSecond} calls a second (open loop)`, unary, latencies);
    return rowsOf(rates, processor, { latencies, perSecond });
  } finally {
    for (const each of started.toReversed()) await each[Symbol.asyncDispose]();
  }
}

async function startTargets(started: AsyncDisposable[]): Promise<Target[]> {
  const directory = await makeDirectory();
  started.push(directory);
  const stint = await startStint(directory.path);
  started.push(stint);
  const server = { address: stint.address, server: stint };
  const targets: Target[] = [
    { name: "stint", ...server, controller: "remote", inFlight, remark: "LaunchTask, synced" },
    {
      name: "stint, run",
      ...server,
      controller: "module",
      inFlight,
      remark: "and run to its end, synced",
    },
    {
      name: "stint batch",
      ...server,
      controller: "remote",
      ...batch,
      remark: `BatchLaunchTasks, ${batch.inFlight} calls of ${batch.batch} in flight, synced`,
    },
  ];
  for (const name of ["grpc-js", "connect", "http2"]) {
    const echo = startProcess("echo-server", name);
    started.push(echo);
    const { address } = await echo.ask<{ address: string }>("listen");
    const target = { name, address, controller: "remote", server: echo };
    targets.push({ ...target, inFlight, remark: "echo, stores nothing" });
    if (name === "http2")
      targets.push({ ...target, name: "http2 batch", ...batch, remark: "echo of a batch, stores nothing" });
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
): Promise<Map<string, Measured[]>> {
  const measured = targets.map((target) => ({
    name: target.name,
    async measure() {
      const { load: own = load, server } = target;
      const before = server?.processorMs() ?? NaN;
      const asked = { ...askedOf(target), seconds };
      const { perSecond, tasks = NaN } = await own.ask<{ perSecond: number; tasks?: number }>("closed", asked);
      // What the server put off, for a second at most, is done now, and not in the next one's time.
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      return { perSecond, processorUs: (((server?.processorMs() ?? NaN) - before) * 1_000) / tasks };
    },
  }));
  await inTurn(measured, 1);
  return inTurn(measured, rounds);
}

/** What the load is to know of a target. */
function askedOf({ address, controller, inFlight: calls, batch: size }: Target): object {
  return { address, controller, inFlight: calls, batch: size };
}

function printLatencies(title: string, targets: readonly Target[], latencies: ReadonlyMap<string, Latency[]>): void {
  for (const key of ["p50Ms", "p99Ms"] as const) {
    const values = new Map([...latencies].map(([name, all]) => [name, all.map((each) => each[key])]));
    printRates({ title, unit: key, remark: "what" }, targets, values, ["grpc-js"]);
  }
}

function rowsOf(
  rates: Map<string, number[]>,
  processor: Map<string, number[]>,
  { latencies, perSecond }: { latencies: Map<string, Latency[]>; perSecond: number },
): Row[] {
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
      name: "rpc: BatchLaunchTasks, what of it is messages",
      measured: `${(shareOf(processor, "http2 batch", "stint batch") * 100).toFixed(0)} % of the server's processor time`,
      target: "",
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
