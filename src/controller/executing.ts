import type { Store } from "../store/store.ts";

/** The phases that are under way in this process, by the ids of their tasks, of each controller on each store. */
const phases = new WeakMap<Store, Map<string, Map<string, Promise<unknown>>>>();

/**
 * What of a task is executing in this process. A controller that was closed waits for its runners only so long, and one that is
 * opened in its place must not run a task beside what is left of that.
 */
export class Executing {
  readonly #phases: Map<string, Promise<unknown>>;

  constructor(store: Store, controller: string) {
    let ofStore = phases.get(store);
    if (ofStore === undefined) phases.set(store, (ofStore = new Map<string, Map<string, Promise<unknown>>>()));
    let ofController = ofStore.get(controller);
    if (ofController === undefined) ofStore.set(controller, (ofController = new Map<string, Promise<unknown>>()));
    this.#phases = ofController;
  }

  /** The phase of the task that has not settled; it never rejects. */
  get(taskId: string): Promise<unknown> | undefined {
    return this.#phases.get(taskId);
  }

  /** What the phase settles to; it is kept until then. It must not reject. */
  async track<T>(taskId: string, phase: Promise<T>): Promise<T> {
    this.#phases.set(taskId, phase);
    const settled = await phase;
    if (this.#phases.get(taskId) === phase) this.#phases.delete(taskId);
    return settled;
  }
}
