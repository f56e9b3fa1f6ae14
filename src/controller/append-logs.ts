/** Log entries become records: numbered, in chunks, and the oldest dropped above the limits. */
import type { LogEntry } from "#gen/core/v1/core_pb.js";
import { encodeLogChunk } from "../store/codec.ts";
import { logKey, logKeySeq } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import type { LogCounts } from "../task/apply.ts";
import { byteLength } from "../task/limits.ts";
import type { Task } from "../task/task.ts";
import { untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import { chunkEntries, scanLogChunks } from "./task-reader.ts";

/** How much text a chunk has at most, which is no more than a message of a watch takes. */
export const chunkMaxBytes = 128 * 1024;
const trimPageChunks = 64;

/** What belongs to a commit that adds log entries, and what they make of the task's counts. */
export interface AppendedLogs {
  readonly changes: Change[];
  readonly counts: LogCounts;
}

/** Adds entries behind those that the task has. Waits while the store fails; throws UNAVAILABLE when the controller closes. */
export async function appendLogs(
  core: Core,
  taskId: string,
  task: Task,
  entries: readonly LogEntry[],
): Promise<AppendedLogs> {
  const changes: Change[] = [];
  const { skipped, ...dropped } = await dropOldest(core, taskId, task, entries, changes);
  changes.push(...chunksOf(core.name, taskId, task, { entries, skipped }));
  return { changes, counts: { added: entries.length, addedBytes: entriesBytes(entries), ...dropped } };
}

/** The chunks of the entries, without the `skipped` oldest, whose numbers are taken all the same. */
function chunksOf(
  controller: string,
  taskId: string,
  task: Task,
  { entries, skipped }: { entries: readonly LogEntry[]; skipped: number },
): Change[] {
  const { generation } = task.record;
  const chunks: Change[] = [];
  let seq = task.record.logLastSeq + BigInt(skipped);
  let chunk: LogEntry[] = [];
  let chunkBytes = 0;
  const close = (): void => {
    if (chunk.length === 0) return;
    chunks.push({ type: "index", key: logKey(controller, taskId, generation, seq), value: encodeLogChunk(chunk) });
    chunk = [];
    chunkBytes = 0;
  };
  for (const entry of entries.slice(skipped)) {
    const size = entryBytes(entry);
    if (chunkBytes + size > chunkMaxBytes) close();
    seq += 1n;
    chunk.push({ ...entry, seq });
    chunkBytes += size;
  }
  close();
  return chunks;
}

/** How much text the entries have. */
export function entriesBytes(entries: readonly LogEntry[]): number {
  return entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
}

function entryBytes(entry: LogEntry): number {
  return byteLength(entry.msg);
}

/**
 * Over a limit, drops down to nine tenths of it, so that the next entries need no dropping. Where the new entries alone are
 * over it the oldest of them are skipped, that is, dropped without having been stored; the newest stays.
 */
async function dropOldest(
  core: Core,
  taskId: string,
  task: Task,
  added: readonly LogEntry[],
  changes: Change[],
): Promise<{ dropped: number; droppedBytes: number; skipped: number }> {
  const { logMaxEntries, logMaxBytes } = core.limits;
  let entries = Number(task.status.logCount - task.status.logsDropped) + added.length;
  let bytes = Number(task.record.logBytes) + entriesBytes(added);
  let dropped = 0;
  let skipped = 0;
  let droppedBytes = 0;
  if (entries <= logMaxEntries && bytes <= logMaxBytes) return { dropped, droppedBytes, skipped };
  const firstKept = task.record.logLastSeq - (task.status.logCount - task.status.logsDropped);
  let after = firstKept < 0n ? 0n : firstKept;
  const isOver = (): boolean => entries > logMaxEntries * 0.9 || bytes > logMaxBytes * 0.9;
  while (isOver()) {
    const from = after;
    const page = await untilDone(core, () => scanLogChunks(core, taskId, task.record.generation, from, trimPageChunks));
    if (page.length === 0) break;
    for (const chunk of page) {
      if (!isOver()) break;
      const gone = chunk.corrupt ? [] : chunkEntries(core.name, taskId, chunk).filter((entry) => entry.seq > after);
      const goneCount = chunk.corrupt ? Number(logKeySeq(chunk.key) - after) : gone.length;
      changes.push({ type: "unindex", key: chunk.key });
      after = logKeySeq(chunk.key);
      entries -= goneCount;
      dropped += goneCount;
      for (const entry of gone) {
        bytes -= entryBytes(entry);
        droppedBytes += entryBytes(entry);
      }
    }
  }
  for (const entry of added.slice(0, -1)) {
    if (!isOver()) break;
    skipped += 1;
    entries -= 1;
    bytes -= entryBytes(entry);
    droppedBytes += entryBytes(entry);
  }
  return { dropped: dropped + skipped, droppedBytes, skipped };
}
