/**
 * WatchTasks: the tasks of one controller or of all, and every change of them, as a position in the store's history.
 *
 * States: snapshot -> following; with a revision to go on from, or where none is wanted, following at once.
 *
 * 1. The snapshot is as of one revision. The bookmark behind it has that revision; what follows is every later change,
 *    once, ordered by revision over all tasks.
 * 2. Which tasks may match is read from the index that fits, as it is now, and each is then read as of the snapshot's
 *    revision. A task that had stopped matching by then is not in the snapshot: that it left follows the bookmark.
 * 3. A task that matches no longer is sent once more, marked so; before it matches again, nothing of it is.
 * 4. A bookmark covers what the store's watch has handed over, and nothing that a failing store leaves in doubt.
 * 5. Nothing is queued for a watcher: history is its buffer, and one that falls behind it is told so.
 */
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import type { Lifetime } from "../async/lifetime.ts";
import { onAbort } from "../async/signals.ts";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import { parseTaskKey, taskKey, tasksPrefix } from "../store/keys.ts";
import { type Store, StoreError, type StoreEvent } from "../store/store.ts";
import { Arrival } from "./arrival.ts";
import { once } from "./commit.ts";
import type { TasksChange, WatchTasksOptions } from "./controller.ts";
import { ControllerError, unlessDamaged } from "./error.ts";
import { checkHistory, historyGone } from "./history.ts";
import { readById } from "./list-sources.ts";
import { checkOpen, type Parts } from "./parts.ts";
import type { Quarantine } from "./quarantine.ts";
import { checkQuery, matchesQuery } from "./query.ts";
import type { StoreGuard } from "./store-guard.ts";
import { decodeEntry, foldStatus, type LoadedTask, loadTask } from "./task-reader.ts";
import type { WatchHub } from "./watch-hub.ts";

/** What is watched, and with what. */
export interface WatchedTasks {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly hub: WatchHub;
  /** Of a watch of many controllers one of its own. */
  readonly quarantine: Quarantine;
  readonly watchersMax: number;
  readonly lifetime: Lifetime;
  /** Aborted when nothing is to be watched any more. */
  readonly closing: AbortSignal;
  /** The one controller that is watched; undefined: all. */
  readonly only: string | undefined;
  /** The controllers whose tasks are in a snapshot. */
  names(): readonly string[];
  /** Reads a task as it is now, by the controller that it is of: where it is damaged, that is noted there. */
  look(controller: string, taskId: string): Promise<unknown>;
  /** Throws UNAVAILABLE where nothing can be watched. */
  checkOpen(): void;
}

const bookmarkMs = 15_000;
const candidatesAtOnce = 64;
const noFolding = { metadata: false, result: false, logs: 0 };

/** See Controller.watchTasks. Checked when this returns, and begun by the first `next`. */
export function watchTasks(watched: WatchedTasks, options: WatchTasksOptions): AsyncIterable<TasksChange> {
  watched.checkOpen();
  checkQuery(options, 0);
  checkHistory(watched.store, options.sinceRevision ?? 0n);
  return {
    async *[Symbol.asyncIterator]() {
      // No task has this id: nothing wakes it, it is a place among the watches.
      const place = watched.hub.enter("", watched.watchersMax);
      const leaving = new AbortController();
      const offs = [() => place.close(), onAbort(watched.closing, () => leaving.abort())];
      if (options.signal !== undefined) offs.push(onAbort(options.signal, () => leaving.abort()));
      try {
        yield* watch(watched, options, leaving.signal);
      } catch (error) {
        throw asControllerError(watched, error);
      } finally {
        for (const off of offs) off();
        leaving.abort();
      }
      if (watched.closing.aborted && options.signal?.aborted !== true) watched.checkOpen();
    },
  };
}

/** The tasks of one controller. */
export function watchedTasksOf(parts: Parts): WatchedTasks {
  const { core } = parts;
  return {
    ...core,
    watchersMax: core.limits.watchersMax,
    only: core.name,
    names: () => [core.name],
    look: (_, taskId) => once(core, () => loadTask(core, taskId)),
    checkOpen: () => checkOpen(parts),
  };
}

async function* watch(
  watched: WatchedTasks,
  options: WatchTasksOptions,
  leaving: AbortSignal,
): AsyncGenerator<TasksChange> {
  const { sinceRevision = 0n, skipSnapshot = false } = options;
  const from = sinceRevision > 0n ? sinceRevision : watched.store.revision();
  if (sinceRevision === 0n && !skipSnapshot) {
    for (const name of watched.names()) {
      for await (const change of snapshotOf(watched, name, options, from)) {
        if (leaving.aborted) return;
        yield change;
      }
    }
  }
  yield bookmark(from);
  yield* follow(watched, options, from, leaving);
}

/** The tasks of a controller that matched at the revision. */
async function* snapshotOf(
  watched: WatchedTasks,
  name: string,
  options: WatchTasksOptions,
  revision: bigint,
): AsyncGenerator<TasksChange> {
  const core = { ...watched, name };
  for (let after = "", isLast = false; !isLast; ) {
    const candidates = await once(core, () => readById(core, options, after, candidatesAtOnce));
    isLast = candidates.length < candidatesAtOnce;
    after = candidates.at(-1)?.cursor ?? after;
    const loaded = await Promise.all(
      candidates.map(async ({ taskId }) => {
        if (taskId === "") return undefined;
        return unlessDamagedTask(watched, { controller: name, taskId }, () => asOf(watched, name, taskId, revision));
      }),
    );
    for (const [i, { taskId }] of candidates.entries()) {
      const version = loaded[i];
      if (version === undefined || !matchesQuery(version.task.status, taskId, options)) continue;
      yield changeOf({ controller: name, taskId }, version.revision, await statusOf(core, taskId, version));
    }
  }
}

async function* follow(
  watched: WatchedTasks,
  options: WatchTasksOptions,
  from: bigint,
  leaving: AbortSignal,
): AsyncGenerator<TasksChange> {
  const { store, guard, clock, only } = watched;
  const prefix = only === undefined ? tasksPrefix : taskKey(only, options.idPrefix ?? "");
  const watching = store.watch({ prefix, after: from, signal: leaving });
  const events = watching[Symbol.asyncIterator]();
  let sentMs = clock.mono();
  try {
    while (!leaving.aborted) {
      const next = once(watched, () => events.next());
      const arrival = new Arrival(next);
      while (!(await arrival.within(clock, Math.max(0, sentMs + bookmarkMs - clock.mono())))) {
        sentMs = clock.mono();
        // While the store fails, a commit may be in doubt that the position covers.
        if (guard.healthy) yield bookmark(watching.position());
      }
      const step = await next;
      if (step.done === true) return;
      for (const event of step.value) {
        const name = parseTaskKey(event.key);
        if (name === undefined || !name.taskId.startsWith(options.idPrefix ?? "")) continue;
        const change = await unlessDamagedTask(watched, name, () => toChange(watched, name, options, event));
        if (leaving.aborted) return;
        if (change === undefined) continue;
        sentMs = clock.mono();
        yield change;
      }
      // Silence is where nothing was sent, however much of others there was to look at. An array ends with a commit.
      const last = step.value.at(-1);
      if (last === undefined || clock.mono() - sentMs < bookmarkMs) continue;
      sentMs = clock.mono();
      yield bookmark(last.revision);
    }
  } finally {
    await events.return?.();
  }
}

/** What the watcher is sent for an event of the task; undefined where it is none of its business. */
async function toChange(
  watched: WatchedTasks,
  name: TaskName,
  options: WatchTasksOptions,
  event: StoreEvent,
): Promise<TasksChange | undefined> {
  const core = { ...watched, name: name.controller };
  const version = event.type === "put" ? decodeEntry(name.controller, name.taskId, event) : undefined;
  if (version !== undefined && matchesQuery(version.task.status, name.taskId, options)) {
    return changeOf(name, event.revision, await statusOf(core, name.taskId, version));
  }
  // Only a transition, or a launch, which is one, changes the state or the labels; what a program has put into the
  // store itself does not say whether it is one.
  const { isTransition = true, generation = "" } = version?.task.record ?? {};
  if (!isTransition && generation !== "") return undefined;
  const before = await asOf(watched, name.controller, name.taskId, event.revision - 1n);
  if (before === undefined || !matchesQuery(before.task.status, name.taskId, options)) return undefined;
  if (version === undefined) return { ...changeOf(name, event.revision, undefined), deleted: true };
  const status = await statusOf(core, name.taskId, version);
  return { ...changeOf(name, event.revision, status), left: true };
}

interface TaskName {
  readonly controller: string;
  readonly taskId: string;
}

function changeOf({ controller, taskId }: TaskName, revision: bigint, status: TaskStatus | undefined): TasksChange {
  return { controller, taskId, revision, status, deleted: false, left: false, bookmark: false };
}

function bookmark(revision: bigint): TasksChange {
  return { controller: "", taskId: "", revision, status: undefined, deleted: false, left: false, bookmark: true };
}

/** Nothing is read for this: metadata, result and logs are left out. */
function statusOf(
  core: WatchedTasks & { readonly name: string },
  taskId: string,
  version: LoadedTask,
): Promise<TaskStatus | undefined> {
  return foldStatus(core, taskId, version, noFolding);
}

function asOf(
  watched: WatchedTasks,
  controller: string,
  taskId: string,
  revision: bigint,
): Promise<LoadedTask | undefined> {
  return once(watched, () => loadTask({ ...watched, name: controller }, taskId, revision));
}

/**
 * A damaged record hurts its own task only: a watch of many goes on without it. Where it is the task as it is now, who looks at that notes it;
 * one of history is no matter of the task as it is, but a change that the watch leaves out.
 */
function unlessDamagedTask<T>(
  watched: WatchedTasks,
  { controller, taskId }: TaskName,
  read: () => Promise<T | undefined>,
): Promise<T | undefined> {
  return unlessDamaged(read, async (err) => {
    const looked = await watched.look(controller, taskId).catch((error: unknown) => error);
    if (looked instanceof ControllerError && looked.code === "DATA_LOSS") return;
    const message = "a watch leaves out a change of a task, as its record is damaged";
    watched.faults.note("changes_left_out", { err, controller, taskId }, message);
  });
}

function asControllerError({ store }: WatchedTasks, error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  // What a snapshot or a slow watcher has still to be shown.
  if (error.code === "COMPACTED") {
    const first = error.firstRevision ?? store.firstRevision();
    return historyGone("that this watch is at", first, { advice: "watch again with a snapshot", cause: error });
  }
  if (error.code !== "CORRUPT") return error;
  return new ControllerError("DATA_LOSS", `${error.message}: watch again with a snapshot`, {
    cause: error,
    reason: "CORRUPT",
  });
}
