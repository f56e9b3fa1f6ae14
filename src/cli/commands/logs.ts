import { type LogEntry, LogEntrySchema } from "#gen/core/v1/core_pb.js";
import { createCountParser, levelOption, parseSeq } from "../arguments.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import { followLogs, listLogs } from "../follow-logs.ts";
import type { Io } from "../io.ts";
import { logText } from "../text/task-text.ts";
import { writeJson } from "../write-json.ts";

interface LogsOptions extends ClientOptions {
  readonly follow?: boolean;
  readonly minLevel?: number;
  readonly after?: bigint;
  readonly limit?: number;
}

/** stint logs: prints the log of a task. */
export function addLogsCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("logs")
    .summary("print the log of a task")
    .description(
      "Prints the log entries of a task, oldest first, a line each; JSON is an object a line. With --follow it goes on until " +
        "the task has ended, over broken connections and restarts of the server too, and the exit status tells how: " +
        "0 Completed, 1 Failed, 3 Canceled. Otherwise that is 0.",
    )
    .argument("<controller>", "the task's controller")
    .argument("<id>", "the task's id")
    .option("-f, --follow", "go on with what comes until the task has ended")
    .addOption(levelOption())
    .option("--after <seq>", "only entries after the one with this number", parseSeq)
    .option("-n, --limit <count>", "only the newest so many (default: all)", createCountParser(0, 1_000_000));
  addExample(
    addClientOptions(command),
    "stint logs countdown demo --follow",
    "stint logs countdown demo --min-level warn -n 20 -o json | jq -r .msg",
  );
  command.action(async (controller: string, taskId: string, options: LogsOptions) => {
    const { minLevel, after = 0n, limit } = options;
    const print = createPrinter(io, options.output);
    const wanted = { controller, taskId, minLevel, afterSeq: after, limit, print };
    exitWith(
      await withClient(io, { ...options, controller, taskId }, async (client) => {
        if (options.follow) return followLogs(io, client, wanted);
        await listLogs(io, client, wanted);
        return exitCode.success;
      }),
    );
  });
}

function createPrinter(io: Io, output: ClientOptions["output"]): (entry: LogEntry) => void {
  if (output === "json") return (entry) => writeJson(io, LogEntrySchema, entry);
  return (entry) => io.stdout.write(`${logText(entry)}\n`);
}
