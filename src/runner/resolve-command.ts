import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { type Environment, type EnvironmentConfig, resolveEnvironment } from "./command-environment.ts";
import { checkArgument, type CommandTemplate, hasPlaceholder, parseTemplate } from "./command-template.ts";

export interface CommandConfig extends EnvironmentConfig {
  /** The program and its arguments; see command-template.ts. The program is a path, or a name that is looked up in PATH. */
  readonly command: readonly string[];
  /** Where it runs. Default: where the server was started. */
  readonly cwd?: string | undefined;
}

/** A command that can be started. */
export interface ResolvedCommand {
  /** The program, absolute. */
  readonly file: string;
  readonly template: CommandTemplate;
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** What is wrong with the text of the program; undefined when nothing is. */
export function checkProgram(text: string): string | undefined {
  if (hasPlaceholder(text)) return "the program must be the same for every task: it can have no placeholder";
  // On Windows they are run by a shell, which takes arguments apart. Nowhere else they are of use.
  if (/\.(bat|cmd)$/i.test(text)) return "must not be a .bat or .cmd: a shell would run it";
  return text === "" ? "must not be empty" : checkArgument(text);
}

/**
 * What is wrong with the command as a whole; undefined when nothing is. A value inside of a shell's script would be taken apart, and run, by the
 * shell: it must be an argument of its own, which the script has as "$1".
 */
export function checkCommand(command: readonly string[]): string | undefined {
  if (!command.some((text, index) => shellPattern.test(text) && hasFilledScript(command.slice(index + 1)))) return;
  return 'a placeholder in the script of a shell would be run by it: make it an argument of its own, after the script and a name, and use "$1" in the script';
}

const shellPattern = /(^|\/)(sh|ash|bash|dash|fish|ksh|mksh|zsh)$/;

/**
 * Whether a shell with these arguments has a script among them into which values are filled. The script is the first argument that is no option, where
 * one of those before it has -c, alone or among others: `-ce SCRIPT`, `-c -e SCRIPT`, `-c -o errexit SCRIPT`. What stands before it counts too.
 */
function hasFilledScript(args: readonly string[]): boolean {
  let takesScript = false;
  let isFilled = false;
  let isEnded = false;
  let isValue = false;
  for (const text of args) {
    isFilled ||= hasPlaceholder(text);
    if (isValue) {
      isValue = false;
    } else if (isEnded || !/^[-+]/.test(text)) {
      break;
    } else {
      isEnded = text === "-" || text === "--";
      isValue = /^[-+][^-]*o|^--(rcfile|init-file)$/i.test(text);
      takesScript ||= /^[-+][^-]*c|^--(init-)?command/i.test(text) || hasPlaceholder(text);
    }
  }
  return takesScript && isFilled;
}

/**
 * Finds the program, and checks all that can be checked before there is a task. `server` is the server's
 * environment. Throws Error that says what is wrong.
 */
export async function resolveCommand(config: CommandConfig, server: Environment): Promise<ResolvedCommand> {
  if (process.platform === "win32") throw new Error("commands need a POSIX system");
  const [program = "", ...args] = config.command;
  const complaints = [checkProgram(program), ...args.map(checkArgument), checkCommand(config.command)];
  const complaint = complaints.find((each) => each !== undefined);
  if (complaint !== undefined) throw new Error(`the command: ${complaint}`);
  const cwd = resolve(config.cwd ?? "");
  const found = await stat(cwd).catch(() => undefined);
  if (found?.isDirectory() !== true) throw new Error(`the command's working directory ${cwd} is not there`);
  const environment = resolveEnvironment(config, server);
  const file = await findProgram(program, environment["PATH"]);
  return { file, template: parseTemplate(args), cwd, environment };
}

async function findProgram(program: string, path: string | undefined): Promise<string> {
  if (program.includes("/")) {
    const file = resolve(program);
    const problem = await problemWith(file);
    if (problem !== undefined) throw new Error(`the command ${file} ${problem}`);
    return file;
  }
  // What is not absolute in PATH depends on where one is, and is left out.
  for (const directory of (path ?? "").split(":").filter(isAbsolute)) {
    const file = join(directory, program);
    if ((await problemWith(file)) === undefined) return file;
  }
  throw new Error(`there is no command "${program}" in PATH (${path ?? "which is not set"})`);
}

async function problemWith(file: string): Promise<string | undefined> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) return "is not there";
  if (!found.isFile()) return "is not a file";
  const isExecutable = await access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
  return isExecutable ? undefined : "cannot be executed by this user; chmod +x would allow it";
}
