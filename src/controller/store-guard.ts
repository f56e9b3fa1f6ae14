/**
 * Brings a failing store back: one recovery at a time for all controllers on
 * the store, with backoff and jitter, for as long as somebody waits for it.
 *
 * States: healthy -> recovering -> healthy, and closed from either.
 *
 * 1. `healthy` is false from the first report of a failure until `reopen` resolved.
 * 2. Waiters resolve only when the store is back; they reject only when closed.
 * 3. Where the store fails again soon after it was back, waiters are held up before they try again, ever longer: one that can be
 *    opened and still not be used, or that has a place that cannot be read, must not be tried in a loop. Others are not held up with them.
 */
import { type Clock, sleep, systemClock } from "../clock.ts";
import { Faults } from "../faults.ts";
import { type Log, silentLog } from "../log.ts";
import { type Random, systemRandom } from "../random.ts";
import type { Store } from "../store/store.ts";

/** Watches over a store for the controllers that are on it: they fail, and come back, together. */
export interface StoreGuard {
  readonly healthy: boolean;
  /** Why the store fails; undefined while it is healthy. */
  readonly failure: unknown;
  /** Reports a failure and resolves when the store is back and may be tried again; rejects with the failure when the guard is closed first. */
  recover(failure: unknown): Promise<void>;
  /** Calls the listener at each change of `healthy`; the returned function takes it off. */
  onChange(listener: (healthy: boolean) => void): () => void;
  /** Gives up what is under way. Does not close the store. */
  close(): void;
}

const firstDelayMs = 20;
const maxDelayMs = 2_000;
/** Who was well for so long has not failed again, but anew. */
const calmMs = 10_000;

/** The store, and what the guard waits with; all but the store as in ControllerOptions. */
export interface StoreGuardOptions {
  readonly store: Store;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly log?: Log | undefined;
  readonly faults?: Faults | undefined;
}

/** Makes the guard of a store. Whoever makes it closes it, after the controllers that have it. */
export function createStoreGuard(options: StoreGuardOptions): StoreGuard {
  const { store, clock = systemClock, random = systemRandom, log = silentLog } = options;
  const { faults = new Faults({ clock, log }) } = options;
  const listeners = new Set<(healthy: boolean) => void>();
  const closing = new AbortController();
  let failure: unknown;
  let reopening: Promise<void> | undefined;
  let backMs = Number.NEGATIVE_INFINITY;
  const delay = (ms: number): Promise<void> => sleep(clock, ms * (0.5 + random.fraction()), closing.signal);
  const pauses = new Pauses(delay);

  function tell(healthy: boolean): void {
    for (const listener of [...listeners]) listener(healthy);
  }

  async function reopen(): Promise<void> {
    const since = clock.mono();
    const isAgain = since - backMs < calmMs;
    // What fails again and again is said now and then.
    const isSaid = !isAgain || pauses.current === undefined;
    faults.note("storage_errors", { err: failure }, "the store fails; trying to bring it back", isSaid);
    tell(false);
    for (let delayMs = firstDelayMs; !closing.signal.aborted; delayMs = longer(delayMs)) {
      try {
        await store.reopen();
        failure = undefined;
        reopening = undefined;
        backMs = clock.mono();
        pauses.next(isAgain);
        faults.note("store_reopens", { downMs: Math.round(backMs - since) }, "the store is back", isSaid);
        tell(true);
        return;
      } catch (error) {
        failure = error;
        faults.count("storage_errors");
      }
      await delay(delayMs);
    }
    throw failure;
  }

  return {
    get healthy() {
      return reopening === undefined;
    },
    get failure() {
      return failure;
    },
    recover(reported) {
      if (reopening === undefined) {
        failure = reported;
        reopening = reopen();
      } else faults.count("storage_errors");
      const done = reopening.then(() => pauses.current);
      // Nobody may be waiting for it; who waits sees the rejection all the same.
      done.catch(() => {});
      return done;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => closing.abort(),
  };
}

/** What those are held up by who try again: the first not at all, and each ever longer. */
class Pauses {
  readonly #delay: (ms: number) => Promise<void>;
  #current: Promise<void> | undefined;
  #nextMs = 0;

  constructor(delay: (ms: number) => Promise<void>) {
    this.#delay = delay;
  }

  /** The one that is under way. */
  get current(): Promise<void> | undefined {
    return this.#current;
  }

  /** Begins the next, where none is under way; `isAgain`: it is not the first. */
  next(isAgain: boolean): void {
    if (this.#current !== undefined) return;
    const ms = isAgain ? this.#nextMs : 0;
    this.#nextMs = longer(ms);
    if (ms === 0) return;
    this.#current = this.#delay(ms).finally(() => {
      this.#current = undefined;
    });
  }
}

function longer(ms: number): number {
  return Math.min(Math.max(ms * 2, firstDelayMs), maxDelayMs);
}
