import { Command, CommanderError } from "commander";
import pico from "picocolors";
import { CliError } from "./cli-error.ts";
import { addCancelCommand } from "./commands/cancel.ts";
import { addCompletionCommands } from "./commands/completion.ts";
import { addConfigCommand } from "./commands/config.ts";
import { addControllersCommand } from "./commands/controllers.ts";
import { addDeleteCommand } from "./commands/delete.ts";
import { addHelpCommand } from "./commands/help.ts";
import { addLaunchCommand } from "./commands/launch.ts";
import { addListCommand } from "./commands/list.ts";
import { addLogsCommand } from "./commands/logs.ts";
import { addServeCommand } from "./commands/serve.ts";
import { addStatusCommand } from "./commands/status.ts";
import { addStoreCommand } from "./commands/store.ts";
import { addVersionCommand } from "./commands/version.ts";
import { addWatchCommand } from "./commands/watch.ts";
import { addWorkCommand } from "./commands/work.ts";
import { exitCode } from "./exit-code.ts";
import { Interrupted, type Io, wantsColor } from "./io.ts";
import { version } from "./version.ts";

const exitHelp = `
Exit status: 0 success, or the watched task Completed; 1 it Failed, or another
error; 2 usage; 3 it was Canceled; 4 no connection; 5 the store is in use or
cannot be read; 6 serve: the port cannot be had; 7 the store is damaged; 8 store:
single records are damaged, or lost; 130 stopped by Ctrl-C, 143 by SIGTERM
(a task that is watched goes on; serve: stopped at once, by a second one).`;

/** Runs one command line, without the program's name before it; returns the exit status. Never throws. */
export async function runProgram(args: readonly string[], io: Io): Promise<number> {
  let code: number = exitCode.success;
  const program = createProgram(io, (commandCode) => {
    code = commandCode;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    return report(error, io);
  }
}

function createProgram(io: Io, exitWith: (code: number) => void): Command {
  const program = new Command("stint")
    .description("A durable task controller: launches tasks, shows them live, and finds them again after a crash.")
    .version(version, "-V, --version", "print the version of this program")
    // Of a command that is not there commander's own would show the usage, and not say what is wrong.
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: false })
    .addHelpText("after", exitHelp)
    .showHelpAfterError("(--help shows how it is used)")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHelpWidth: () => io.stdout.columns(),
      getErrHelpWidth: () => io.stderr.columns(),
      getOutHasColors: () => wantsColor(io, io.stdout),
      getErrHasColors: () => wantsColor(io, io.stderr),
    });
  const cli = { program, io, exitWith };
  addServeCommand(cli);
  addLaunchCommand(cli);
  addStatusCommand(cli);
  addListCommand(cli);
  addWatchCommand(cli);
  addLogsCommand(cli);
  addCancelCommand(cli);
  addDeleteCommand(cli);
  addControllersCommand(cli);
  addWorkCommand(cli);
  addStoreCommand(cli);
  addConfigCommand(cli);
  addVersionCommand(cli);
  addCompletionCommands(cli);
  addHelpCommand(cli);
  return program;
}

/** Says on stderr what went wrong, unless that was said already. */
function report(error: unknown, io: Io): number {
  // Commander has printed its message; --help and --version are "errors" with exit code 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.success : exitCode.usage;
  if (error instanceof Interrupted) return error.exitCode;
  const known =
    error instanceof CliError ? error : new CliError(`unexpected: ${error instanceof Error ? error.message : error}`);
  const colors = pico.createColors(wantsColor(io, io.stderr));
  const lines = [
    `${colors.red("error:")} ${known.message}`,
    ...known.violations.map((violation) => `  - ${violation}`),
    ...known.hints.map((hint) => `${colors.dim("hint:")} ${asCalled(hint, io.program)}`),
  ];
  io.stderr.write(`${lines.join("\n")}\n`);
  return known.exitCode;
}

/** The hint with the command that it names as it can be called here: from a clone, "stint" alone is not found. */
function asCalled(hint: string, program: string): string {
  return hint.replace(/(?<![\w./-])stint (?=[a-z])/, () => `${program} `);
}
