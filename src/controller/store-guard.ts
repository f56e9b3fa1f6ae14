/**
 * Brings a failing store back: one recovery at a time for all controllers on
 * the store, with backoff and jitter, for as long as somebody waits for it.
 *
 * States: healthy -> recovering -> healthy, and closed from either.
 *
 * 1. `healthy` is false from the first report of a failure until `reopen` resolved.
 * 2. Waiters resolve only when the store is back; they reject only when closed.
 */
import { type Clock, sleep, systemClock } from "../clock.ts";
import { type Log, silentLog } from "../log.ts";
import { type Random, systemRandom } from "../random.ts";
import type { Store } from "../store/store.ts";

/** Watches over a store for the controllers that are on it: they fail, and come back, together. */
export interface StoreGuard {
  readonly healthy: boolean;
  /** Why the store fails; undefined while it is healthy. */
  readonly failure: unknown;
  /** Reports a failure and resolves when the store is back; rejects with the failure when the guard is closed first. */
  recover(failure: unknown): Promise<void>;
  /** Calls the listener at each change of `healthy`; the returned function takes it off. */
  onChange(listener: (healthy: boolean) => void): () => void;
  /** Gives up what is under way. Does not close the store. */
  close(): void;
}

const firstDelayMs = 20;
const maxDelayMs = 2_000;

/** The store, and what the guard waits with; all but the store as in ControllerOptions. */
export interface StoreGuardOptions {
  readonly store: Store;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly log?: Log | undefined;
}

/** Makes the guard of a store. Whoever makes it closes it, after the controllers that have it. */
export function createStoreGuard(options: StoreGuardOptions): StoreGuard {
  const { store, clock = systemClock, random = systemRandom, log = silentLog } = options;
  const listeners = new Set<(healthy: boolean) => void>();
  const closing = new AbortController();
  let failure: unknown;
  let recovery: Promise<void> | undefined;

  function tell(healthy: boolean): void {
    for (const listener of [...listeners]) listener(healthy);
  }

  async function run(): Promise<void> {
    const since = clock.mono();
    log.warn({ err: failure }, "the store fails; trying to bring it back");
    tell(false);
    for (let delayMs = firstDelayMs; !closing.signal.aborted; delayMs = Math.min(delayMs * 2, maxDelayMs)) {
      try {
        await store.reopen();
        failure = undefined;
        recovery = undefined;
        log.warn({ downMs: Math.round(clock.mono() - since) }, "the store is back");
        tell(true);
        return;
      } catch (error) {
        failure = error;
      }
      await sleep(clock, delayMs * (0.5 + random.fraction()), closing.signal);
    }
    throw failure;
  }

  return {
    get healthy() {
      return recovery === undefined;
    },
    get failure() {
      return failure;
    },
    recover(reported) {
      if (recovery === undefined) {
        failure = reported;
        recovery = run();
        // Nobody may be waiting for it; who waits sees the rejection all the same.
        recovery.catch(() => {});
      }
      return recovery;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      closing.abort();
    },
  };
}
