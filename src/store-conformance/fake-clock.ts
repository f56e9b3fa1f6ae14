import type { Clock } from "../clock.ts";

/** A clock that stands still until it is told to go on. */
export interface FakeClock extends Clock {
  /**
   * Lets `ms` pass: fires the timers that are due, in order of time and then of
   * their setting, those included that they set themselves; lets all that
   * follows from one happen before the next.
   */
  advance(ms: number): Promise<void>;
  /** Sets the wall clock forward, or back, as an administrator would; no timer minds. */
  jumpWall(ms: number): void;
  /** How many timers are set. */
  pending(): number;
}

/** Makes a clock at `wallMs`, in November 2023 by default. */
export function createFakeClock(options: { wallMs?: number | undefined } = {}): FakeClock {
  return new ManualClock(options.wallMs ?? 1_700_000_000_000);
}

interface Timer {
  readonly dueMs: number;
  readonly fire: () => void;
}

class ManualClock implements FakeClock {
  readonly #timers = new Set<Timer>();
  #monoMs = 0;
  #wallOffsetMs: number;

  constructor(wallMs: number) {
    this.#wallOffsetMs = wallMs;
  }

  mono(): number {
    return this.#monoMs;
  }

  wall(): number {
    return this.#wallOffsetMs + this.#monoMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { dueMs: this.#monoMs + Math.max(0, delayMs), fire };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.#monoMs + ms;
    await drainMicrotasks();
    for (let timer = this.#nextTimer(untilMs); timer !== undefined; timer = this.#nextTimer(untilMs)) {
      this.#timers.delete(timer);
      this.#monoMs = Math.max(this.#monoMs, timer.dueMs);
      timer.fire();
      await drainMicrotasks();
    }
    this.#monoMs = Math.max(this.#monoMs, untilMs);
  }

  jumpWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  pending(): number {
    return this.#timers.size;
  }

  #nextTimer(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs <= untilMs && (next === undefined || timer.dueMs < next.dueMs)) next = timer;
    }
    return next;
  }
}

/** All microtasks are done when the next turn of the event loop begins. */
function drainMicrotasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
