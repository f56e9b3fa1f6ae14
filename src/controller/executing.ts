import { taskKey } from "../store/keys.ts";
import type { Store } from "../store/store.ts";

/** The phases that are under way in this process, by the keys of their tasks, on each store. */
const phases = new WeakMap<Store, Map<string, Promise<unknown>>>();

/**
 * What of a task is executing in this process. A controller that was closed waits for its runners only so long, and one that is
 * opened in its place must not run a task beside what is left of that.
 */
export class Executing {
  readonly #phases: Map<string, Promise<unknown>>;
  readonly #controller: string;

  constructor(store: Store, controller: string) {
    let ofStore = phases.get(store);
    if (ofStore === undefined) phases.set(store, (ofStore = new Map<string, Promise<unknown>>()));
    this.#phases = ofStore;
    this.#controller = controller;
  }

  /** The phase of the task that has not settled; it never rejects. */
  get(taskId: string): Promise<unknown> | undefined {
    return this.#phases.get(taskKey(this.#controller, taskId));
  }

  /** Keeps the phase until it has settled. It must not reject. */
  track<T>(taskId: string, phase: Promise<T>): Promise<T> {
    const key = taskKey(this.#controller, taskId);
    const tracked = phase.then((settled) => {
      if (this.#phases.get(key) === tracked) this.#phases.delete(key);
      return settled;
    });
    this.#phases.set(key, tracked);
    return tracked;
  }
}
