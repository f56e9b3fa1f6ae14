/**
 * What WatchTask says when it looks at its task: everything that the watcher has not been sent, read from memory and
 * from the task's history. The rules that are cited are those of watch-task.ts.
 */
import type { LogEntry, TaskStatus } from "#gen/core/v1/core_pb.js";
import { isEnded } from "../task/state.ts";
import { byteLength } from "../task/limits.ts";
import { nextStatus } from "../task/next-version.ts";
import { firstLogSeq, type Task } from "../task/task.ts";
import { once } from "./commit.ts";
import type { TaskChange, WatchTaskOptions } from "./controller.ts";
import { taskNotFound } from "./error.ts";
import { type Parts, waitingFor } from "./parts.ts";
import { isRunToCome, notTheRun } from "./run-precondition.ts";
import { chunkEntries, foldInline, foldStatus, type LoadedTask, loadTask, scanLogChunks } from "./task-reader.ts";
import { asOf, beforeDeletion, inHistory, lastTransition, missedTransitions } from "./task-versions.ts";
import type { WatchedTask } from "./watch-hub.ts";

const firstLogs = 100n;
const messageLogMaxBytes = 256 * 1024;
const logPageChunks = 64;

export interface Position {
  /** Everything up to here was sent. */
  revision: bigint;
  /** Nothing was sent, and nothing is known of before: the status as it is comes first. */
  isBlank: boolean;
  /** The last log entry that was sent, and of which generation of the task. */
  logSeq: bigint;
  generation: string;
}

/** What is watched, and how far it has been sent. */
export interface Watched {
  readonly parts: Parts;
  readonly taskId: string;
  readonly options: WatchTaskOptions;
  readonly position: Position;
}

/** Why it looks. */
export interface Look {
  readonly isFirst: boolean;
  /** Where there is nothing to show there is a bookmark. */
  readonly isDue: boolean;
  readonly place: WatchedTask;
}

/** A message that has a revision only: everything up to it was sent. */
export function bookmark(revision: bigint): TaskChange {
  return { revision, status: undefined, logs: [] };
}

/** Everything from the position up to the task as it is, which moves the position on. Returns whether the watch is over. */
export async function* changesSince(
  watched: Watched,
  { isFirst, isDue, place }: Look,
): AsyncGenerator<TaskChange, boolean> {
  const { parts, taskId, options, position } = watched;
  const { core } = parts;
  const since = options.sinceRevision ?? 0n;
  // Taken before the read: whatever a bookmark with it covers, the read has shown.
  const upTo = core.store.revision();
  // What is in memory may lag behind the store for a moment, and a bookmark would cover what it does not show yet.
  const newest = await (isFirst || isDue ? once(core, () => loadTask(core, taskId)) : readNewest(parts, taskId));
  let spoke = false;
  const shown = newest ?? (await beforeDeletion(parts, taskId, position));
  const isPast = shown === undefined || shown.revision <= position.revision;
  // What changes of a task that has ended, such as a count of writes that were refused, is not its end.
  const isOfBefore = since > 0n && shown !== undefined && lastTransition(shown) <= since;
  if (shown !== undefined && isFirst) await begin(parts, taskId, shown, position);
  for await (const change of isPast ? [] : changesUpTo(watched, place, { shown, isNewest: shown === newest })) {
    yield change;
    position.revision = change.revision;
    position.isBlank = false;
    spoke = true;
    const isEnd = change.status !== undefined && isEnded(change.status.state);
    if (isEnd && !(options.waitForLaunch === true && isOfBefore)) return true;
  }
  if (newest === undefined && options.waitForLaunch !== true) throw taskNotFound(core.name, taskId);
  // All of a task that is gone was shown: that its history goes in turn is nothing to this watch.
  if (newest === undefined && isPast && upTo > position.revision && !position.isBlank) position.revision = upTo;
  if (newest !== undefined) await checkRun(parts, taskId, options.runId, newest);
  // Where there is nothing to show yet, a watch begins with a bookmark: of a task that is not there, or of a run to come.
  const isToCome = newest === undefined || !isWatched(newest.task.status.runId, options);
  if (isFirst && (isPast || (isToCome && !spoke))) {
    yield bookmark(upTo);
    position.isBlank = false;
    if (isToCome) position.revision = upTo;
    else return isEnded(newest.task.status.state) && options.waitForLaunch !== true;
  } else if (isDue && !spoke) {
    yield bookmark(upTo);
  }
  return false;
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
  watched: Watched,
  place: WatchedTask,
  { shown, isNewest }: { shown: LoadedTask; isNewest: boolean },
): AsyncGenerator<TaskChange> {
  const { parts, taskId, options, position } = watched;
  const revisions = position.isBlank ? [] : await missedTransitions(parts, taskId, shown, position.revision);
  for (const revision of revisions) {
    const version = await asOf(parts, taskId, revision);
    if (version !== undefined && isWatched(version.task.status.runId, options))
      yield* messagesOf(watched, { version, asOfRevision: revision });
  }
  if (revisions.at(-1) === shown.revision || !isWatched(shown.task.status.runId, options)) return;
  yield* messagesOf(watched, { version: shown, asOfRevision: isNewest ? undefined : shown.revision, place });
}

/** Whether the run is one that the watch is of. */
export function isWatched(current: string, { runId }: WatchTaskOptions): boolean {
  return runId === undefined || runId === "" || runId === current;
}

interface Version {
  readonly version: LoadedTask;
  /** Undefined for the newest. */
  readonly asOfRevision: bigint | undefined;
  readonly place?: WatchedTask;
}

/** The version's message, and before it, where its log entries are too many for one, messages with entries only. */
async function* messagesOf(watched: Watched, { version, asOfRevision, place }: Version): AsyncGenerator<TaskChange> {
  const { parts, taskId, options, position } = watched;
  const change = await (place === undefined
    ? createChange(parts, taskId, version, asOfRevision)
    : newestChange(watched, place, version));
  // Undefined where a newer launch has just replaced the metadata: the version after this one comes next.
  if (change === undefined) return;
  let logs: LogEntry[] = [];
  let bytes = 0;
  let revision = 0n;
  const chunks = options.includeLogs === true ? newChunks(parts, taskId, version, position) : [];
  for await (const chunk of chunks) {
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
  yield logs.length === 0 ? change : { ...change, logs };
}

/**
 * The message of the newest version, without log entries: one for all who share it, and at once where nothing of it has to be read.
 * Undefined where a newer launch has just replaced the metadata.
 */
export function newestChange(
  { parts, taskId, options }: Watched,
  place: WatchedTask,
  version: LoadedTask,
): TaskChange | Promise<TaskChange | undefined> {
  const { revision, task } = version;
  const waiting = waitingFor(parts, taskId, task);
  const { shared } = place;
  const isShared = options.shareChanges === true;
  if (isShared && shared?.revision === revision && shared.waitingFor === waiting) return shared.change;
  const isWhole = task.record.metadataBytes === 0 && task.record.resultBytes === 0;
  const change = isWhole
    ? { revision, status: isShared ? statusToRead(task, waiting) : statusToKeep(task, waiting), logs: [] }
    : createChange(parts, taskId, version, undefined);
  if (isShared) parts.core.hub.share(place, { revision, waitingFor: waiting, change });
  return change;
}

/** For those who only read it: mostly the very status that the controller has. */
function statusToRead({ status }: Task, waiting: string): TaskStatus {
  if (status.waitingFor === waiting && status.logs.length === 0) return status;
  const read = nextStatus(status);
  read.waitingFor = waiting;
  read.logs = [];
  return read;
}

/** For one who may do with it whatever it likes. */
function statusToKeep(task: Task, waiting: string): TaskStatus {
  const status = foldInline(task);
  status.waitingFor = waiting;
  return status;
}

async function createChange(
  parts: Parts,
  taskId: string,
  version: LoadedTask,
  asOfRevision: bigint | undefined,
): Promise<TaskChange | undefined> {
  const folding = { metadata: true, result: true, logs: 0 };
  const status = await inHistory(parts, version.revision, () =>
    foldStatus(parts.core, taskId, version, folding, asOfRevision),
  );
  if (status === undefined) return undefined;
  const waits = asOfRevision === undefined ? waitingFor(parts, taskId, version.task) : "";
  return { revision: version.revision, status: { ...status, waitingFor: waits }, logs: [] };
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
