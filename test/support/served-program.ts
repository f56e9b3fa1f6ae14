/** The program, serving in a process of its own. Needs dist/ (npm run build). */
import { type ChildProcess, spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Limits } from "../../src/server/limits.ts";
import { CanaryWatch, canaryEnvironment } from "./canary.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** One line of its log. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ServedProgram extends AsyncDisposable {
  readonly port: number;
  readonly baseUrl: string;
  /** What it has logged. */
  readonly log: readonly LogLine[];
  /** Resolves when it is gone, and all that it has said was read. */
  readonly exited: Promise<Exit>;
  kill(signal: NodeJS.Signals): void;
  /** Resident memory, in bytes. */
  memory(): Promise<number>;
  readonly pid: number;
}

/** Counts steps until it is told to stop. JavaScript, which starts faster than TypeScript. */
const runnerSource = `
  import { setTimeout as sleep } from "node:timers/promises";
  export const runner = {
    async onTaskRunning(task, { signal }) {
      const { limit = 10, intervalMs = 20, failAt = 0 } = (await task.loadTaskMetadata()) ?? {};
      const from = Number((await task.getProgress())?.current ?? 0n);
      for (let step = from + 1; step <= limit; step += 1) {
        await sleep(intervalMs, undefined, { signal });
        if (step === failAt) throw new Error("failed at step " + step);
        await task.addLogEntry("info", "step " + step);
        await task.setProgress({ current: step, total: limit });
      }
    },
  };`;

/** Serves the controller "steps" on the store in `directory`, on a port that is free where none is given; resolves when it is up. */
export async function serveProgram(
  directory: string,
  options: { limits?: Partial<Limits>; heapMaxMb?: number; port?: number } = {},
): Promise<ServedProgram> {
  const config = join(directory, "stint.yaml");
  await writeFile(join(directory, "steps.mjs"), runnerSource);
  const controllers = [{ name: "steps", runner: { module: "steps.mjs" } }];
  // JSON is YAML.
  await writeFile(config, JSON.stringify({ limits: options.limits ?? {}, controllers }));
  const args = ["serve", "--config", config, "--no-banner", "--listen", `127.0.0.1:${options.port ?? 0}`];
  const child = spawn(
    process.execPath,
    [
      `--max-old-space-size=${options.heapMaxMb ?? 1_000}`,
      // What Node 20 has by itself. Node 24 takes twice that for new objects, and of a small heap it then leaves so little that it collects without end.
      "--max-semi-space-size=16",
      join(root, "dist/cli/main.js"),
      ...args,
      "--data-dir",
      join(directory, "store"),
    ],
    // Started by npm or npx it would take two signals in a row for one.
    { stdio: ["ignore", "inherit", "pipe"], env: { ...process.env, ...canaryEnvironment, npm_lifecycle_event: "" } },
  );
  const canaryWatch = new CanaryWatch();
  child.stderr.setEncoding("utf8").on("data", (said: string) => canaryWatch.take(said));
  const log: LogLine[] = [];
  const exited = new Promise<Exit>((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  const address = await readLog(child, log, exited);
  const pid = child.pid ?? 0;
  return {
    port: Number(address.split(":").at(-1)),
    baseUrl: `http://${address}`,
    log,
    exited,
    pid,
    kill: (signal) => void child.kill(signal),
    async memory() {
      return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
      canaryWatch.check();
    },
  };
}

/** What a command of the program has printed, and how it ended. */
export interface CommandRun {
  readonly stdout: string[];
  readonly stderr: string[];
  readonly ended: Promise<number | null>;
}

/** Runs a command against that server, in a process of its own whose output is a pipe. */
export function runCommand(port: number, ...args: readonly string[]): CommandRun {
  const server = ["--server", `127.0.0.1:${port}`];
  const child = spawn(process.execPath, [join(root, "dist/cli/main.js"), ...args, ...server], {
    stdio: ["ignore", "pipe", "pipe"],
    // Hints name the program as it was called, by npx or not, and the tests themselves may have been.
    env: { ...process.env, npm_lifecycle_event: "" },
  });
  const run = { stdout: [] as string[], stderr: [] as string[] };
  for (const name of ["stdout", "stderr"] as const) {
    createInterface(child[name]).on("line", (line) => run[name].push(line));
  }
  return { ...run, ended: new Promise((resolve) => child.once("close", resolve)) };
}

/** Collects the lines of the log; resolves to the address in the one that says that the server is up. */
function readLog(child: ChildProcess, log: LogLine[], exited: Promise<Exit>): Promise<string> {
  return new Promise((resolve, reject) => {
    let rest = "";
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (!line.startsWith("{")) continue;
        log.push(JSON.parse(line) as LogLine);
        if (log.at(-1)?.msg === "the server is up") resolve(String(log.at(-1)?.["address"]));
      }
    });
    void exited.then(({ code }) => reject(new Error(`the server is not up: ${code} ${rest} ${JSON.stringify(log)}`)));
  });
}
