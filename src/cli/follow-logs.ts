// The log of a task: what there is of it, and then what comes.
//
// 1. Entries are printed in their order and once. What there is comes page by page from the server's list; what comes later by a watch
//    that begins at a revision from before the list, of which what was listed is left out.
// 2. Where the watch had to begin again with the task as it is, the list fills in what it left out.
// 3. No more is kept than a page and, where only the newest entries are wanted, twice their number.

import { type LogEntry, TaskState } from "#gen/core/v1/core_pb.js";
import { TaskControllerService, type WatchTaskResponse } from "#gen/stint/v1/controller_pb.js";
import { CliError } from "./cli-error.ts";
import type { RpcClient } from "./client.ts";
import { exitCodeOfState } from "./exit-code.ts";
import { connectionText } from "./follow.ts";
import type { Io } from "./io.ts";
import { hasEnded, stateName } from "./text/task-text.ts";
import { watchTask } from "./watch-stream.ts";

const pageSize = 1000;

/** Which entries of which task are wanted. */
export interface WantedLogs {
  readonly controller: string;
  readonly taskId: string;
  /** Only entries of at least this level; undefined is all. */
  readonly minLevel: number | undefined;
  /** Only entries after this one; 0 is all. */
  readonly afterSeq: bigint;
  /** Of those that there are, only the newest so many; undefined is all. */
  readonly limit: number | undefined;
  readonly print: (entry: LogEntry) => void;
}

/** Prints the entries that there are. Resolves to the number of the last that need not be looked at again. */
export async function listLogs(io: Io, client: RpcClient, wanted: WantedLogs): Promise<bigint> {
  const { limit } = wanted;
  if (limit === undefined) return listAfter(io, client, wanted, wanted.afterSeq);
  const { status } = await readTask(io, client, wanted);
  return listNewest(io, client, wanted, { limit, logCount: status?.logCount ?? 0n });
}

/** Prints the entries that there are, and those that come until the task has ended; returns the exit status that tells how. */
export async function followLogs(io: Io, client: RpcClient, wanted: WantedLogs): Promise<number> {
  const { controller, taskId } = wanted;
  const { status, revision } = await readTask(io, client, wanted);
  let state = status?.state ?? TaskState.Unknown;
  let seq = await listLogs(io, client, wanted);
  if (hasEnded(state)) return exitCodeOfState(state);
  let isGap = false;
  const request = { controller, taskId, sinceRevision: revision, includeLogs: true };
  for await (const event of watchTask(client, request, { ...io, hasAnswered: true })) {
    if (event.kind !== "message") {
      io.stderr.write(`${connectionText(event, client.address)}\n`);
      isGap ||= event.kind === "history-lost";
      continue;
    }
    if (isGap) seq = await listAfter(io, client, wanted, seq);
    isGap = false;
    seq = printNew(wanted, event.message, seq);
    state = event.message.status?.state ?? state;
    await io.stdout.drained();
  }
  if (!hasEnded(state)) {
    throw new CliError(`the watch ended, but the task is ${stateName(state)}`, {
      hints: [`go on with: stint logs ${controller} ${taskId} --follow --after ${seq}`],
    });
  }
  return exitCodeOfState(state);
}

/** Prints what of a message was not printed; returns the number of the last. */
function printNew({ minLevel, print }: WantedLogs, { logs }: WatchTaskResponse, after: bigint): bigint {
  let seq = after;
  for (const entry of logs) {
    if (entry.seq <= seq) continue;
    seq = entry.seq;
    if (minLevel === undefined || entry.level >= minLevel) print(entry);
  }
  return seq;
}

/** Prints all entries after one; returns the number of the last that was printed. */
async function listAfter(io: Io, client: RpcClient, wanted: WantedLogs, after: bigint): Promise<bigint> {
  let seq = after;
  for await (const page of pagesAfter(io, client, wanted, after)) {
    for (const entry of page) wanted.print(entry);
    await io.stdout.drained();
    seq = page.at(-1)?.seq ?? seq;
  }
  return seq;
}

async function listNewest(
  io: Io,
  client: RpcClient,
  wanted: WantedLogs,
  { limit, logCount }: { readonly limit: number; readonly logCount: bigint },
): Promise<bigint> {
  // Entries are numbered without a gap; of those below a level, though, it is not known how many there are.
  const start = wanted.minLevel === undefined || limit === 0 ? logCount - BigInt(limit) : 0n;
  const after = start > wanted.afterSeq ? start : wanted.afterSeq;
  if (limit === 0) return after;
  let newest: LogEntry[] = [];
  for await (const page of pagesAfter(io, client, wanted, after)) newest = [...newest, ...page].slice(-limit);
  for (const entry of newest) wanted.print(entry);
  await io.stdout.drained();
  return newest.at(-1)?.seq ?? after;
}

async function* pagesAfter(
  io: Io,
  client: RpcClient,
  { controller, taskId, minLevel }: WantedLogs,
  afterSeq: bigint,
): AsyncGenerator<readonly LogEntry[]> {
  let pageToken = "";
  do {
    const request = {
      controller,
      taskId,
      pageSize,
      pageToken,
      afterSeq,
      ...(minLevel === undefined ? {} : { minLevel }),
    };
    const page = await client.call(TaskControllerService.method.listTaskLogs, request, { signal: io.signal });
    yield page.entries;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

function readTask(io: Io, client: RpcClient, { controller, taskId }: WantedLogs) {
  return client.call(
    TaskControllerService.method.getTaskStatus,
    { controller, taskId, logLimit: 0, readMask: { paths: ["state", "log_count"] } },
    { signal: io.signal },
  );
}
