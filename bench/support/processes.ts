/**
 * The processes of a benchmark: the server as it is built, and those of bench/processes/, which are plain JavaScript, as
 * what tsx makes of TypeScript is slower. All end with this process. STINT_BENCH_CPU_PROF=DIRECTORY has each leave a profile there when it ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const profileDirectory = process.env["STINT_BENCH_CPU_PROF"];

export interface BenchProcess extends AsyncDisposable {
  readonly pid: number;
  /** Resident memory. */
  rssBytes(): number;
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

/** Starts bench/processes/NAME.mjs. */
export function startProcess(name: string, ...args: readonly string[]): AskedProcess {
  const child = spawnNode([join(root, "bench/processes", `${name}.mjs`), ...args], ["pipe", "pipe", "inherit"]);
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

/** A runner that does nothing and returns at once. */
const moduleSource = "export const runner = { onTaskRunning() {} };";
/** Far above what one client may do otherwise: what is measured is what the server can, not what it lets one client do. */
const limits = { streamOpensPerSecondMax: 1_000_000, runnerMessagesPerSecondMax: 1_000_000, watchersMax: 10_000 };

/** Starts the server as it is built, with an empty store: its controller "remote" is for runners that connect, "module" runs a module that does nothing. */
export async function startStint(): Promise<StintProcess> {
  const directory = await mkdtemp(join(tmpdir(), "stint-bench-"));
  await writeFile(join(directory, "module.mjs"), moduleSource);
  const controllers = [
    { name: "remote", runner: { remote: {} } },
    { name: "module", runner: { module: "module.mjs" } },
  ];
  // JSON is YAML.
  await writeFile(join(directory, "stint.yaml"), JSON.stringify({ limits, controllers }));
  const flags = ["--config", join(directory, "stint.yaml"), "--no-banner", "--listen", "127.0.0.1:0"];
  const main = join(root, "dist/cli/main.js");
  const child = spawnNode(
    [main, "serve", ...flags, "--data-dir", join(directory, "store")],
    ["ignore", "inherit", "pipe"],
  );
  const { [Symbol.asyncDispose]: stop, ...rest } = processOf(child, () => child.kill("SIGTERM"));
  return {
    ...rest,
    address: await addressOf(child),
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function spawnNode(args: readonly string[], stdio: Array<"pipe" | "ignore" | "inherit">): ChildProcess {
  const profile = profileDirectory === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profileDirectory];
  // Started by npm, the server would take two signals in a row for one.
  return spawn(process.execPath, [...profile, ...args], { stdio, env: { ...process.env, npm_lifecycle_event: "" } });
}

function processOf(child: ChildProcess, stop: () => void): BenchProcess {
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  const pid = child.pid ?? 0;
  return {
    pid,
    rssBytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1_024,
    async [Symbol.asyncDispose]() {
      process.off("exit", kill);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      stop();
      await exited;
    },
  };
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
