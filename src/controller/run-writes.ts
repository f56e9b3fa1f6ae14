/**
 * What a runner has said and is not on disk yet: the newest progress, and log
 * entries. While one commit is under way the next gathers here, so a runner that writes fast costs
 * few commits.
 *
 * 1. A caller is told "done" only after the commit that has its write; entries keep their order.
 * 2. Of several progresses that wait only the newest is written; all their callers are told by that.
 * 3. What waits is bounded: log entries beyond the bound are refused.
 * 4. One commit takes no more entries than one chunk holds, and the progress goes with the last of those that
 *    wait: so a message of a watch can end between any two commits.
 */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type LogEntry, LogEntrySchema, type Progress } from "#gen/core/v1/core_pb.js";
import { encodeLogChunk } from "../store/codec.ts";
import { logKey, logKeySeq } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import { apply, type TaskEvent } from "../task/apply.ts";
import { byteLength, cutText } from "../task/limits.ts";
import type { Task } from "../task/task.ts";
import { untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import { ControllerError } from "./error.ts";
import { chunkEntries, scanLogChunks } from "./task-reader.ts";

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Writes that were taken out to be committed together. */
export interface Batch {
  readonly progress: Progress | undefined;
  readonly progressWaiters: readonly Waiter[];
  readonly entries: readonly LogEntry[];
  /** One for each entry. */
  readonly entryWaiters: readonly Waiter[];
}

const waitingEntriesMax = 10_000;
const batchMaxEntries = 2_000;
const chunkMaxBytes = 128 * 1024;
const trimPageChunks = 64;

export class RunWrites {
  #progress: Progress | undefined;
  #newestProgress: Progress | undefined;
  #progressWaiters: Waiter[] = [];
  #entries: LogEntry[] = [];
  /** One for each entry. */
  #entryWaiters: Waiter[] = [];

  get isEmpty(): boolean {
    return this.#entries.length === 0 && this.#progress === undefined;
  }

  /** More waits than one commit takes. */
  get isOverfull(): boolean {
    return this.#batchLength() < this.#entries.length;
  }

  /** The progress that was said last, whether it is on disk or not; undefined when none was. */
  get newestProgress(): Progress | undefined {
    return this.#newestProgress;
  }

  setProgress(progress: Progress): Promise<void> {
    this.#progress = progress;
    this.#newestProgress = progress;
    return waitIn(this.#progressWaiters);
  }

  addLogEntry(level: number, msg: string, nowMs: number): Promise<void> {
    if (this.#entries.length >= waitingEntriesMax) {
      return Promise.reject(
        new ControllerError(
          "RESOURCE_EXHAUSTED",
          `more than ${waitingEntriesMax} log entries wait to be written: await addLogEntry`,
          { reason: "LIMIT", metadata: { limit: "waiting_log_entries", value: String(waitingEntriesMax) } },
        ),
      );
    }
    this.#entries.push(create(LogEntrySchema, { msg, level, timestamp: timestampFromMs(nowMs) }));
    return waitIn(this.#entryWaiters);
  }

  /** Takes out what waits, as much as one commit takes. */
  take(): Batch {
    const length = this.#batchLength();
    if (length === this.#entries.length) return this.takeAll();
    return {
      progress: undefined,
      progressWaiters: [],
      entries: this.#entries.splice(0, length),
      entryWaiters: this.#entryWaiters.splice(0, length),
    };
  }

  /** Takes out all that waits. */
  takeAll(): Batch {
    const batch = {
      progress: this.#progress,
      progressWaiters: this.#progressWaiters,
      entries: this.#entries,
      entryWaiters: this.#entryWaiters,
    };
    this.#progress = undefined;
    this.#progressWaiters = [];
    this.#entries = [];
    this.#entryWaiters = [];
    return batch;
  }

  /** Puts a batch back that was not written, before what was said since. */
  putBack(batch: Batch): void {
    this.#progress ??= batch.progress;
    this.#progressWaiters = [...batch.progressWaiters, ...this.#progressWaiters];
    this.#entries = [...batch.entries, ...this.#entries];
    this.#entryWaiters = [...batch.entryWaiters, ...this.#entryWaiters];
  }

  #batchLength(): number {
    let bytes = 0;
    let length = 0;
    for (const entry of this.#entries) {
      bytes += entryBytes(entry);
      if (length > 0 && (bytes > chunkMaxBytes || length >= batchMaxEntries)) break;
      length += 1;
    }
    return length;
  }
}

function waitIn(waiters: Waiter[]): Promise<void> {
  return new Promise((resolve, reject) => waiters.push({ resolve, reject }));
}

export function resolveBatch(batch: Batch): void {
  for (const waiter of [...batch.entryWaiters, ...batch.progressWaiters]) waiter.resolve();
}

export function rejectBatch(batch: Batch, error: unknown): void {
  for (const waiter of [...batch.entryWaiters, ...batch.progressWaiters]) waiter.reject(error);
}

/** A task with writes applied, and the changes that go with them. */
export interface AppliedWrites {
  readonly task: Task;
  readonly changes: Change[];
}

/** Applies a batch to a task: numbers the entries, puts them into chunks, and drops the oldest above the limits. */
export async function applyBatch(core: Core, taskId: string, task: Task, batch: Batch): Promise<AppliedWrites> {
  const nowMs = core.clock.wall();
  const changes: Change[] = [];
  let after = task;
  if (batch.entries.length > 0) {
    const { entries } = batch;
    const addedBytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
    const { skipped, ...dropped } = await dropOldest(core, taskId, task, entries, changes);
    changes.push(...chunksOf(core.name, taskId, task, { entries, skipped }));
    after = applied(after, { type: "logs", added: entries.length, addedBytes, ...dropped }, nowMs);
  }
  if (batch.progress !== undefined) after = applied(after, { type: "progress", progress: batch.progress }, nowMs);
  return { task: after, changes };
}

/** Appends one entry of the controller's own to a task. */
export function appendLogEntry(core: Core, taskId: string, task: Task, msg: string): Promise<AppliedWrites> {
  const entry = create(LogEntrySchema, {
    msg: cutText(msg, core.limits.logEntryMaxBytes),
    timestamp: timestampFromMs(core.clock.wall()),
  });
  return applyBatch(core, taskId, task, {
    progress: undefined,
    progressWaiters: [],
    entries: [entry],
    entryWaiters: [],
  });
}

function applied(task: Task, event: TaskEvent, nowMs: number): Task {
  const outcome = apply(task, event, nowMs);
  return outcome.kind === "applied" ? outcome.task : task;
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
  let bytes = added.reduce((sum, entry) => sum + entryBytes(entry), Number(task.record.logBytes));
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
