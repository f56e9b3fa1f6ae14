/**
 * How many launches are worked on at one time. Under load they are what waits: each is a synced commit and a task more, while
 * the ends, cancels and writes of the tasks there are go by here.
 *
 * 1. At most `max` are inside; one group of more (a batch) is alone.
 * 2. Who waits is let in in the order of arrival. At most four times as many wait, and none for longer than `waitMaxMs`: more are
 *    refused, with a time to try again.
 * 3. Who leaves while it waits takes no place.
 */
import { onAbort } from "../async/signals.ts";
import type { Clock } from "../clock.ts";
import { type ControllerError, limitError } from "../controller/error.ts";
import { abortError } from "./call.ts";

const waitMaxMs = 2_000;
const queueFactor = 4;

interface Waiting {
  readonly count: number;
  begin(): void;
}

/** See above; `max` is how many launches are inside at most. */
export class LaunchGate {
  readonly #max: number;
  readonly #clock: Clock;
  readonly #queue = new Set<Waiting>();
  #inside = 0;
  #waiting = 0;

  constructor(max: number, clock: Clock) {
    this.#max = max;
    this.#clock = clock;
  }

  /**
   * Resolves when `count` launches may begin; the returned function says that they are done. Rejects with RESOURCE_EXHAUSTED (LIMIT)
   * where too many wait, and as the call of the signal ends when that is aborted.
   */
  async enter(count: number, signal: AbortSignal): Promise<() => void> {
    if (signal.aborted) throw abortError(signal);
    const leave = this.tryEnter(count);
    if (leave !== undefined) return leave;
    if (this.#queue.size > 0 && this.#waiting + count > this.#max * queueFactor) throw this.#refusal();
    return this.#waitForTurn(count, signal);
  }

  /** As `enter`; undefined where they would have to wait. */
  tryEnter(count: number): (() => void) | undefined {
    return this.#queue.size === 0 && this.#hasRoom(count) ? this.#begin(count) : undefined;
  }

  #hasRoom(count: number): boolean {
    return this.#inside === 0 || this.#inside + count <= this.#max;
  }

  #begin(count: number): () => void {
    this.#inside += count;
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      this.#inside -= count;
      this.#admit();
    };
  }

  #admit(): void {
    for (const next of this.#queue) {
      if (!this.#hasRoom(next.count)) return;
      next.begin();
    }
  }

  #waitForTurn(count: number, signal: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#queue.delete(entry);
        this.#waiting -= count;
        offTimer();
        offAbort();
      };
      const entry: Waiting = {
        count,
        begin: () => {
          leave();
          resolve(this.#begin(count));
        },
      };
      const refuse = (error: Error): void => {
        leave();
        reject(error);
        // It may have been the first, and too large for the room that there is for those behind it.
        this.#admit();
      };
      this.#queue.add(entry);
      this.#waiting += count;
      const offTimer = this.#clock.after(waitMaxMs, () => refuse(this.#refusal()));
      const offAbort = onAbort(signal, () => refuse(abortError(signal)));
    });
  }

  #refusal(): ControllerError {
    return limitError(
      "launches_at_once_max",
      this.#max,
      "too many tasks are being launched just now; try again",
      1_000,
    );
  }
}
