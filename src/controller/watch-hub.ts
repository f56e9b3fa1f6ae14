/**
 * Wakes whoever watches a task when the task has changed on disk. It carries no changes, only the news that there are
 * some: a watcher reads them itself, so a slow one costs nothing.
 *
 * 1. That a task has changed is to be seen (`version`) when `wake` returns. Watchers are told then, a few in each turn of the event loop, as
 *    a task may have thousands, and what each of them does is done before anything else gets its turn.
 * 2. What is made for one watcher of a version serves the others (`shared`). It is kept while they are told, and not while they are idle.
 */
import { DueLine } from "../async/due-line.ts";
import { nextTurn } from "../async/next-turn.ts";
import { createWaiter, type Waiter } from "../async/waiter.ts";
import type { TaskChange } from "./controller.ts";
import { limitError } from "./error.ts";

/** After so long a silence there is a bookmark. */
export const bookmarkMs = 15_000;

const wakesPerTurn = 100;

/** Somebody who watches a task. */
export interface Watcher {
  /** The task has changed, or the controller closes. Never throws. */
  wake(): void;
}

/** What a version of a task is to those of its watchers who are sent the same. */
export interface SharedChange {
  readonly revision: bigint;
  readonly waitingFor: string;
  readonly change: TaskChange | Promise<TaskChange | undefined>;
}

/** A task that is watched. */
export interface WatchedTask {
  /** Rises with each change. Take it before reading: what comes after it is new. */
  readonly version: number;
  readonly watchers: ReadonlySet<Watcher>;
  readonly shared: SharedChange | undefined;
}

interface TaskEntry extends WatchedTask {
  readonly taskId: string;
  version: number;
  readonly watchers: Set<Watcher>;
  shared: SharedChange | undefined;
}

/** The news of a task for one who waits for them with a promise. */
export interface Wakeup {
  /** Rises with each change. Take it before reading, and wait for the one after it. */
  readonly version: number;
  /** Resolves when `version` is no longer this one, or the wakeup is closed. */
  after(version: number): Promise<void>;
  /** Lets go, and wakes who still waits. */
  close(): void;
}

class TaskWakeup implements Wakeup, Watcher {
  readonly #hub: WatchHub;
  readonly #watched: WatchedTask;
  #isClosed = false;
  #pending: Waiter | undefined;

  constructor(hub: WatchHub, taskId: string) {
    this.#hub = hub;
    this.#watched = hub.join(taskId, this);
  }

  get version(): number {
    return this.#watched.version;
  }

  after(version: number): Promise<void> {
    if (this.#isClosed || version !== this.version) return Promise.resolve();
    this.#pending ??= createWaiter();
    return this.#pending.promise;
  }

  wake(): void {
    this.#pending?.resolve();
    this.#pending = undefined;
  }

  close(): void {
    this.#isClosed = true;
    this.#hub.leave(this.#watched, this);
    this.wake();
  }
}

export class WatchHub {
  /** Those to whom nothing was said for a while. */
  readonly silent = new DueLine(bookmarkMs);
  readonly #tasks = new Map<string, TaskEntry>();
  /** Those who are told in turns to come. */
  readonly #late = new Set<Watcher>();
  readonly #withShared = new Set<TaskEntry>();
  #leftInTurn = wakesPerTurn;
  #isTurnArranged = false;
  #count = 0;

  /** How many watches there are. */
  get size(): number {
    return this.#count;
  }

  /** Throws RESOURCE_EXHAUSTED where there are `max` watches. */
  checkRoom(max: number): void {
    if (this.#count < max) return;
    throw limitError("watchers_max", max, `${max} watches are open already, which is the limit`, 5_000);
  }

  /** As `watch`, for one of at most `max`. Throws RESOURCE_EXHAUSTED. */
  enter(taskId: string, max: number): Wakeup {
    this.checkRoom(max);
    return this.watch(taskId);
  }

  watch(taskId: string): Wakeup {
    return new TaskWakeup(this, taskId);
  }

  /** The watcher is told of the task's changes, until it leaves. */
  join(taskId: string, watcher: Watcher): WatchedTask {
    let entry = this.#tasks.get(taskId);
    if (entry === undefined) {
      entry = { taskId, version: 0, watchers: new Set(), shared: undefined };
      this.#tasks.set(taskId, entry);
    }
    entry.watchers.add(watcher);
    this.#count += 1;
    return entry;
  }

  leave(watched: WatchedTask, watcher: Watcher): void {
    const entry = watched as TaskEntry;
    if (!entry.watchers.delete(watcher)) return;
    this.#count -= 1;
    this.#late.delete(watcher);
    if (entry.watchers.size === 0) this.#tasks.delete(entry.taskId);
  }

  /** The task has changed. */
  wake(taskId: string): void {
    const entry = this.#tasks.get(taskId);
    if (entry === undefined) return;
    entry.version += 1;
    for (const watcher of entry.watchers) this.tell(watcher);
  }

  /** The controller closes: all watchers are told, and no timer is left, also for one that reads a store which does not answer. */
  close(): void {
    this.silent.clear();
    for (const taskId of this.#tasks.keys()) this.wake(taskId);
  }

  /** Keeps what was made for a watcher of the task, for the others that are told of the same. */
  share(watched: WatchedTask, shared: SharedChange): void {
    const entry = watched as TaskEntry;
    if (entry.watchers.size < 2) return;
    entry.shared = shared;
    this.#withShared.add(entry);
    this.#arrangeTurn();
  }

  /** Wakes a watcher, when it is its turn. */
  tell(watcher: Watcher): void {
    this.#arrangeTurn();
    if (this.#leftInTurn === 0) {
      this.#late.add(watcher);
      return;
    }
    this.#leftInTurn -= 1;
    watcher.wake();
  }

  #arrangeTurn(): void {
    if (this.#isTurnArranged) return;
    this.#isTurnArranged = true;
    void nextTurn().then(() => this.#turn());
  }

  #turn(): void {
    this.#isTurnArranged = false;
    this.#leftInTurn = wakesPerTurn;
    for (const watcher of this.#late) {
      if (this.#leftInTurn === 0) break;
      this.#late.delete(watcher);
      this.tell(watcher);
    }
    if (this.#late.size > 0) return;
    for (const entry of this.#withShared) entry.shared = undefined;
    this.#withShared.clear();
  }
}
