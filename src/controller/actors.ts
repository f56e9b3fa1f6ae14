import type { Core } from "./core.ts";
import { TaskActor } from "./task-actor.ts";

/**
 * The actors in memory: those that somebody holds (a call, a run, a delivery), and those with a stored launch, which on disk is
 * found again only at the next opening. All others are in the store only.
 */
export class Actors {
  readonly #core: Core;
  readonly #actors = new Map<string, TaskActor>();
  #held = 0;
  readonly #idle: Array<() => void> = [];

  constructor(core: Core) {
    this.#core = core;
  }

  get size(): number {
    return this.#actors.size;
  }

  /** The actor, if it is in memory. */
  peek(taskId: string): TaskActor | undefined {
    return this.#actors.get(taskId);
  }

  all(): Iterable<TaskActor> {
    return this.#actors.values();
  }

  /** Holds the actor while `use` runs. */
  async use<T>(taskId: string, use: (actor: TaskActor) => Promise<T>): Promise<T> {
    const actor = this.acquire(taskId);
    try {
      return await use(actor);
    } finally {
      this.release(actor);
    }
  }

  /** Holds the actor until `release`. */
  acquire(taskId: string): TaskActor {
    let actor = this.#actors.get(taskId);
    if (actor === undefined) this.#actors.set(taskId, (actor = new TaskActor(this.#core, taskId)));
    if (actor.users === 0) this.#held += 1;
    actor.users += 1;
    return actor;
  }

  release(actor: TaskActor): void {
    actor.users -= 1;
    if (actor.users > 0) return;
    this.#held -= 1;
    if (actor.intent === undefined) this.#actors.delete(actor.taskId);
    if (this.#held === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Resolves when nobody holds an actor: no call, run or delivery is under way. */
  idle(): Promise<void> {
    if (this.#held === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }
}
