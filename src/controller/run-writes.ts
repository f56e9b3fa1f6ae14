/**
 * What a runner has said and is not on disk yet: writes, each with a progress, log
 * entries, or both. While one commit is under way the next gathers here, so a runner that writes fast costs
 * few commits.
 *
 * 1. A caller is told "done" only after the commit that has its write; entries keep their order.
 * 2. Of several progresses that wait only the newest is written; all their callers are told by that.
 * 3. What waits is bounded: log entries beyond the bound are refused, what has none shares the promise of the write that it goes along with,
 *    and `write` is bounded by who calls it.
 * 4. A commit takes the oldest writes, each whole, as many as one chunk of log entries holds, with the newest progress
 *    of these. So nothing that was said at once is on disk by half, what the record says of seqs is true of all up to it, and a message of a
 *    watch can end between any two commits.
 */
import { create } from "@bufbuild/protobuf";
import { type LogEntry, LogEntrySchema, type Progress } from "#gen/core/v1/core_pb.js";
import { createWaiter, type Waiter } from "../async/waiter.ts";
import type { Change } from "../store/store.ts";
import { apply, type TaskEvent } from "../task/apply.ts";
import { cutText } from "../task/limits.ts";
import { type Task, timestampAt } from "../task/task.ts";
import { tooManyWait, waitingEntriesMax } from "./active-task.ts";
import { appendLogs, chunkMaxBytes, entriesBytes } from "./append-logs.ts";
import type { Core } from "./core.ts";

/** Writes that were taken out to be committed together. */
export interface Batch {
  readonly progress: Progress | undefined;
  readonly entries: readonly LogEntry[];
  /** The highest seq of a write in it; undefined where none has one. */
  readonly seq: bigint | undefined;
  readonly waiters: readonly Waiter[];
}

/** What is said at once. */
export type SaidAtOnce = Omit<Batch, "waiters">;

/** A write, and those that go along with it, while they wait. */
interface Waiting {
  progress: Progress | undefined;
  readonly entries: readonly LogEntry[];
  seq: bigint | undefined;
  readonly waiters: Waiter[];
  /** The one of these whose promise all get that go along; none yet after it was put back. */
  shared: Waiter | undefined;
}

const batchMaxEntries = 2_000;
const noEntries: readonly LogEntry[] = [];

export class RunWrites {
  readonly #waiting: Waiting[] = [];
  #waitingEntries = 0;
  #newestProgress: Progress | undefined;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Something waits, and no log entry. */
  get hasOnlyProgress(): boolean {
    return !this.isEmpty && this.#waitingEntries === 0;
  }

  /** More waits than one commit takes. */
  get isOverfull(): boolean {
    return this.#batchLength() < this.#waiting.length;
  }

  /** The progress that was said last, whether it is on disk or not; undefined when none was. */
  get newestProgress(): Progress | undefined {
    return this.#newestProgress;
  }

  setProgress(progress: Progress): Promise<void> {
    return this.write({ progress, entries: noEntries, seq: undefined });
  }

  addLogEntry(level: number, msg: string, nowMs: number): Promise<void> {
    if (this.#waitingEntries >= waitingEntriesMax) return Promise.reject(tooManyWait());
    return this.write({ progress: undefined, entries: [createLogEntry(level, msg, nowMs)], seq: undefined });
  }

  /** Its entries have to fit into one chunk. */
  write({ progress, entries, seq }: SaidAtOnce): Promise<void> {
    this.#newestProgress = progress ?? this.#newestProgress;
    this.#waitingEntries += entries.length;
    const last = this.#waiting.at(-1);
    if (last === undefined || entries.length > 0) {
      const shared = createWaiter();
      this.#waiting.push({ progress, entries, seq, waiters: [shared], shared });
      return shared.promise;
    }
    // What has no entries takes no room: it goes along with the write before it.
    last.progress = progress ?? last.progress;
    last.seq = seq ?? last.seq;
    if (last.shared === undefined) {
      last.shared = createWaiter();
      last.waiters.push(last.shared);
    }
    return last.shared.promise;
  }

  /** Takes out what waits, as much as one commit takes. */
  take(): Batch {
    return this.#takeOut(this.#batchLength());
  }

  /** Takes out all that waits. */
  takeAll(): Batch {
    return this.#takeOut(this.#waiting.length);
  }

  /** Puts a batch back that was not written, before what was said since. */
  putBack(batch: Batch): void {
    this.#waiting.unshift({ ...batch, waiters: [...batch.waiters], shared: undefined });
    this.#waitingEntries += batch.entries.length;
  }

  #takeOut(length: number): Batch {
    // Mostly one waits, which is a batch.
    const only = length === 1 ? this.#waiting.shift() : undefined;
    if (only !== undefined) {
      this.#waitingEntries -= only.entries.length;
      return only;
    }
    const writes = this.#waiting.splice(0, length);
    const entries = writes.flatMap((write) => write.entries);
    this.#waitingEntries -= entries.length;
    return {
      progress: writes.findLast(({ progress }) => progress !== undefined)?.progress,
      entries,
      seq: writes.findLast(({ seq }) => seq !== undefined)?.seq,
      waiters: writes.flatMap(({ waiters }) => waiters),
    };
  }

  #batchLength(): number {
    let bytes = 0;
    let entries = 0;
    let length = 0;
    for (const write of this.#waiting) {
      bytes += entriesBytes(write.entries);
      entries += write.entries.length;
      if (length > 0 && (bytes > chunkMaxBytes || entries > batchMaxEntries)) break;
      length += 1;
    }
    return length;
  }
}

export function resolveBatch(batch: Batch): void {
  for (const waiter of batch.waiters) waiter.resolve();
}

export function rejectBatch(batch: Batch, error: unknown): void {
  for (const waiter of batch.waiters) waiter.reject(error);
}

/** A log entry, to be numbered when it is stored. */
export function createLogEntry(level: number, msg: string, nowMs: number): LogEntry {
  return create(LogEntrySchema, { msg, level, timestamp: timestampAt(nowMs) });
}

/** A task with writes applied, and the changes that go with them. */
export interface AppliedWrites {
  readonly task: Task;
  readonly changes: Change[];
}

/** Applies a batch to a task: its log entries, its progress, and up to which seq that is all. Waits only where there are entries. */
export function applyBatch(
  core: Core,
  taskId: string,
  task: Task,
  batch: Batch,
): AppliedWrites | Promise<AppliedWrites> {
  const nowMs = core.clock.wall();
  const { entries, progress, seq } = batch;
  const progressed = (after: Task, changes: Change[]): AppliedWrites => ({
    task: progress === undefined ? after : applied(after, { type: "progress", progress, seq }, nowMs),
    changes,
  });
  if (entries.length === 0) return progressed(task, []);
  return appendLogs(core, taskId, task, entries).then(({ changes, counts }) =>
    progressed(applied(task, { type: "logs", ...counts, seq }, nowMs), changes),
  );
}

/** Appends one entry of the controller's own to a task. */
export async function appendLogEntry(core: Core, taskId: string, task: Task, msg: string): Promise<AppliedWrites> {
  const entry = createLogEntry(0, cutText(msg, core.limits.logEntryMaxBytes), core.clock.wall());
  return applyBatch(core, taskId, task, { progress: undefined, entries: [entry], seq: undefined, waiters: [] });
}

function applied(task: Task, event: TaskEvent, nowMs: number): Task {
  const outcome = apply(task, event, nowMs);
  return outcome.kind === "applied" ? outcome.task : task;
}
