import {
  type ControllerInfo,
  ControllerInfoSchema,
  RunnerKind,
  TaskControllerService,
} from "#gen/stint/v1/controller_pb.js";
import type { RpcClient } from "../client.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import type { Io } from "../io.ts";
import { escapeText } from "../text/escape.ts";
import { renderTable } from "../text/table.ts";
import { stateName } from "../text/task-text.ts";
import { writeJson } from "../write-json.ts";

/** stint controllers: shows the controllers of a server. */
export function addControllersCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("controllers")
    .summary("list the controllers")
    .description(
      "Lists the controllers of the server, with their runners and the number of their tasks. JSON is an object a line.",
    );
  addExample(addClientOptions(command), "stint controllers -o json | jq -r .name");
  command.action(async (options: ClientOptions) => {
    exitWith(await withClient(io, options, (client) => listControllers(io, client, options)));
  });
}

async function listControllers(io: Io, client: RpcClient, options: ClientOptions): Promise<number> {
  const { controllers } = await client.call(TaskControllerService.method.listControllers, {}, { signal: io.signal });
  if (options.output === "json") {
    for (const controller of controllers) writeJson(io, ControllerInfoSchema, controller);
    return exitCode.success;
  }
  if (controllers.length === 0) {
    io.stderr.write(
      `There are no controllers. Runners that connect make theirs, and the server's configuration can name others: ${io.program} serve --config FILE
`,
    );
    return exitCode.success;
  }
  const rows = [["CONTROLLER", "RUNNER", "CONNECTED", "TASKS"], ...controllers.map(rowOf)];
  const columns = io.stdout.isTerminal ? io.stdout.columns() : undefined;
  io.stdout.write(`${renderTable(rows, { columns }).join("\n")}\n`);
  return exitCode.success;
}

function rowOf(controller: ControllerInfo): string[] {
  const tasks = controller.tasks.map(({ state, count }) => `${count} ${stateName(state)}`).join(", ");
  const kind = RunnerKind[controller.runnerKind]?.toLowerCase() ?? String(controller.runnerKind);
  return [escapeText(controller.name), kind, String(controller.runnersConnected), tasks || "none"];
}
