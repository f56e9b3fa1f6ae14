/** Commands that are run without a controller: what they say is kept, and what they start is on record in a directory. */
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TaskError } from "#gen/core/v1/core_pb.js";
import { systemClock } from "../../src/clock.ts";
import type { JsonText } from "../../src/json-text.ts";
import { type Log, silentLog } from "../../src/log.ts";
import { systemRandom } from "../../src/random.ts";
import type { CommandContext, CommandTask } from "../../src/runner/command-task.ts";
import { type Commands, openCommands } from "../../src/runner/commands.ts";
import { createExecRunner } from "../../src/runner/exec-runner.ts";
import { createProcessTable, tokenVariable } from "../../src/runner/process-table.ts";
import { type CommandConfig, resolveCommand } from "../../src/runner/resolve-command.ts";
import { type AbortKind, AbortReason } from "../../src/task/abort.ts";
import { cutText } from "../../src/task/limits.ts";
import { makeScratchDirectory } from "./scratch-directory.ts";

export const node = process.execPath;

export interface RunOptions extends Partial<CommandConfig> {
  readonly metadata?: unknown;
  readonly jsonMetadata?: string;
  readonly kept?: { current: bigint; total: bigint };
  readonly attempt?: number;
  readonly stopMs?: number;
  /** What adding a log entry waits for, or throws. */
  readonly onEntry?: (level: number, msg: string) => Promise<void> | void;
}

export interface CommandRun {
  readonly logs: Array<[level: number, msg: string]>;
  readonly progress: Array<{ current: bigint; total: bigint; message: string }>;
  readonly signal: AbortSignal;
  /** Resolves when a log entry says so. */
  said(msg: string): Promise<void>;
  stop(kind?: AbortKind): void;
  /** The result, parsed. */
  readonly ended: Promise<unknown>;
  /** What it threw. */
  failure(): Promise<Error & { taskError?: TaskError }>;
}

export class CommandHarness implements AsyncDisposable {
  readonly directory: string;
  readonly commands: Commands;
  readonly #dispose: () => Promise<void>;
  readonly #runs: CommandRun[] = [];

  constructor(directory: string, commands: Commands, dispose: () => Promise<void>) {
    this.directory = directory;
    this.commands = commands;
    this.#dispose = dispose;
  }

  /** Runs a command: a list of arguments, or a script for Node. */
  run(command: string | readonly string[], options: RunOptions = {}): CommandRun {
    const logs: Array<[number, string]> = [];
    const progress: CommandRun["progress"] = [];
    const listeners = new Set<() => void>();
    const aborting = new AbortController();
    const { metadata, jsonMetadata = metadata === undefined ? "" : JSON.stringify(metadata) } = options;
    const task: CommandTask = {
      taskId: "task-1",
      loadJsonMetadata: async () => jsonMetadata,
      getProgress: async () => options.kept,
      setProgress: async (set) => void progress.push(set),
      async addLogEntry(level, msg) {
        logs.push([level, cutText(msg, 16 * 1024)]);
        for (const listener of listeners) listener();
        await options.onEntry?.(level, msg);
      },
    };
    const context = { signal: aborting.signal, attempt: options.attempt ?? 1, runId: "run-1", fence: 7n };
    const ended = this.#start(typeof command === "string" ? [node, "-e", command] : command, options, task, context);
    ended.catch(() => {});
    const run: CommandRun = {
      logs,
      progress,
      signal: aborting.signal,
      said: (msg) =>
        new Promise((resolve) => {
          const look = (): void => {
            if (logs.some(([, each]) => each === msg)) resolve();
          };
          listeners.add(look);
          look();
        }),
      stop: (kind = "CANCEL") => aborting.abort(new AbortReason(kind)),
      ended,
      failure: () =>
        ended.then(
          (result) => Promise.reject(new Error(`it did not fail: ${JSON.stringify(result)}`)),
          (error: Error) => error,
        ),
    };
    this.#runs.push(run);
    return run;
  }

  async #start(command: readonly string[], options: RunOptions, task: CommandTask, context: CommandContext) {
    const { cwd = this.directory, env, passEnv, stopMs } = options;
    const resolved = await resolveCommand({ command, cwd, env, passEnv }, process.env);
    const runner = createExecRunner({ controller: "tests", command: resolved, commands: this.commands, stopMs });
    await runner.onTaskPending(task);
    const result: JsonText | undefined = await runner.onTaskRunning(task, context);
    return result?.toJSON();
  }

  /** Stops what a test that failed has left. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const run of this.#runs) run.stop();
    await this.#dispose();
  }
}

/** A harness of its own, at whose end no command runs. */
export async function openCommandHarness(log: Log = silentLog): Promise<CommandHarness> {
  const scratch = await makeScratchDirectory();
  const directory = join(scratch.path, "commands");
  const commands = await openCommands({ directory, clock: systemClock, random: systemRandom, log });
  return new CommandHarness(scratch.path, commands, async () => {
    await commands.close();
    await scratch[Symbol.asyncDispose]();
  });
}

/** Whether the process runs; one that has ended and whose parent has not been told does not. */
export async function isRunning(pid: number): Promise<boolean> {
  return (await createProcessTable().list()).some((each) => each.pid === pid);
}

/** The number in a file that a command writes, once it is there. */
export async function numberIn(path: string): Promise<number> {
  for (;;) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (/^\d+\n$/.test(text)) return Number(text);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Starts a process as a server does that dies right after; it is ended with the test at the latest. */
export async function startLeftBehind(script: string, options: { token?: string; directory: string; name: string }) {
  const file = join(options.directory, `${options.name}.mjs`);
  const pidFile = join(options.directory, `${options.name}.pid`);
  const tell = `(await import("node:fs")).writeFileSync(${JSON.stringify(pidFile)}, process.pid + "\\n");`;
  await writeFile(file, `${script}\n${tell}\nsetInterval(() => {}, 1000);`);
  const env = options.token === undefined ? {} : { [tokenVariable]: options.token };
  const child = spawn(node, [file], { detached: true, stdio: "ignore", env });
  await numberIn(pidFile);
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    child,
    pid: child.pid as number,
    exited,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
