/**
 * The processes of a benchmark: the server as it is built, and those of bench/processes/, which are plain JavaScript, as
 * what tsx makes of TypeScript is slower. All end with this process. STINT_BENCH_CPU_PROF=DIRECTORY has each leave a profile there when it ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const profileDirectory = process.env["STINT_BENCH_CPU_PROF"];

export interface BenchProcess extends AsyncDisposable {
  readonly pid: number;
  /** Resident memory. */
  rssBytes(): number;
  /** What of it is no page of a file: of the program, or of the store where LevelDB has mapped it. The system takes such pages back when it needs them. */
  ownBytes(): number;
  /** What it has taken of the processors since it began. */
  processorMs(): number;
  /** The same with the time that its threads had to wait for one: what has come to rest has neither, also where the machine is loaded. */
  busyMs(): number;
}

/** One that is asked for one thing after the other. */
export interface AskedProcess extends BenchProcess {
  /** What it answers. Throws what it failed with. */
  ask<T>(verb: string, what?: object): Promise<T>;
}

export interface StintProcess extends BenchProcess {
  /** HOST:PORT. */
  readonly address: string;
}

/** A call that is made late, or an answer that is read late, as the load collects its garbage, would count against the server: the loads have room for much that is new. */
const loadFlags = ["--max-semi-space-size=64"];

/** Starts bench/processes/NAME.mjs. */
export function startProcess(name: string, ...args: readonly string[]): AskedProcess {
  const flags = name.endsWith("-load") ? loadFlags : [];
  const file = join(root, "bench/processes", `${name}.mjs`);
  return askedOf(spawnNode([...flags, file, ...args], ["pipe", "pipe", "inherit"]), name);
}

/** Starts a program that answers as those do. */
export function startProgram(path: string): AskedProcess {
  return askedOf(spawn(path, { stdio: ["pipe", "pipe", "inherit"] }), path);
}

function askedOf(child: ChildProcess, name: string): AskedProcess {
  const lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
  return {
    ...processOf(child, () => child.stdin!.end()),
    async ask<T>(verb: string, what: object = {}) {
      child.stdin!.write(`${JSON.stringify({ verb, ...what })}\n`);
      const { value: line, done } = await lines.next();
      if (done) throw new Error(`${name} has ended`);
      const { answer, error } = JSON.parse(line) as { answer: T; error?: string };
      if (error !== undefined) throw new Error(`${name}: ${error}`);
      return answer;
    },
  };
}

/**
 * Modules of runners: one that does nothing; one whose tasks run until the server stops, unless they are launched with metadata.ends; and one whose tasks set their
 * progress meanwhile, at times of their own.
 */
const modules = {
  "nothing.mjs": "export const runner = { onTaskRunning() {} };",
  "holding.mjs": `export const runner = {
    async onTaskRunning(task, { signal }) {
      if ((await task.loadTaskMetadata())?.ends === true) return;
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  };`,
  "ticking.mjs": `import { setTimeout as sleep } from "node:timers/promises";
  export const runner = {
    async onTaskRunning(task, { signal }) {
      const { everyMs } = await task.loadTaskMetadata();
      // At times that nothing puts off: tasks that wait for the same moment would go on together from then on, and be a load of bursts.
      const since = performance.now() + Math.random() * everyMs;
      for (let current = 1; ; current += 1) {
        const written = task.setProgress({ current });
        await sleep(Math.max(0, since + current * everyMs - performance.now()), undefined, { signal });
        await written;
      }
    },
  };`,
};
const controllers = [
  { name: "remote", runner: { remote: {} } },
  { name: "remote-progress", runner: { remote: {} } },
  { name: "module", runner: { module: "nothing.mjs" } },
  { name: "many", runner: { module: "holding.mjs" } },
  { name: "ticking", runner: { module: "ticking.mjs" } },
  { name: "progress", runner: { module: join(root, "bench/processes/progress.mjs") } },
];
/** Far above what one client may do otherwise: what is measured is what the server can, not what it lets one client do. */
const raised = {
  streamOpensPerSecondMax: 1_000_000,
  runnerMessagesPerSecondMax: 1_000_000,
  streamsPerSessionMax: 10_000,
  waitingMax: 100_000_000,
  progressPerSecondMax: 1_000,
};

/**
 * Starts the server as it is built, with its store in `directory`. Its controllers "remote" and "remote-progress" are for runners that connect, "module"
 * runs a module that does nothing, "many" one whose tasks do not end, "ticking" one whose tasks
 * set their progress every metadata.everyMs, "progress" that of bench/processes/.
 */
export async function startStint(directory: string, limits: object = raised): Promise<StintProcess> {
  for (const [name, source] of Object.entries(modules)) await writeFile(join(directory, name), source);
  // JSON is YAML.
  await writeFile(join(directory, "stint.yaml"), JSON.stringify({ limits, controllers }));
  const flags = ["--config", join(directory, "stint.yaml"), "--no-banner", "--listen", "127.0.0.1:0"];
  const store = ["--data-dir", storeIn(directory)];
  const child = spawnNode([join(root, "dist/cli/main.js"), "serve", ...flags, ...store], ["ignore", "inherit", "pipe"]);
  return { ...processOf(child, () => child.kill("SIGTERM")), address: await addressOf(child) };
}

/** Runs a script of Node's to its end. Throws where it fails. */
export async function runScript(...args: readonly string[]): Promise<void> {
  const child = spawnNode(args, ["ignore", "ignore", "inherit"]);
  await using _ = processOf(child, () => child.kill());
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  if (code !== 0) throw new Error(`${args.join(" ")} has ended with ${signal ?? code}`);
}

/** Where the server in `directory` has its store. */
export function storeIn(directory: string): string {
  return join(directory, "store");
}

function spawnNode(args: readonly string[], stdio: Array<"pipe" | "ignore" | "inherit">): ChildProcess {
  const profile = profileDirectory === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profileDirectory];
  // Started by npm, the server would take two signals in a row for one.
  return spawn(process.execPath, [...profile, ...args], { stdio, env: { ...process.env, npm_lifecycle_event: "" } });
}

/** A child of this process that ends with it; at the end of its scope it is stopped, and waited for. */
export function processOf(child: ChildProcess, stop: () => void): BenchProcess {
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  const pid = child.pid ?? 0;
  return {
    pid,
    processorMs: () => ticksOf(readFileSync(`/proc/${pid}/stat`, "utf8")) * 10,
    busyMs: () => scheduledMs(pid),
    rssBytes: () => residentBytes(pid, "VmRSS"),
    ownBytes: () => residentBytes(pid, "RssAnon"),
    async [Symbol.asyncDispose]() {
      process.off("exit", kill);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      stop();
      await exited;
    },
  };
}

function residentBytes(pid: number, which: string): number {
  const kilobytes = new RegExp(`${which}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) * 1_024;
}

/** On a processor, and waiting for one, of all threads that are there. */
function scheduledMs(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  const nanoseconds = readdirSync(tasks).map((task) => {
    const [run, waited] = readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ");
    return Number(run) + Number(waited);
  });
  return nanoseconds.reduce((sum, each) => sum + each, 0) / 1e6;
}

/** Of a hundredth of a second, for the process and in the kernel for it. */
function ticksOf(stat: string): number {
  // What is before the state is its name, in brackets.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Resolves to the address that the server says in its log; what it says there as a warning or worse is printed. */
function addressOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the server has ended with ${code}`)));
    createInterface(child.stderr!).on("line", (line) => {
      const { level, msg, address } = line.startsWith("{")
        ? (JSON.parse(line) as { level: string; msg: string; address?: string })
        : { level: "error", msg: line };
      if (msg === "the server is up") resolve(String(address));
      else if (level !== "info" && level !== "debug") console.error(`the server: ${line}`);
    });
  });
}
