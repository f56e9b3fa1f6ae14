/**
 * WatchTask: a position in a task's history that moves on when the task
 * changes. Nothing is queued for a watcher: what it has not seen is on disk.
 *
 * 1. Every transition after the position is sent once, in order, as the status was then; they are found by walking
 *    back the chain of transitions from the newest version.
 *    That holds over a deletion too: what came before it is shown first.
 * 2. What lies between two transitions (progress, log entries) is sent as the newest at the time; at most every
 *    `progressIntervalMs` where it is not a transition.
 * 3. A log entry is sent once; its message's revision is not below the entry's, so the position covers it.
 * 4. The stream ends right after the first end state after the position it began with.
 * 5. After 15 s in which nothing was sent there is a bookmark, however often the task has changed without anything to
 *    show, as one does whose next run is watched; but for a store that fails, as a commit may be in doubt then.
 * 6. Whatever way it ends, nothing of it stays behind.
 */
import type { LogEntry } from "#gen/core/v1/core_pb.js";
import { sleep } from "../clock.ts";
import { onAbort } from "../async/signals.ts";
import { checkRequestId, checkTaskId } from "../task/ids.ts";
import { isEnded } from "../task/state.ts";
import { byteLength } from "../task/limits.ts";
import { firstLogSeq } from "../task/task.ts";
import { once } from "./commit.ts";
import type { TaskChange, WatchTaskOptions } from "./controller.ts";
import { refuseBadFields, taskNotFound } from "./error.ts";
import { checkHistory } from "./history.ts";
import { checkOpen, type Parts, waitingFor } from "./parts.ts";
import { isRunToCome, notTheRun } from "./run-precondition.ts";
import { chunkEntries, foldStatus, type LoadedTask, loadTask, scanLogChunks } from "./task-reader.ts";
import { asOf, beforeDeletion, inHistory, lastTransition, missedTransitions } from "./task-versions.ts";
import { bookmark, bookmarkMs, idle, type Waiting } from "./watch-idle.ts";

const progressIntervalMs = 100;
const firstLogs = 100n;
const messageLogMaxBytes = 256 * 1024;
const logPageChunks = 64;

interface Position {
  /** Everything up to here was sent. */
  revision: bigint;
  /** Nothing was sent, and nothing is known of before: the status as it is comes first. */
  isBlank: boolean;
  /** The last log entry that was sent, and of which generation of the task. */
  logSeq: bigint;
  generation: string;
}

/** See Controller.watchTask. Checked when this returns, and begun by the first `next`. */
export function watchTask(parts: Parts, taskId: string, options: WatchTaskOptions): AsyncIterable<TaskChange> {
  checkOpen(parts);
  const { core } = parts;
  checkWatch(parts, taskId, options);
  return {
    async *[Symbol.asyncIterator]() {
      const wakeup = core.hub.enter(taskId, core.limits.watchersMax);
      const leaving = new AbortController();
      const offs = [onAbort(core.closing, () => leaving.abort())];
      if (options.signal !== undefined) offs.push(onAbort(options.signal, () => leaving.abort()));
      const offWakeup = onAbort(leaving.signal, () => wakeup.close());
      try {
        yield* watch(parts, taskId, options, { signal: leaving.signal, wakeup });
      } finally {
        offWakeup();
        wakeup.close();
        for (const off of offs) off();
        leaving.abort();
      }
      if (core.closing.aborted && options.signal?.aborted !== true) checkOpen(parts);
    },
  };
}

function checkWatch(parts: Parts, taskId: string, options: WatchTaskOptions): void {
  refuseBadFields({
    task_id: checkTaskId(taskId),
    run_id: checkRequestId(options.runId ?? "", parts.core.limits.idMaxBytes),
  });
  checkHistory(parts.core.store, options.sinceRevision ?? 0n);
}

async function* watch(
  parts: Parts,
  taskId: string,
  options: WatchTaskOptions,
  waiting: Waiting,
): AsyncGenerator<TaskChange> {
  const { core } = parts;
  const since = options.sinceRevision ?? 0n;
  const position: Position = { revision: since, isBlank: since === 0n, logSeq: -1n, generation: "" };
  let sentMs = Number.NEGATIVE_INFINITY;
  let spokenMs = core.clock.mono();
  for (let isFirst = true; !waiting.signal.aborted; isFirst = false) {
    const { version } = waiting.wakeup;
    // Taken before the read: whatever a bookmark with it covers, the read has shown.
    const upTo = core.store.revision();
    const isDue = core.guard.healthy && core.clock.mono() >= spokenMs + bookmarkMs;
    // What is in memory may lag behind the store for a moment, and a bookmark would cover what it does not show yet.
    const newest = await (isFirst || isDue ? once(core, () => loadTask(core, taskId)) : readNewest(parts, taskId));
    let spoke = false;
    const shown = newest ?? (await beforeDeletion(parts, taskId, position));
    const isPast = shown === undefined || shown.revision <= position.revision;
    // What changes of a task that has ended, such as a count of writes that were refused, is not its end.
    const isOfBefore = since > 0n && shown !== undefined && lastTransition(shown) <= since;
    if (shown !== undefined && isFirst) await begin(parts, taskId, shown, position);
    for await (const change of isPast
      ? []
      : changesUpTo(parts, taskId, options, { shown, isNewest: shown === newest }, position)) {
      yield change;
      position.revision = change.revision;
      position.isBlank = false;
      sentMs = core.clock.mono();
      spoke = true;
      const isEnd = change.status !== undefined && isEnded(change.status.state);
      if (isEnd && !(options.waitForLaunch === true && isOfBefore)) return;
    }
    if (newest === undefined && options.waitForLaunch !== true) throw taskNotFound(core.name, taskId);
    // All of a task that is gone was shown: that its history goes in turn is nothing to this watch.
    if (newest === undefined && isPast && upTo > position.revision && !position.isBlank) position.revision = upTo;
    if (newest !== undefined) await checkRun(parts, taskId, options.runId, newest);
    // Where there is nothing to show yet, a watch begins with a bookmark: of a task that is not there, or of a run to come.
    const isToCome = newest === undefined || !isWatched(newest, options);
    if (isFirst && (isPast || (isToCome && sentMs === Number.NEGATIVE_INFINITY))) {
      yield bookmark(upTo);
      spoke = true;
      position.isBlank = false;
      if (isToCome) position.revision = upTo;
      else if (isEnded(newest.task.status.state) && options.waitForLaunch !== true) return;
    } else if (isDue && !spoke) {
      yield bookmark(upTo);
      spoke = true;
    }
    if (spoke) spokenMs = core.clock.mono();
    spokenMs = yield* idle(parts, waiting, version, { spokenMs, spoke });
    await waitOutProgress(parts, taskId, position, { ...waiting, untilMs: sentMs + progressIntervalMs });
  }
}

/** Waits until `untilMs` where only progress is new, so that it is not sent too often; a transition ends the wait. */
async function waitOutProgress(
  parts: Parts,
  taskId: string,
  position: Position,
  { signal, wakeup, untilMs }: Waiting & { untilMs: number },
): Promise<void> {
  const { clock } = parts.core;
  if (clock.mono() >= untilMs) return;
  const over = new AbortController();
  const timer = sleep(clock, untilMs - clock.mono(), over.signal).then(() => over.abort());
  const off = onAbort(signal, () => over.abort());
  try {
    while (!over.signal.aborted) {
      const { version } = wakeup;
      const newest = await readNewest(parts, taskId);
      if (newest === undefined || lastTransition(newest) > position.revision) return;
      await Promise.race([wakeup.after(version), timer]);
    }
  } finally {
    off();
    over.abort();
  }
}

/** The newest version: from memory where the task is there. */
async function readNewest(parts: Parts, taskId: string): Promise<LoadedTask | undefined> {
  const known = parts.actors.peek(taskId)?.known;
  if (known?.task !== undefined) return { task: known.task, revision: known.revision, previous: 0n };
  return once(parts.core, () => loadTask(parts.core, taskId));
}

async function checkRun(parts: Parts, taskId: string, runId: string | undefined, newest: LoadedTask): Promise<void> {
  if (runId === undefined || runId === "" || runId === newest.task.status.runId) return;
  if (await isRunToCome(parts, taskId, runId)) return;
  throw notTheRun(taskId, runId, newest.task.status.runId);
}

/** Where the log begins for this watch. */
async function begin(parts: Parts, taskId: string, newest: LoadedTask, position: Position): Promise<void> {
  position.generation = newest.task.record.generation;
  if (position.revision > 0n) {
    const then = await asOf(parts, taskId, position.revision);
    position.logSeq = then?.task.record.generation === position.generation ? then.task.record.logLastSeq : 0n;
    return;
  }
  const last = newest.task.record.logLastSeq;
  const first = firstLogSeq(newest.task);
  position.logSeq = last - first + 1n > firstLogs ? last - firstLogs : first - 1n;
}

/** The messages from the position up to the version; those of another run than the one that is watched are left out. */
async function* changesUpTo(
  parts: Parts,
  taskId: string,
  options: WatchTaskOptions,
  { shown, isNewest }: { shown: LoadedTask; isNewest: boolean },
  position: Position,
): AsyncGenerator<TaskChange> {
  const revisions = position.isBlank ? [] : await missedTransitions(parts, taskId, shown, position.revision);
  for (const revision of revisions) {
    const version = await asOf(parts, taskId, revision);
    if (version !== undefined && isWatched(version, options))
      yield* messagesOf(parts, taskId, options, position, { version, asOfRevision: revision });
  }
  if (revisions.at(-1) === shown.revision || !isWatched(shown, options)) return;
  const asOfRevision = isNewest ? undefined : shown.revision;
  yield* messagesOf(parts, taskId, options, position, { version: shown, asOfRevision });
}

function isWatched({ task }: LoadedTask, { runId }: WatchTaskOptions): boolean {
  return runId === undefined || runId === "" || runId === task.status.runId;
}

/** The version's message, and before it, where its log entries are too many for one, messages with entries only. */
async function* messagesOf(
  parts: Parts,
  taskId: string,
  options: WatchTaskOptions,
  position: Position,
  { version, asOfRevision }: { version: LoadedTask; asOfRevision: bigint | undefined },
): AsyncGenerator<TaskChange> {
  const { core } = parts;
  const folding = { metadata: true, result: true, logs: 0 };
  const status = await inHistory(parts, version.revision, () =>
    foldStatus(core, taskId, version, folding, asOfRevision),
  );
  // Undefined where a newer launch has just replaced the metadata: the version after this one comes next.
  if (status === undefined) return;
  let logs: LogEntry[] = [];
  if (options.includeLogs === true) {
    let bytes = 0;
    let revision = 0n;
    for await (const chunk of newChunks(parts, taskId, version, position)) {
      const size = chunk.entries.reduce((sum, entry) => sum + byteLength(entry.msg) + 32, 0);
      // Only between commits: a position covers whole ones.
      if (logs.length > 0 && bytes + size > messageLogMaxBytes && chunk.revision !== revision) {
        yield { revision, status: undefined, logs };
        logs = [];
        bytes = 0;
      }
      logs.push(...chunk.entries);
      bytes += size;
      revision = chunk.revision;
    }
  }
  const waits = asOfRevision === undefined ? waitingFor(parts, taskId, version.task) : "";
  yield { revision: version.revision, status: { ...status, waitingFor: waits }, logs };
}

interface NewChunk {
  readonly entries: LogEntry[];
  readonly revision: bigint;
}

/** The log chunks up to the version that were not sent; moves the position's log on. */
async function* newChunks(
  parts: Parts,
  taskId: string,
  version: LoadedTask,
  position: Position,
): AsyncGenerator<NewChunk> {
  const { core } = parts;
  const { generation, logLastSeq } = version.task.record;
  if (position.generation !== generation) {
    position.generation = generation;
    position.logSeq = 0n;
  }
  while (position.logSeq < logLastSeq) {
    const page = await once(core, () => scanLogChunks(core, taskId, generation, position.logSeq, logPageChunks));
    for (const chunk of page) {
      const entries = chunkEntries(core.name, taskId, chunk).filter(
        ({ seq }) => seq > position.logSeq && seq <= logLastSeq,
      );
      if (entries.length === 0) return;
      position.logSeq = entries.at(-1)?.seq ?? position.logSeq;
      yield { entries, revision: chunk.revision };
    }
    if (page.length < logPageChunks) return;
  }
}
