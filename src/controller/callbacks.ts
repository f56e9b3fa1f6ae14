import type { TaskState, TaskStatus } from "#gen/core/v1/core_pb.js";
import type { Log } from "../log.ts";
import { loggable } from "./describe-error.ts";

/** What a launch asked to be called at the end. */
export interface EndCallbacks {
  readonly onState?: ((state: TaskState) => void) | undefined;
  readonly onStatus?: ((status: TaskStatus) => void) | undefined;
}

/** The callbacks that wait for the next end of a task. They live in the process and are called once, never on close. */
export class Callbacks {
  readonly #log: Log;
  readonly #waiting = new Map<string, EndCallbacks[]>();

  constructor(log: Log) {
    this.#log = log;
  }

  add(taskId: string, callbacks: EndCallbacks): void {
    if (callbacks.onState === undefined && callbacks.onStatus === undefined) return;
    const waiting = this.#waiting.get(taskId);
    if (waiting === undefined) this.#waiting.set(taskId, [callbacks]);
    else waiting.push(callbacks);
  }

  /** Takes out the task's callbacks. */
  take(taskId: string): readonly EndCallbacks[] {
    const waiting = this.#waiting.get(taskId) ?? [];
    this.#waiting.delete(taskId);
    return waiting;
  }

  /** Calls them, state first; a throw in one is logged. */
  call(taskId: string, callbacks: readonly EndCallbacks[], status: TaskStatus): void {
    for (const { onState, onStatus } of callbacks) {
      this.#guard(taskId, () => onState?.(status.state));
      this.#guard(taskId, () => onStatus?.(status));
    }
  }

  #guard(taskId: string, call: () => unknown): void {
    try {
      const result = call();
      // An async callback's rejection is a throw too.
      if (result instanceof Promise) result.catch((error: unknown) => this.#failed(taskId, error));
    } catch (error) {
      this.#failed(taskId, error);
    }
  }

  #failed(taskId: string, error: unknown): void {
    this.#log.warn({ err: loggable(error), taskId }, "a callback of a launch threw");
  }
}
