/** A server with a probe in it, remote runners, a command that watches, and what befalls them. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { TaskControllerService, WatchTasksRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { openRelay, type Relay } from "../../e2e/remote/relay.ts";
import { envelope, grpcHeaders } from "../../support/raw-http.ts";
import { eventually } from "../../support/eventually.ts";
import { makeScratchDirectory } from "../../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../../support/served-process.ts";
import { steps } from "./load.ts";

export interface Sample {
  readonly atMs: number;
  /** Resident memory, in bytes. */
  readonly rss: number;
  /** What of it are pages of files, which the system takes back when it likes. */
  readonly rssOfFiles: number;
  /** What the heap and its buffers hold after a collection, in bytes. */
  readonly held: number;
  readonly sockets: number;
  /** Timers, connections and whatever else Node waits for. */
  readonly handles: number;
  /** Time of the processor, since the start. */
  readonly cpuMs: number;
}

/** How long ended tasks and history are kept: minutes, so that what is there stays the same soon. */
const keptMs = { retention: 60_000, history: 120_000 };
export const historyBytes = 8 * 1024 * 1024;
const leaseMs = 5_000;
/** Twice as many runs that are over are remembered of each controller. */
const activeMax = 1_000;
const runners = 2;
/** How many streams somebody has who vanishes. */
const vanishing = 20;
const frozenMs = 8_000;

/** JavaScript, which starts faster than TypeScript. */
const runnerSource = `
  import { setTimeout as sleep } from "node:timers/promises";
  export const runner = {
    async onTaskRunning(task, { signal }) {
      const { steps } = await task.loadTaskMetadata();
      for (let step = 1; step <= steps; step += 1) {
        await sleep(50, undefined, { signal });
        await task.addLogEntry("info", "step " + step);
        await task.setProgress({ current: step, total: steps });
      }
      return { steps };
    },
  };`;

const children = {
  runner: (target: string, scratch: string) => [
    "--import",
    import.meta.resolve("tsx"),
    join(repositoryRoot, "test/e2e/runners/count-lines.ts"),
    target,
    "count",
    join(scratch, "ledger"),
  ],
  watcher: (target: string) => [
    join(repositoryRoot, "dist/cli/main.js"),
    ...["watch", "steps", "-o", "json", "--server", target],
  ],
};

export type World = Awaited<ReturnType<typeof openWorld>>;

/** The server alone, with its probe. */
async function openServer(directory: string, probeMs: number, probe: string) {
  const config = join(directory, "stint.yaml");
  await writeFile(probe, "");
  await writeFile(join(directory, "steps.mjs"), runnerSource);
  const hours = (ms: number): number => ms / 3_600_000;
  const settings = {
    retentionHours: hours(keptMs.retention),
    historyHours: hours(keptMs.history),
    historyBytes,
    limits: { activeMax, leaseMs, pingIntervalMs: 1_000, pingTimeoutMs: 2_000 },
    controllers: [
      { name: "steps", runner: { module: "steps.mjs" } },
      { name: "count", runner: { remote: {} } },
    ],
  };
  // JSON is YAML.
  await writeFile(config, JSON.stringify(settings));
  const server = await ServedProcess.create({ directory: join(directory, "data"), config });
  const samples = async (): Promise<Sample[]> => {
    const lines = (await readFile(probe, "utf8")).split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as Sample);
  };
  try {
    const moduleOfProbe = new URL("./memory-probe.mjs", import.meta.url).href;
    const env = { NODE_OPTIONS: `--import ${moduleOfProbe}`, STINT_PROBE: probe, STINT_PROBE_MS: String(probeMs) };
    await server.start(env);
    const starting = (await samples()).length;
    const before = await eventually(async () => {
      const [first] = (await samples()).slice(starting);
      if (first === undefined) throw new Error("there is no sample of the server that serves");
      return first;
    }, 60_000);
    return { server, samples, before };
  } catch (error) {
    await server.kill();
    throw error;
  }
}

/** `probeMs`: how often a sample is taken. `keep`: where the samples are kept, if not for the test only. */
export async function openWorld(probeMs: number, keep?: string) {
  const scratch = await makeScratchDirectory();
  if (keep !== undefined) await mkdir(keep, { recursive: true });
  const files = join(scratch.path, "files");
  await mkdir(files);
  for (let n = 1; n <= steps; n += 1) await writeFile(join(files, `${n}.txt`), "line\n");
  const { server, samples, before } = await openServer(scratch.path, probeMs, join(keep ?? scratch.path, "probe"));
  const port = Number(new URL(server.baseUrl).port);
  const clientRelay = await openRelay(port);
  const runnerRelays = await Promise.all(Array.from({ length: runners }, () => openRelay(port)));
  const start = (args: readonly string[]): ChildProcess => spawn(process.execPath, args, { stdio: "ignore" });
  const started = {
    runners: runnerRelays.map((relay) => start(children.runner(relay.target, scratch.path))),
    watcher: start(children.watcher(`127.0.0.1:${port}`)),
  };
  const baseUrl = `http://${clientRelay.target}`;
  const end = (): void => {
    for (const child of [...started.runners, started.watcher]) child.kill("SIGKILL");
  };
  return {
    server,
    data: join(scratch.path, "data"),
    /** As it was when the server was up and nobody else was there. */
    before,
    samples,
    clients: Array.from({ length: 4 }, () => createClient(TaskControllerService, createGrpcTransport({ baseUrl }))),
    remoteMetadata: JSON.stringify({ files: join(files, "*.txt"), pauseMs: 20 }),
    emptyRemoteMetadata: JSON.stringify({ files: join(files, "*.none"), pauseMs: 0 }),
    runnerRelays,
    clientRelay,
    replaceRunner(n: number): void {
      started.runners[n]?.kill("SIGKILL");
      started.runners[n] = start(children.runner((runnerRelays[n] as Relay).target, scratch.path));
    },
    runner: (n: number): ChildProcess => started.runners[n] as ChildProcess,
    watcher: (): ChildProcess => started.watcher,
    /** Ends all but the server. */
    end,
    async [Symbol.asyncDispose]() {
      end();
      await server.kill();
      for (const relay of [clientRelay, ...runnerRelays]) await relay[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

/** What the files of a directory take, in bytes. */
export async function diskBytes(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const sizes = entries
    .filter((each) => each.isFile())
    .map(async (entry) =>
      // A compaction may have deleted it meanwhile.
      stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** What is done every now and then; the number says which time it is. Each resolves when it is over. */
export const faults = {
  async "connections of clients cut"({ clientRelay }: World): Promise<void> {
    if (clientRelay.cut() === 0) throw new Error("no client is connected");
  },
  async "watches vanish"({ server }: World): Promise<void> {
    const session = connectHttp2(server.baseUrl).on("error", () => {});
    const body = envelope(toBinary(WatchTasksRequestSchema, create(WatchTasksRequestSchema, { controller: "steps" })));
    const begun = Array.from({ length: vanishing }, () => {
      const stream = session.request({ ...grpcHeaders, ":path": "/stint.v1.TaskControllerService/WatchTasks" });
      stream.on("error", () => {}).end(body);
      return new Promise((resolve) => stream.once("response", resolve));
    });
    await Promise.all(begun);
    session.destroy();
  },
  async "connection of a runner cut"({ runnerRelays }: World, nth: number): Promise<void> {
    runnerRelays[nth % runners]?.cut();
  },
  async "runner killed"(world: World, nth: number): Promise<void> {
    world.replaceRunner(nth % runners);
  },
  async "watching command frozen"(world: World): Promise<void> {
    world.watcher().kill("SIGSTOP");
    await sleep(frozenMs);
    world.watcher().kill("SIGCONT");
  },
  async "runner frozen"(world: World, nth: number): Promise<void> {
    const frozen = world.runner(nth % runners);
    frozen.kill("SIGSTOP");
    await sleep(1.5 * leaseMs);
    frozen.kill("SIGCONT");
  },
};

export type Fault = keyof typeof faults;
