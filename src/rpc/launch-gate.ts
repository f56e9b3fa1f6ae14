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
import { abortError } from "./call.ts";
import { limitError } from "./errors.ts";

export interface LaunchGate {
  /**
   * Resolves when `count` launches may begin; the returned function says that they are done. Rejects with RESOURCE_EXHAUSTED (LIMIT)
   * where too many wait, and as the call of the signal ends when that is aborted.
   */
  enter(count: number, signal: AbortSignal): Promise<() => void>;
}

const waitMaxMs = 2_000;
const queueFactor = 4;

interface Waiting {
  readonly count: number;
  begin(): void;
}

export function createLaunchGate(max: number, clock: Clock): LaunchGate {
  const queue = new Set<Waiting>();
  let inside = 0;
  let waiting = 0;

  function hasRoom(count: number): boolean {
    return inside === 0 || inside + count <= max;
  }

  function begin(count: number): () => void {
    inside += count;
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      inside -= count;
      admit();
    };
  }

  function admit(): void {
    for (const next of queue) {
      if (!hasRoom(next.count)) return;
      next.begin();
    }
  }

  function refusal() {
    return limitError("launches_at_once_max", max, "too many tasks are being launched just now; try again", 1_000);
  }

  function waitForTurn(count: number, signal: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        queue.delete(entry);
        waiting -= count;
        offTimer();
        offAbort();
      };
      const entry: Waiting = {
        count,
        begin() {
          leave();
          resolve(begin(count));
        },
      };
      const refuse = (error: Error): void => {
        leave();
        reject(error);
        // It may have been the first, and too large for the room that there is for those behind it.
        admit();
      };
      queue.add(entry);
      waiting += count;
      const offTimer = clock.after(waitMaxMs, () => refuse(refusal()));
      const offAbort = onAbort(signal, () => refuse(abortError(signal)));
    });
  }

  return {
    async enter(count, signal) {
      if (signal.aborted) throw abortError(signal);
      if (queue.size === 0 && hasRoom(count)) return begin(count);
      if (queue.size > 0 && waiting + count > max * queueFactor) throw refusal();
      return waitForTurn(count, signal);
    },
  };
}
