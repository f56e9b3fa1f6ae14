/**
 * ListTaskLogs: the log entries of a task, oldest first, page by page. A page begins at a seq and looks at a bounded
 * number of chunks from there on, so it costs the same wherever it is in however long a log.
 *
 * Pages are live: what is appended meanwhile comes on the last of them, and what is dropped is left out. A launch that clears
 * the log ends its pages: the entries of the new log are of another one, whose base (the seq that it began after) differs.
 */
import type { LogEntry } from "#gen/core/v1/core_pb.js";
import { logKeySeq } from "../store/keys.ts";
import { checkTaskId } from "../task/ids.ts";
import { answerByteLength } from "../task/limits.ts";
import { firstLogSeq, type Task } from "../task/task.ts";
import { inlineLogs } from "./adopt.ts";
import { once } from "./commit.ts";
import type { LogPage, LogsOptions } from "./controller.ts";
import { ControllerError, refuseBadFields, taskNotFound } from "./error.ts";
import { decodePageToken, encodePageToken, logPageTokens } from "./page-token.ts";
import { checkOpen, type Parts } from "./parts.ts";
import { chunkEntries, loadTask, scanLogChunks } from "./task-reader.ts";

const defaultPageSize = 100;
const maxPageSize = 1_000;
/** How many entries a page may look at for each that it may have, where a filter leaves some out. */
const looksPerEntry = 10;
/** The bytes of the entries that a page looks at, as they are in an answer. */
const pageMaxBytes = 2 * 1024 * 1024;
/** How many chunks are read at first, and at most: one has an entry, or 128 KiB of them. */
const scanChunks = { first: 8, most: 64 };
const seqMax = 2n ** 64n - 1n;

/** See Controller.taskLogs. */
export async function taskLogs(parts: Parts, taskId: string, options: LogsOptions): Promise<LogPage> {
  checkOpen(parts);
  checkOptions(taskId, options);
  const { core } = parts;
  const tokens = logPageTokens(core.name, taskId, options);
  const token = decodePageToken(options.pageToken ?? "", tokens);
  const loaded = await once(core, () => loadTask(core, taskId));
  if (loaded === undefined) throw taskNotFound(core.name, taskId);
  const { task } = loaded;
  const [generation, base] = [task.record.generation, String(baseOf(task))];
  if (token !== undefined && (token[0] !== generation || token[1] !== base)) return { entries: [], nextPageToken: "" };
  const after = token?.[2] === undefined ? (options.afterSeq ?? 0n) : BigInt(token[2]);
  const page = await readPage(parts, taskId, task, { ...options, after });
  const nextPageToken = page.isLast ? "" : encodePageToken(tokens, [generation, base, String(page.after)]);
  return { entries: page.entries, nextPageToken };
}

function checkOptions(taskId: string, { pageSize = 0, afterSeq = 0n, minLevel }: LogsOptions): void {
  refuseBadFields({
    task_id: checkTaskId(taskId),
    page_size: pageSize >= 0 ? undefined : "must not be negative",
    min_level: Number.isInteger(minLevel ?? 0) ? undefined : "must be a whole number",
    after_seq: afterSeq >= 0n && afterSeq <= seqMax ? undefined : "must be from 0 to 2^64 - 1",
  });
}

/** The seq that the log began after: it stays while entries come and the oldest are dropped, and changes when the log is cleared. */
function baseOf(task: Task): bigint {
  return task.record.logLastSeq - (task.status.logs.length > 0 ? 0n : task.status.logCount);
}

interface ReadPage {
  readonly entries: LogEntry[];
  /** The seq of the last entry that was looked at. */
  readonly after: bigint;
  readonly isLast: boolean;
}

async function readPage(
  parts: Parts,
  taskId: string,
  task: Task,
  options: LogsOptions & { after: bigint },
): Promise<ReadPage> {
  const pageSize = Math.min(options.pageSize || defaultPageSize, maxPageSize);
  const minLevel = options.minLevel ?? Number.NEGATIVE_INFINITY;
  const entries: LogEntry[] = [];
  let looks = pageSize * (options.minLevel === undefined ? 1 : looksPerEntry);
  let bytes = 0;
  let { after } = options;
  try {
    for await (const entry of entriesAfter(parts, taskId, task, { after, limit: looks })) {
      if (entries.length >= pageSize || looks <= 0 || bytes >= pageMaxBytes) return { entries, after, isLast: false };
      looks -= 1;
      bytes += answerByteLength(entry.msg) + 96;
      after = entry.seq;
      if (entry.level >= minLevel) entries.push(entry);
    }
  } catch (error) {
    // The entries before a damaged chunk are shown first; the page after them fails.
    if (!(error instanceof ControllerError) || error.code !== "DATA_LOSS" || entries.length === 0) throw error;
    return { entries, after, isLast: false };
  }
  return { entries, after, isLast: true };
}

/** The entries of the task's log behind `after`, of which `limit` are wanted and one more is looked at. Throws DATA_LOSS where a chunk is damaged. */
async function* entriesAfter(
  parts: Parts,
  taskId: string,
  task: Task,
  { after, limit }: { after: bigint; limit: number },
): AsyncGenerator<LogEntry> {
  const { core } = parts;
  const { generation, logLastSeq } = task.record;
  if (task.status.logs.length > 0) {
    for (const entry of inlineLogs(task)) if (entry.seq > after) yield entry;
    return;
  }
  const first = firstLogSeq(task);
  const before = after < first ? first - 1n : after;
  let pageChunks = Math.min(limit + 1, scanChunks.first);
  for (let from = before; from < logLastSeq; ) {
    const start = from;
    const page = await once(core, () => scanLogChunks(core, taskId, generation, start, pageChunks));
    for (const chunk of page) {
      from = logKeySeq(chunk.key);
      if (chunk.corrupt) throw damagedChunk(core.name, taskId, from);
      for (const entry of chunkEntries(core.name, taskId, chunk)) {
        // What came after the task was read may be of another log, where a launch has cleared this one.
        if (entry.seq > logLastSeq) return;
        if (entry.seq > before) yield entry;
      }
    }
    if (page.length < pageChunks) return;
    pageChunks = Math.min(pageChunks * 2, scanChunks.most);
  }
}

/** DATA_LOSS that says where the log goes on. */
function damagedChunk(controller: string, taskId: string, lastSeq: bigint): ControllerError {
  return new ControllerError(
    "DATA_LOSS",
    `log entries of task "${taskId}" up to seq ${lastSeq} are damaged; those behind them are read with after_seq ${lastSeq}`,
    {
      reason: "CORRUPT",
      resource: { type: "task", name: `${controller}/${taskId}` },
      metadata: { after_seq: String(lastSeq) },
    },
  );
}
