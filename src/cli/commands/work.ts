import { join } from "node:path";
import { Option } from "commander";
import type { Log } from "../../log.ts";
import type { Commands } from "../../runner/commands.ts";
import type { ResolvedCommand } from "../../runner/resolve-command.ts";
import { createCountParser, parseDurationMs } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { addExample, addServerOptions, type Cli, type ClientOptions, findServer } from "../client-command.ts";
import { explainConnectionFailure } from "../connection-failure.ts";
import { exitCode } from "../exit-code.ts";
import type { Io } from "../io.ts";
import { createProcessLog } from "../process-log.ts";
import { escapeText } from "../text/escape.ts";

interface WorkOptions extends Pick<ClientOptions, "server" | "ca"> {
  readonly controller: string;
  readonly capacity: number;
  readonly name?: string;
  readonly drain: number;
  readonly dataDir?: string;
}

/** stint work: runs a command for each task of a controller, as a remote runner. */
export function addWorkCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("work")
    .usage("[options] -- <command...>")
    .summary("run a command for each task of a controller")
    .description(
      "Runs a command for each task of a controller, on this machine, which need not be the server's. The command is told of " +
        `its task, and says how it goes, as one that the server runs itself (exec). '\${metadata.KEY}' in an argument stands for ` +
        "a value of the task's metadata. Ends at SIGTERM or SIGINT, when the tasks that run have finished; a second one ends it at once.",
    )
    .argument("<command...>", "the command and its arguments, after --")
    .requiredOption("--controller <name>", "whose tasks are run; made if it is not there")
    .option("--capacity <count>", "how many tasks are run at one time", createCountParser(1, 1_000), 1)
    .option("--name <name>", "what people know this runner by (default: the machine's name and the pid)")
    .addOption(drainOption())
    .option(
      "--data-dir <dir>",
      "note there which commands run, so that those that a killed `stint work` has left are ended when it is started again",
    );
  addExample(
    addServerOptions(command),
    "stint work --controller resize --capacity 4 -- ./resize.sh",
    `stint work --controller fetch --server tasks:7846 -- curl -fsSO '\${metadata.url}'`,
  );
  command.action(async (words: string[], options: WorkOptions) => {
    await work(io, words, options);
    exitWith(exitCode.success);
  });
}

function drainOption(): Option {
  return new Option("--drain <time>", "how long tasks may go on when it is to end")
    .argParser(parseDurationMs)
    .default(20_000, "20s");
}

async function work(io: Io, words: readonly string[], options: WorkOptions): Promise<void> {
  const { controller, capacity, name, drain: drainMs } = options;
  // Loaded here and not above: the other commands start faster without them.
  const [{ createExecRunner }, { runRemote, RunnerError }] = await Promise.all([
    import("../../runner/exec-runner.ts"),
    import("../../runner-client/run-remote.ts"),
  ]);
  const { address, ca } = await findServer(io, options);
  const log = hintingLog(createProcessLog(io), address);
  const command = await findCommand(io, words);
  const commands = await noteCommands(io, { directory: options.dataDir, log });
  const offExit = io.onExit(() => commands.kill());
  try {
    const runner = createExecRunner({ controller, command, commands });
    const { signal } = io;
    const shared = { target: address, ca: ca?.toString(), controller, capacity, name, drainMs, signal, log };
    await runRemote({ ...shared, signals: [], runner }).closed;
  } catch (error) {
    if (!(error instanceof RunnerError)) throw error;
    const isWrong = error.code === "OPTION" || wrongStatuses.has(error.status);
    throw new CliError(escapeText(error.message), {
      exitCode: isWrong ? exitCode.usage : exitCode.failed,
      hints: hints[error.status ?? ""] ?? [],
      cause: error,
    });
  } finally {
    await commands.close();
    offExit();
  }
}

/** What comes to the same when it is tried again: the command line, or the server's configuration, is to change. */
const wrongStatuses: ReadonlySet<string | undefined> = new Set(["INVALID_ARGUMENT", "FAILED_PRECONDITION"]);

const hints: Readonly<Record<string, readonly string[]>> = {
  FAILED_PRECONDITION: ["stint controllers shows who runs the tasks of which controller"],
  UNIMPLEMENTED: ["is it a Stint server, and new enough? stint version --server HOST:PORT shows which"],
};

/** The log, with what to do next where no connection comes about, in the words of the other commands. */
function hintingLog(log: Log, address: string): Log {
  return {
    debug: (fields, message) => log.debug(fields, message),
    info: (fields, message) => log.info(fields, message),
    error: (fields, message) => log.error(fields, message),
    warn(fields, message) {
      const { why } = fields as { readonly why?: unknown };
      const failure = typeof why === "string" ? neverConnected.exec(why)?.[1] : undefined;
      const explained = failure === undefined ? {} : explainConnectionFailure(failure, address);
      log.warn({ ...fields, ...explained }, message);
    },
  };
}

/** What the session says of a stream for which there was no connection. */
const neverConnected = /^UNAVAILABLE: ((?:No connection established|Name resolution failed).*)$/s;

/** The command, which gets all of this process's environment: who starts it has set that for it. */
async function findCommand(io: Io, words: readonly string[]): Promise<ResolvedCommand> {
  const { resolveCommand } = await import("../../runner/resolve-command.ts");
  try {
    return await resolveCommand({ command: words, passEnv: Object.keys(io.env) }, io.env);
  } catch (cause) {
    throw new CliError(escapeText(messageOf(cause)), { exitCode: exitCode.usage, cause });
  }
}

async function noteCommands(
  { clock, random }: Io,
  { directory, log }: { readonly directory: string | undefined; readonly log: Log },
): Promise<Commands> {
  const { openCommands } = await import("../../runner/commands.ts");
  const ports = { clock, random, log };
  if (directory === undefined) return openCommands(ports);
  try {
    return await openCommands({ ...ports, directory: join(directory, "commands"), isExclusive: true });
  } catch (cause) {
    throw new CliError(`--data-dir: ${escapeText(messageOf(cause))}`, { cause });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
