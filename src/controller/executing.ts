import type { Store } from "../store/store.ts";

/** The phases that are under way in this process, by the ids of their tasks, of each controller that has any, on each store. */
type Phases = Map<string, Map<string, Promise<unknown>>>;
const phases = new WeakMap<Store, Phases>();

/**
 * What of a task is executing in this process. A controller that was closed waits for its runners only so long, and one that is
 * opened in its place must not run a task beside what is left of that.
 */
export class Executing {
  readonly #ofStore: Phases;
  readonly #controller: string;

  constructor(store: Store, controller: string) {
    let ofStore = phases.get(store);
    if (ofStore === undefined) phases.set(store, (ofStore = new Map() as Phases));
    this.#ofStore = ofStore;
    this.#controller = controller;
  }

  /** The phase of the task that has not settled; it never rejects. */
  get(taskId: string): Promise<unknown> | undefined {
    return this.#ofStore.get(this.#controller)?.get(taskId);
  }

  /** What the phase settles to; it is kept until then. It must not reject. */
  async track<T>(taskId: string, phase: Promise<T>): Promise<T> {
    let own = this.#ofStore.get(this.#controller);
    if (own === undefined) this.#ofStore.set(this.#controller, (own = new Map<string, Promise<unknown>>()));
    own.set(taskId, phase);
    const settled = await phase;
    if (own.get(taskId) === phase) own.delete(taskId);
    if (own.size === 0) this.#ofStore.delete(this.#controller);
    return settled;
  }
}
