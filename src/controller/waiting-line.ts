/**
 * The tasks that wait for a runner, oldest first. The line is in the store (index
 * entries under /waiting); in memory is only a window of its head, so that a million tasks may wait.
 *
 * 1. The window is a part of the line without gaps, from the last one taken on; `#complete`
 *    says that it reaches to the line's end.
 * 2. What is pushed while the window does not reach the end is found in the store later, or if its place is before the end of
 *    the page that is being read, put into the window: that page may have been read before it was stored.
 * 3. Nobody is taken twice.
 */
import { listPrefix, parseWaitingKey, waitingKey } from "../store/keys.ts";
import { untilDone } from "./commit.ts";
import type { Core } from "./core.ts";

export interface WaitingTask {
  readonly queueNumber: bigint;
  readonly taskId: string;
}

export class WaitingLine {
  readonly #core: Core;
  readonly #windowMax: number;
  #window: WaitingTask[] = [];
  #complete = false;
  /** What was pushed since the page that is being read was asked for. */
  #arrived: WaitingTask[] | undefined;
  #lastKey: string | undefined;
  #lastNumber = -1n;

  constructor(core: Core, windowMax = 1_024) {
    this.#core = core;
    this.#windowMax = windowMax;
  }

  /** Nobody waits, as far as is known; false while that is not known. */
  get isEmpty(): boolean {
    return this.#complete && this.#window.length === 0;
  }

  /** A task that has just been stored as waiting. */
  push(task: WaitingTask): void {
    if (task.queueNumber <= this.#lastNumber) this.#insert(task);
    else if (!this.#complete) this.#arrived?.push(task);
    else if (this.#window.length < this.#windowMax) this.#append(task);
    else this.#complete = false;
  }

  /** Takes the oldest; undefined when nobody waits. A promise where the store has to be asked, which rejects with UNAVAILABLE when the controller closes. */
  take(): WaitingTask | undefined | Promise<WaitingTask | undefined> {
    const oldest = this.#window.shift();
    return oldest !== undefined || this.#complete ? oldest : this.#loadWindow().then(() => this.take());
  }

  async #loadWindow(): Promise<void> {
    const arrived: WaitingTask[] = [];
    this.#arrived = arrived;
    try {
      const page = await untilDone(this.#core, () =>
        this.#core.store.scan({
          prefix: listPrefix("waiting", this.#core.name),
          after: this.#lastKey,
          limit: this.#windowMax,
        }),
      );
      for (const entry of page) this.#append(parseWaitingKey(entry.key));
      for (const task of arrived) if (task.queueNumber <= this.#lastNumber && !this.#has(task)) this.#insert(task);
      // What was pushed meanwhile may not be in the page: look again before the line counts as complete.
      this.#complete = page.length < this.#windowMax && arrived.length === 0;
    } finally {
      this.#arrived = undefined;
    }
  }

  #append(task: WaitingTask): void {
    this.#window.push(task);
    this.#lastNumber = task.queueNumber;
    this.#lastKey = waitingKey(this.#core.name, task.queueNumber, task.taskId);
  }

  #has({ taskId, queueNumber }: WaitingTask): boolean {
    return this.#window.some((each) => each.queueNumber === queueNumber && each.taskId === taskId);
  }

  #insert(task: WaitingTask): void {
    const at = this.#window.findIndex((each) => each.queueNumber > task.queueNumber);
    this.#window.splice(at < 0 ? this.#window.length : at, 0, task);
  }
}
