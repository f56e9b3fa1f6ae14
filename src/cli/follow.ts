import type { MessageInitShape } from "@bufbuild/protobuf";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { TaskControllerService, type WatchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { CliError } from "./cli-error.ts";
import type { RpcClient } from "./client.ts";
import { exitCodeOfState } from "./exit-code.ts";
import { Interrupted, type Io } from "./io.ts";
import { openLiveView } from "./live-view.ts";
import { escapeText } from "./text/escape.ts";
import { hasEnded, stateName } from "./text/task-text.ts";
import { type WatchEvent, watchTask } from "./watch-stream.ts";
import { createJsonView, createLineView, type WatchView } from "./watch-view.ts";

/** Which task to follow, and how to show it. */
export interface FollowOptions {
  readonly request: MessageInitShape<typeof WatchTaskRequestSchema> & {
    readonly controller: string;
    readonly taskId: string;
  };
  readonly output: "text" | "json";
  /** Whether log entries are shown one by one. */
  readonly logs: boolean;
  /** Whether the server has answered a call before this one. Default false. */
  readonly hasAnswered?: boolean;
}

/** Shows a task until it has ended; returns the exit status that tells how. */
export async function followTask(io: Io, client: RpcClient, options: FollowOptions): Promise<number> {
  const { request, output, logs, hasAnswered = false } = options;
  const live = output === "text" && io.stdout.isTerminal && io.env.TERM !== "dumb";
  const name = `${escapeText(request.controller)}/${escapeText(request.taskId)}`;
  const view = live
    ? openLiveView(io, { name, logs })
    : output === "json"
      ? createJsonView(io)
      : createLineView(io, name);
  let state: TaskState = TaskState.Unknown;
  try {
    // The bar shows the last log line, asked for or not.
    for await (const event of watchTask(client, { ...request, includeLogs: logs || live }, { ...io, hasAnswered })) {
      if (event.kind === "message") state = event.message.status?.state ?? state;
      show(view, event, client.address);
      await io.stdout.drained();
    }
    if (!hasEnded(state)) state = await showEnd(client, view, { ...options, signal: io.signal });
    return exitCodeOfState(state);
  } catch (error) {
    view.close();
    if (error instanceof Interrupted && output === "text") {
      io.stderr.write(
        `The task goes on. Watch it again with: ${io.program} watch ${request.controller} ${request.taskId}\n`,
      );
    }
    throw error;
  } finally {
    view.close();
  }
}

function show(view: WatchView, event: WatchEvent, address: string): void {
  if (event.kind === "message") view.message(event.message);
  else view.connection(event.kind !== "disconnected", connectionText(event, address));
}

/** What happened to the connection with the server at `address`, for people. */
export function connectionText(event: Exclude<WatchEvent<unknown>, { kind: "message" }>, address: string): string {
  switch (event.kind) {
    case "disconnected":
      return `Lost the connection to ${address} (${escapeText(event.error.message)}); trying again.`;
    case "reconnected":
      return "Connected again.";
    case "history-lost":
      return `${escapeText(event.error.message)}: starting again with the status as it is.`;
  }
}

/** The watch was over before it began, since the task had ended by --since: shows how. */
async function showEnd(
  client: RpcClient,
  view: WatchView,
  options: FollowOptions & { readonly signal: AbortSignal },
): Promise<TaskState> {
  const { controller, taskId } = options.request;
  const { status, revision } = await client.call(
    TaskControllerService.method.getTaskStatus,
    { controller, taskId, logLimit: 0 },
    { signal: options.signal },
  );
  if (!status || !hasEnded(status.state)) {
    throw new CliError(`the watch ended, but the task is ${stateName(status?.state ?? TaskState.Unknown)}`, {
      hints: [`watch it again with: stint watch ${controller} ${taskId}`],
    });
  }
  view.message({ $typeName: "stint.v1.WatchTaskResponse", revision, status, logs: [] });
  return status.state;
}
