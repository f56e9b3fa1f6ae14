// All tasks of a controller, as they change.
//
// 1. A line for each event, of a task that has not ended, or ends: of those that had ended before, the list tells.
// 2. Nothing is printed twice where the watch begins again with a snapshot, but of tasks that were not heard of for long: what is
//    remembered is bounded, whatever a server has.

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type WatchTasksResponse, WatchTasksResponseSchema } from "#gen/stint/v1/controller_pb.js";
import { RecentMap } from "../async/recent-map.ts";
import { CliError } from "./cli-error.ts";
import type { RpcClient } from "./client.ts";
import { connectionText } from "./follow.ts";
import type { Io } from "./io.ts";
import { escapeText } from "./text/escape.ts";
import { formatTime } from "./text/format.ts";
import { hasEnded } from "./text/task-text.ts";
import { describeMessage, emptyMemory, lineText, type WatchMemory } from "./text/watch-line.ts";
import { watchTasks } from "./watch-stream.ts";
import { writeJson } from "./write-json.ts";

const rememberedMax = 20_000;

/** Which tasks to follow, and how to show them. */
export interface FollowTasksOptions {
  readonly controller: string;
  readonly sinceRevision: bigint;
  readonly output: "text" | "json";
}

/** Shows what happens to the tasks of a controller, until it is interrupted: it never returns. */
export async function followTasks(io: Io, client: RpcClient, options: FollowTasksOptions): Promise<never> {
  const { controller, sinceRevision, output } = options;
  const print = output === "json" ? createJsonPrinter(io) : createLinePrinter(io);
  let inSnapshot = sinceRevision === 0n;
  for await (const event of watchTasks(client, { controller, sinceRevision }, io)) {
    if (event.kind === "message") {
      inSnapshot &&= !event.message.bookmark;
      print(event.message, inSnapshot);
    } else {
      inSnapshot ||= event.kind === "history-lost";
      io.stderr.write(`${connectionText(event, client.address)}\n`);
    }
    await io.stdout.drained();
  }
  throw new CliError("the server has ended the watch", { hints: [`begin again with: stint watch ${controller}`] });
}

/** `inSnapshot`: it tells how a task is, and not that anything has happened. */
type Print = (message: WatchTasksResponse, inSnapshot: boolean) => void;

/** One JSON object a line for each message, bookmarks included. */
function createJsonPrinter(io: Io): Print {
  return (message) => writeJson(io, WatchTasksResponseSchema, message);
}

function createLinePrinter(io: Io): Print {
  const memories = new RecentMap<string, WatchMemory>({
    maxEntries: rememberedMax,
    maxWeight: rememberedMax,
    weigh: () => 1,
  });
  return (message, inSnapshot) => {
    const { controller, taskId, revision, status, deleted } = message;
    const name = `${escapeText(controller)}/${escapeText(taskId)}`;
    if (deleted) {
      memories.set(taskId, emptyMemory);
      io.stdout.write(`${formatTime(timestampFromMs(io.clock.wall()))} ${name} deleted\n`);
    }
    if (status === undefined) return;
    const before = memories.get(taskId);
    const { lines } = describeMessage(
      { $typeName: "stint.v1.WatchTaskResponse", revision, status, logs: [] },
      before ?? emptyMemory,
    );
    // What tells the next message's news, and no more: there may be many tasks.
    const kept = { ...status, labels: {}, transitions: status.transitions.slice(-1) };
    memories.set(taskId, { status: kept, seq: 0n });
    if (inSnapshot && before === undefined && hasEnded(status.state)) return;
    for (const line of lines) io.stdout.write(`${formatTime(line.time)} ${name} ${lineText(line)}\n`);
  };
}
