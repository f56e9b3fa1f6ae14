/**
 * A runner whose work is a command: starts it for each task, hands it what it is told, takes what it says, and makes of its
 * exit the task's end.
 *
 * | the command | not told to stop | told to stop |
 * | --- | --- | --- |
 * | exits with 0, and gave a result | Completed | Completed |
 * | exits with 0 | Completed | by why it was told |
 * | exits with another code, or by a signal | Failed, EXIT_CODE | by why it was told |
 * | cannot be started | Failed, RUNNER_ERROR | |
 *
 * "By why it was told" is what the reason of the signal means to the controller: Canceled, resumed later, Failed with TIMEOUT.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { Code } from "#gen/google/rpc/code_pb.js";
import { onAbort } from "../async/signals.ts";
import type { JsonText } from "../json-text.ts";
import { taskEnvironment } from "./command-environment.ts";
import { CommandError } from "./command-error.ts";
import { CommandOutput, logLevel } from "./command-output.ts";
import { type CommandExit, CommandProcess } from "./command-process.ts";
import type { CommandContext, CommandTask } from "./command-task.ts";
import { fillTemplate } from "./command-template.ts";
import type { CommandRecord, Commands } from "./commands.ts";
import { childFiles } from "./inherited-files.ts";
import { tokenVariable } from "./process-table.ts";
import type { ResolvedCommand } from "./resolve-command.ts";

export interface ExecRunnerOptions {
  /** The name of the controller whose tasks it runs. */
  readonly controller: string;
  readonly command: ResolvedCommand;
  readonly commands: Commands;
  /** How long a command that was told to stop may take, in ms. Default 5,000. */
  readonly stopMs?: number | undefined;
}

/** A TaskRunner, as the controller calls it. */
export interface ExecRunner {
  readonly isIsolated: true;
  /** Throws CommandError for metadata that the command's arguments cannot be made of. */
  onTaskPending(task: CommandTask): Promise<void>;
  /** Runs the command. Throws CommandError when it fails, the signal's reason when it was stopped. */
  onTaskRunning(task: CommandTask, context: CommandContext): Promise<JsonText | undefined>;
}

/** A command with the arguments that one task makes of it. */
interface Invocation {
  readonly args: readonly string[];
  readonly jsonMetadata: string;
}

export function createExecRunner({ controller, command, commands, stopMs = 5_000 }: ExecRunnerOptions): ExecRunner {
  return {
    isIsolated: true,
    async onTaskPending(task) {
      await loadInvocation(command, task);
    },
    async onTaskRunning(task, context) {
      const { signal, attempt, runId, fence } = context;
      const invocation = await loadInvocation(command, task);
      const progress = await task.getProgress();
      const { jsonMetadata } = invocation;
      const variables = { taskId: task.taskId, controller, runId, attempt, fence, progress, jsonMetadata };
      const record = await commands.begin(signal);
      try {
        signal.throwIfAborted();
        const environment = { ...taskEnvironment(variables), [tokenVariable]: record.token };
        const child = await start(command, invocation, { environment, record });
        const output = new CommandOutput(task, commands.ports.clock);
        const running = new CommandProcess({ child, token: record.token, output, ports: commands.ports, stopMs });
        const offAbort = onAbort(signal, () => running.stop());
        const exit = await running.done().finally(offAbort);
        return await settle(exit, { output, stoppedBy: running.wasStopped ? signal : undefined });
      } finally {
        await record.end();
      }
    },
  };
}

async function loadInvocation(command: ResolvedCommand, task: CommandTask): Promise<Invocation> {
  const text = await task.loadJsonMetadata();
  const jsonMetadata = text.trim() === "" ? "" : text;
  const metadata: unknown = jsonMetadata === "" ? undefined : JSON.parse(jsonMetadata);
  return { args: fillTemplate(command.template, metadata), jsonMetadata };
}

/** Spawns the command; resolves once it is one. */
async function start(
  command: ResolvedCommand,
  { args, jsonMetadata }: Invocation,
  { environment, record }: { environment: Record<string, string>; record: CommandRecord },
): Promise<ChildProcess> {
  const { file, cwd } = command;
  const env = { ...command.environment, ...environment };
  try {
    const child = record.spawn((mark) =>
      spawn(file, args, { cwd, env, detached: true, shell: false, stdio: childFiles(mark) }),
    );
    // A command that does not read what it is told, or not all of it, may do so.
    child.stdin?.on("error", () => {});
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.on("error", reject);
    });
    child.stdin?.end(jsonMetadata);
    return child;
  } catch (error) {
    throw await startFailure(command, error);
  }
}

const startFailures: Readonly<Record<string, readonly [Code, string]>> = {
  ENOENT: [Code.FAILED_PRECONDITION, "it is not there, or what interprets it is not"],
  EACCES: [Code.FAILED_PRECONDITION, "permission denied"],
  E2BIG: [Code.INVALID_ARGUMENT, "its arguments and environment are larger than the system allows"],
  EAGAIN: [Code.RESOURCE_EXHAUSTED, "too many processes run"],
  ENOMEM: [Code.RESOURCE_EXHAUSTED, "there is not enough memory"],
  EMFILE: [Code.RESOURCE_EXHAUSTED, "too many files are open in the server"],
  ENFILE: [Code.RESOURCE_EXHAUSTED, "too many files are open on this machine"],
};

async function startFailure({ file, cwd }: ResolvedCommand, cause: unknown): Promise<CommandError> {
  const { code: errno = "", message: told } = cause as NodeJS.ErrnoException;
  const [code, known] = startFailures[errno] ?? [Code.UNKNOWN, told];
  // The system tells of a missing directory as of a missing program.
  const hasDirectory = await stat(cwd).then(
    (found) => found.isDirectory(),
    () => false,
  );
  const why = errno === "ENOENT" && !hasDirectory ? `its working directory ${cwd} is not there` : known;
  const message = `the command ${file} cannot be started: ${why}`;
  return new CommandError({ code, message, details: { errno }, cause });
}

/** What the exit makes of the task: returns the result, throws otherwise. */
async function settle(
  { code, signal }: CommandExit,
  { output, stoppedBy }: { output: CommandOutput; stoppedBy: AbortSignal | undefined },
): Promise<JsonText | undefined> {
  const { result, error } = output;
  const isDone = code === 0 && (stoppedBy === undefined || result !== undefined);
  const isFailed = code !== 0 && stoppedBy === undefined;
  // The error becomes that of the task only if the task fails with it; it is not lost otherwise.
  if (error !== undefined && !isFailed) output.addEntry(logLevel.error, error);
  await output.flush();
  if (isDone) return result;
  if (!isFailed) throw (stoppedBy as AbortSignal).reason;
  const how = code === null ? `was ended by ${signal}` : `ended with exit code ${code}`;
  const details: Record<string, string> = code === null ? { signal: String(signal) } : { exit_code: String(code) };
  throw new CommandError({ message: error ?? `the command ${how}`, reason: "EXIT_CODE", details });
}
