import { CliError } from "../cli-error.ts";
import { parseRevision } from "../arguments.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";

import { exitCode } from "../exit-code.ts";
import { followTask } from "../follow.ts";
import { followTasks } from "../follow-tasks.ts";

interface WatchOptions extends ClientOptions {
  readonly logs?: boolean;
  readonly since?: bigint;
  readonly waitForLaunch?: boolean;
  readonly runId?: string;
}

/** stint watch: shows a task live until it has ended, or all tasks of a controller. */
export function addWatchCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("watch")
    .summary("show a task live until it has ended")
    .description(
      "Shows a task live until it has ended, over broken connections and restarts of the server too (an outage " +
        "is waited out for 10 minutes). Draws a progress bar on a terminal, and prints a line for each event otherwise. " +
        "The exit status tells how the task ended: 0 Completed, 1 Failed, 3 Canceled. " +
        "Without an id it shows all tasks of the controller, a line for each event, until it is stopped.",
    )
    .argument("<controller>", "the task's controller")
    .argument("[id]", "the task's id (default: all tasks)")
    .option("--logs", "show every log entry")
    .option("--since <revision>", "show only what came after this revision", parseRevision)
    .option("--wait-for-launch", "wait for the task to be launched where it is not there, or has ended by --since")
    .option("--run-id <run>", "watch only this run");
  addExample(
    addClientOptions(command),
    "stint watch countdown demo --logs",
    "stint watch countdown demo -o json | jq .status.progress",
    "stint watch countdown",
  );
  command.action(async (controller: string, taskId: string | undefined, options: WatchOptions) => {
    const { since: sinceRevision = 0n, waitForLaunch = false, runId = "", logs = false, output } = options;
    if (taskId === undefined) {
      refuseOptionsOfOne(options);
      const all = { controller, sinceRevision, output };
      return withClient(io, { ...options, controller }, (client) => followTasks(io, client, all));
    }
    const request = { controller, taskId, sinceRevision, waitForLaunch, runId };
    exitWith(
      await withClient(io, { ...options, controller, taskId }, (client) =>
        followTask(io, client, { request, output, logs }),
      ),
    );
  });
}

function refuseOptionsOfOne({ logs, waitForLaunch, runId }: WatchOptions): void {
  const flag = logs ? "--logs" : waitForLaunch ? "--wait-for-launch" : runId ? "--run-id" : undefined;
  if (flag === undefined) return;
  throw new CliError(`${flag} is for one task`, {
    exitCode: exitCode.usage,
    hints: [`name it: stint watch CONTROLLER ID ${flag}`],
  });
}
