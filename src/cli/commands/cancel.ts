import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { TaskState } from "#gen/core/v1/core_pb.js";
import {
  CancelStage,
  type CancelTaskResponse,
  CancelTaskResponseSchema,
  TaskControllerService,
} from "#gen/stint/v1/controller_pb.js";
import { parseWaitMs } from "../arguments.ts";
import type { RpcClient } from "../client.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import type { Io } from "../io.ts";
import { escapeText } from "../text/escape.ts";
import { formatDuration } from "../text/format.ts";
import { stateName } from "../text/task-text.ts";
import { writeJson } from "../write-json.ts";

/** The longest that the server waits in one call. */
const waitMaxMs = 25_000;

interface CancelOptions extends ClientOptions {
  readonly reason?: string;
  /** True is until it has ended. */
  readonly wait?: number | true;
  readonly runId?: string;
}

type CancelArguments = CancelOptions & { readonly controller: string; readonly taskId: string };

/** stint cancel: asks a task to stop. */
export function addCancelCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("cancel")
    .summary("cancel a task")
    .description(
      "Cancels a task: its runner is told to stop, also after a crash in between. A task that has ended stays as it is. " +
        "With --wait it waits for the end, or so long at most; the exit status is 1 where the task has not ended by then.",
    )
    .argument("<controller>", "the task's controller")
    .argument("<id>", "the task's id")
    .option("-r, --reason <text>", "why, for whoever looks at the task")
    .option("-w, --wait [time]", "wait until the task has ended, or so long at most, such as 10s", parseWaitMs)
    .option("--run-id <run>", "cancel only this run");
  addExample(
    addClientOptions(command),
    `stint cancel countdown demo --reason "wrong input" --wait`,
    "stint cancel countdown demo --wait 10s",
  );
  command.action(async (controller: string, taskId: string, options: CancelOptions) => {
    const all = { ...options, controller, taskId };
    exitWith(await withClient(io, all, (client) => cancel(io, client, all)));
  });
}

async function cancel(io: Io, client: RpcClient, options: CancelArguments): Promise<number> {
  const answer = await cancelAndWait(io, client, options);
  const ended = answer.stage === CancelStage.ENDED;
  if (options.output === "json") writeJson(io, CancelTaskResponseSchema, answer);
  else io.stdout.write(`${renderCancel(answer, options)}\n`);
  return options.wait && !ended ? exitCode.failed : exitCode.success;
}

/** Cancels, and asks again while there is time left. Only the first call may cancel another run than the one it was about. */
async function cancelAndWait(io: Io, client: RpcClient, options: CancelArguments): Promise<CancelTaskResponse> {
  const { controller, taskId, reason = "", wait = 0 } = options;
  const endMs = wait === true ? Number.POSITIVE_INFINITY : io.clock.mono() + wait;
  let runId = options.runId ?? "";
  for (;;) {
    const waitMs = Math.max(0, Math.min(waitMaxMs, endMs - io.clock.mono()));
    const answer = await client.call(
      TaskControllerService.method.cancelTask,
      { controller, taskId, reason, runId, wait: waitMs > 0 ? durationFromMs(Math.round(waitMs)) : undefined },
      { signal: io.signal, timeoutMs: waitMs + 10_000 },
    );
    if (answer.stage === CancelStage.ENDED || endMs - io.clock.mono() < 100) return answer;
    runId = answer.status?.runId ?? runId;
  }
}

function renderCancel(answer: CancelTaskResponse, options: CancelArguments): string {
  const name = `${escapeText(options.controller)}/${escapeText(options.taskId)}`;
  const state = answer.status?.state ?? TaskState.Unknown;
  const since = typeof options.wait === "number" ? ` after ${formatDuration(options.wait)}` : "";
  if (answer.stage === CancelStage.ENDED) {
    return state === TaskState.Canceled ? `Canceled ${name}` : `${name} has ended: ${stateName(state)}`;
  }
  const told: Readonly<Partial<Record<CancelStage, string>>> = {
    [CancelStage.DELIVERED]: "delivered: its runner was told to stop, and",
    [CancelStage.ACKNOWLEDGED]: "acknowledged: its runner has stopped, and",
  };
  return `Cancel of ${name} is ${told[answer.stage] ?? "stored:"} the task is ${stateName(state)}${since}`;
}
