import { readFile } from "node:fs/promises";
import { Option } from "commander";
import {
  IfActive,
  IfEnded,
  LaunchOutcome,
  type LaunchTaskResponse,
  LaunchTaskResponseSchema,
  TaskControllerService,
} from "#gen/stint/v1/controller_pb.js";
import { checkMetadata, collectLabel, parseRevision } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import { followTask } from "../follow.ts";
import type { Io } from "../io.ts";
import { escapeText } from "../text/escape.ts";
import { stateName } from "../text/task-text.ts";
import { writeJson } from "../write-json.ts";

const ifActive: Readonly<Record<string, IfActive>> = {
  restart: IfActive.RESTART,
  fail: IfActive.FAIL,
  "use-existing": IfActive.USE_EXISTING,
};

const ifEnded: Readonly<Record<string, IfEnded>> = {
  relaunch: IfEnded.RELAUNCH,
  "relaunch-unless-completed": IfEnded.RELAUNCH_UNLESS_COMPLETED,
  "use-existing": IfEnded.USE_EXISTING,
  fail: IfEnded.FAIL,
};

interface LaunchOptions extends ClientOptions {
  readonly metadata?: string;
  readonly metadataFile?: string;
  readonly label?: Record<string, string>;
  readonly ifActive?: string;
  readonly ifEnded?: string;
  readonly requestId?: string;
  readonly ifRevision?: bigint;
  readonly watch?: boolean;
}

/** stint launch: launches a task. */
export function addLaunchCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("launch")
    .summary("launch a task")
    .description("Launches a task. What was acknowledged is on disk: the task survives a crash of the server.")
    .argument("<controller>", "the controller that runs it, such as countdown")
    .argument("[id]", "the task's id; the server makes one where there is none")
    .option("-m, --metadata <json>", "what to work on: a JSON object", checkMetadata)
    .addOption(
      new Option("-f, --metadata-file <file>", "the same from a file; - is the standard input").conflicts("metadata"),
    )
    .option("-l, --label <key=value>", "a label to find it by; may be repeated", collectLabel)
    .addOption(choice("--if-active <action>", "if its run is alive (default: restart)", ifActive))
    .addOption(choice("--if-ended <action>", "if its run has ended (default: relaunch)", ifEnded))
    .option("--request-id <name>", "a name for this launch: the same again within 24 h has no further effect")
    .option("--if-revision <revision>", "only if the task was last changed at this revision", parseRevision)
    .option("-w, --watch", "watch it until it has ended; the exit status tells how, see stint watch");
  addExample(
    addClientOptions(command),
    `stint launch countdown demo --metadata '{"limit": 10}' --watch`,
    "stint launch checksum --metadata-file request.json --label team=data",
  );
  command.action(async (controller: string, taskId: string | undefined, options: LaunchOptions) => {
    exitWith(await launch(io, { ...options, controller, taskId }));
  });
}

async function launch(
  io: Io,
  options: LaunchOptions & { controller: string; taskId: string | undefined },
): Promise<number> {
  const { controller, taskId = "", output } = options;
  const jsonMetadata =
    options.metadataFile === undefined ? options.metadata : await readMetadata(io, options.metadataFile);
  return withClient(io, options, async (client) => {
    const launched = await client.call(
      TaskControllerService.method.launchTask,
      {
        controller,
        taskId,
        payload: jsonMetadata === undefined ? { case: undefined } : { case: "jsonMetadata", value: jsonMetadata },
        labels: options.label ?? {},
        ifActive: ifActive[options.ifActive ?? ""] ?? IfActive.UNSPECIFIED,
        ifEnded: ifEnded[options.ifEnded ?? ""] ?? IfEnded.UNSPECIFIED,
        requestId: options.requestId ?? "",
        ifRevision: options.ifRevision,
      },
      { signal: io.signal },
    );
    if (output === "json") writeJson(io, LaunchTaskResponseSchema, launched);
    else io.stdout.write(renderLaunch(launched, controller));
    if (!options.watch) {
      const hint = `Watch it with: ${io.program} watch ${controller} ${escapeText(launched.taskId)}\n`;
      if (output === "text" && io.stdout.isTerminal) io.stderr.write(hint);
      return exitCode.success;
    }
    // While a live run is being replaced it is still the current one, so the new one cannot be asked for by its id.
    const runId = launched.outcome === LaunchOutcome.RESTARTED ? "" : launched.runId;
    const request = { controller, taskId: launched.taskId, runId };
    return followTask(io, client, { request, output, logs: false, hasAnswered: true });
  });
}

function renderLaunch(launched: LaunchTaskResponse, controller: string): string {
  const name = `${escapeText(controller)}/${escapeText(launched.taskId)}`;
  const at = `run ${escapeText(launched.runId)}, revision ${launched.revision}`;
  if (launched.outcome === LaunchOutcome.USED_EXISTING) {
    return `Used ${name} as it is: ${launched.status ? stateName(launched.status.state) : "no status"} (${at})\n`;
  }
  return `${launched.outcome === LaunchOutcome.RESTARTED ? "Restarted" : "Launched"} ${name} (${at})\n`;
}

async function readMetadata(io: Io, file: string): Promise<string> {
  const name = file === "-" ? "the standard input" : file;
  const fail = (why: string, cause: unknown): never => {
    throw new CliError(`--metadata-file: ${name}: ${why}`, { exitCode: exitCode.usage, cause });
  };
  const text =
    file === "-"
      ? await io.readStdin()
      : await readFile(file, "utf8").catch((error: Error) => fail(`cannot be read: ${error.message}`, error));
  try {
    return checkMetadata(text);
  } catch (error) {
    return fail((error as Error).message, error);
  }
}

function choice(flags: string, description: string, values: Readonly<Record<string, unknown>>): Option {
  return new Option(flags, description).choices(Object.keys(values));
}
