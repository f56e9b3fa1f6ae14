import { status as Code } from "@grpc/grpc-js";
import { DeleteTaskResponseSchema, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { parseRevision } from "../arguments.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import { writeJson } from "../write-json.ts";

interface DeleteOptions extends ClientOptions {
  readonly ifRevision?: bigint;
}

/** stint delete: deletes a task that has ended. */
export function addDeleteCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("delete")
    .summary("delete a task that has ended")
    .description(
      "Deletes a task that has ended, with its log; one whose record is damaged, too. A task that is Pending or Running must be canceled before.",
    )
    .argument("<controller>", "the task's controller")
    .argument("<id>", "the task's id")
    .option("--if-revision <revision>", "only if this is the revision of its last change", parseRevision);
  addExample(addClientOptions(command), "stint delete countdown demo");
  command.action(async (controller: string, taskId: string, options: DeleteOptions) => {
    const { ifRevision, output } = options;
    const hints = { [Code.FAILED_PRECONDITION]: [`cancel it first: stint cancel ${controller} ${taskId} --wait 10s`] };
    const deleted = await withClient(io, { ...options, controller, taskId, hints }, (client) =>
      client.call(
        TaskControllerService.method.deleteTask,
        { controller, taskId, ...(ifRevision === undefined ? {} : { ifRevision }) },
        { signal: io.signal },
      ),
    );
    if (output === "json") writeJson(io, DeleteTaskResponseSchema, deleted);
    else io.stdout.write(`Deleted ${controller}/${taskId}\n`);
    exitWith(exitCode.success);
  });
}
