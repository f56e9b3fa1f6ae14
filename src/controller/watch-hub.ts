import { createWaiter, type Waiter } from "../async/waiter.ts";
import { limitError } from "./error.ts";

/**
 * Wakes whoever watches a task when the task has changed on disk. It carries no
 * changes, only the news that there are some: a watcher reads them itself, so a slow one costs nothing.
 */
export interface Wakeup {
  /** Rises with each change. Take it before reading, and wait for the one after it. */
  readonly version: number;
  /** Resolves when `version` is no longer this one, or the wakeup is closed. */
  after(version: number): Promise<void>;
  /** Lets go, and wakes who still waits. */
  close(): void;
}

class TaskWakeup implements Wakeup {
  version = 0;
  readonly #hub: Map<string, Set<TaskWakeup>>;
  readonly #taskId: string;
  readonly #onClose: () => void;
  #pending: Waiter | undefined;

  constructor(hub: Map<string, Set<TaskWakeup>>, taskId: string, onClose: () => void) {
    this.#hub = hub;
    this.#taskId = taskId;
    this.#onClose = onClose;
  }

  after(version: number): Promise<void> {
    if (version !== this.version) return Promise.resolve();
    this.#pending ??= createWaiter();
    return this.#pending.promise;
  }

  wake(): void {
    this.version += 1;
    this.#pending?.resolve();
    this.#pending = undefined;
  }

  close(): void {
    const waiters = this.#hub.get(this.#taskId);
    if (waiters?.delete(this) !== true) return;
    if (waiters.size === 0) this.#hub.delete(this.#taskId);
    this.#onClose();
    this.wake();
  }
}

export class WatchHub {
  readonly #waiters = new Map<string, Set<TaskWakeup>>();
  #count = 0;

  /** How many watches there are. */
  get size(): number {
    return this.#count;
  }

  /** As `watch`, for one of at most `max`. Throws RESOURCE_EXHAUSTED. */
  enter(taskId: string, max: number): Wakeup {
    if (this.#count >= max)
      throw limitError("watchers_max", max, `${max} watches are open already, which is the limit`, 5_000);
    return this.watch(taskId);
  }

  watch(taskId: string): Wakeup {
    const waiter = new TaskWakeup(this.#waiters, taskId, () => {
      this.#count -= 1;
    });
    const waiters = this.#waiters.get(taskId);
    if (waiters === undefined) this.#waiters.set(taskId, new Set([waiter]));
    else waiters.add(waiter);
    this.#count += 1;
    return waiter;
  }

  /** The task has changed. */
  wake(taskId: string): void {
    for (const waiter of this.#waiters.get(taskId) ?? []) waiter.wake();
  }
}
