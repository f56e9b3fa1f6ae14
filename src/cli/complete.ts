import type { Command, Option } from "commander";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { parseServer } from "./arguments.ts";
import { type ClientOptions, withClient } from "./client-command.ts";
import type { Io } from "./io.ts";

/** How long the server may take: who has pressed a key does not wait for longer. */
const answerMaxMs = 1_000;

/** What a shell may safely get of what a server has sent: ids of tasks and names of controllers look so. */
const safeWord = /^[\w.:@-]+$/;

/** The command that the words before the last one name, and what was said of it. */
interface Place {
  readonly command: Command;
  readonly values: readonly string[];
  /** By name, of those that a server is found with. */
  readonly options: ReadonlyMap<string, string>;
  /** The option that still lacks its value. */
  readonly open: Option | undefined;
  /** Behind a "--": a command of somebody else's. */
  readonly isForeign: boolean;
}

/**
 * What the last of the words may become: commands, options and their values, controllers and tasks. None where
 * nothing is known, as for files. Never throws: a server that cannot be asked knows nothing.
 */
export async function completeWords(io: Io, program: Command, words: readonly string[]): Promise<string[]> {
  const last = words.at(-1) ?? "";
  const place = findPlace(program, words.slice(0, -1));
  const candidates = await candidatesFor(io, place, last);
  return candidates.filter((candidate) => candidate.startsWith(last));
}

function findPlace(program: Command, words: readonly string[]): Place {
  let command = program;
  let open: Option | undefined;
  const values: string[] = [];
  const options = new Map<string, string>();
  const end = words.indexOf("--");
  for (const word of end < 0 ? words : words.slice(0, end)) {
    const [, flag = "", value] = /^(--?[^=]+)(?:=(.*))?$/.exec(word) ?? [];
    if (open !== undefined) {
      options.set(open.attributeName(), word);
      open = undefined;
    } else if (flag !== "") {
      const option = command.options.find(({ short, long }) => flag === short || flag === long);
      if (option !== undefined && value !== undefined) options.set(option.attributeName(), value);
      else if (option?.required) open = option;
    } else {
      const next = values.length === 0 ? findCommand(command, word) : undefined;
      // What help takes is the command that it is about.
      if (next?.name() === "help") continue;
      if (next === undefined) values.push(word);
      else command = next;
    }
  }
  return { command, values, options, open, isForeign: end >= 0 };
}

async function candidatesFor(io: Io, place: Place, last: string): Promise<readonly string[]> {
  const { command, values, open } = place;
  if (place.isForeign) return [];
  if (open?.attributeName() === "controller") return namesOf(io, place, { name: "controller", last });
  if (open !== undefined) return open.argChoices ?? [];
  const [, flag] = /^(--[^=]+)=/.exec(last) ?? [];
  if (flag !== undefined) {
    const choices = command.options.find(({ long }) => long === flag)?.argChoices ?? [];
    return choices.map((choice) => `${flag}=${choice}`);
  }
  if (last.startsWith("-")) return [...optionsOf(command), "--help"];
  if (values.length === 0 && command.commands.length > 0) return visibleCommands(command).map((each) => each.name());
  const argument = command.registeredArguments[values.length];
  if (argument === undefined) return [];
  return argument.argChoices ?? namesOf(io, place, { name: argument.name(), last });
}

function optionsOf(command: Command): string[] {
  return command.options.flatMap(({ long, hidden }) => (long && !hidden ? [long] : []));
}

function findCommand(command: Command, name: string): Command | undefined {
  return visibleCommands(command).find((each) => each.name() === name);
}

function visibleCommands(command: Command): Command[] {
  return command.createHelp().visibleCommands(command);
}

/** The names of controllers, or the ids of tasks, that the server knows. */
async function namesOf(
  io: Io,
  { values, options }: Place,
  { name: wanted, last }: { readonly name: string; readonly last: string },
): Promise<readonly string[]> {
  const [controller = ""] = values;
  try {
    const found = await withClient(io, serverOptions(options), async (client) => {
      const { method } = TaskControllerService;
      const limits = { signal: io.signal, timeoutMs: answerMaxMs };
      if (wanted === "controller") {
        const { controllers } = await client.call(method.listControllers, {}, limits);
        return controllers.map(({ name }) => name);
      }
      if (wanted !== "id") return [];
      const readMask = { paths: ["state"] };
      const { tasks } = await client.call(method.listTasks, { controller, idPrefix: last, readMask }, limits);
      return tasks.map(({ taskId }) => taskId);
    });
    return found.filter((word) => safeWord.test(word));
  } catch {
    // No server, no such controller, a wrong option: whoever presses the key sees that when the command runs.
    return [];
  }
}

function serverOptions(options: Place["options"]): Pick<ClientOptions, "server" | "ca"> {
  const server = options.get("server");
  const ca = options.get("ca");
  return { ...(server === undefined ? {} : { server: parseServer(server) }), ...(ca === undefined ? {} : { ca }) };
}
