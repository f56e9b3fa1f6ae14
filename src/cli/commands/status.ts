import { GetTaskStatusResponseSchema, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { createCountParser, parseRevision } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import { escapeText } from "../text/escape.ts";
import { renderStatus } from "../text/status-text.ts";
import { writeJson } from "../write-json.ts";

interface StatusOptions extends ClientOptions {
  readonly logs: number;
  readonly revision?: bigint;
}

/** stint status: shows a task as it is, or as it was. */
export function addStatusCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("status")
    .summary("show a task")
    .description("Shows all that is known of a task. The exit status is 0 whatever its state; stint watch tells that.")
    .argument("<controller>", "the task's controller")
    .argument("<id>", "the task's id")
    .option("--logs <count>", "so many of the newest log entries", createCountParser(0, 1000), 10)
    .option("--revision <revision>", "the task as it was at this revision", parseRevision);
  addExample(addClientOptions(command), "stint status countdown demo --logs 50");
  command.action(async (controller: string, taskId: string, options: StatusOptions) => {
    const { logs, revision = 0n, output } = options;
    const answer = await withClient(io, { ...options, controller, taskId, revision }, (client) =>
      client.call(
        TaskControllerService.method.getTaskStatus,
        { controller, taskId, revision, logLimit: logs },
        { signal: io.signal },
      ),
    );
    if (output === "json") writeJson(io, GetTaskStatusResponseSchema, answer);
    else if (answer.status) {
      const name = `${escapeText(controller)}/${escapeText(taskId)}`;
      io.stdout.write(
        `${renderStatus(answer.status, { name, revision: answer.revision, nowMs: io.clock.wall() }).join("\n")}\n`,
      );
    } else throw new CliError("the server's answer has no status");
    exitWith(exitCode.success);
  });
}
