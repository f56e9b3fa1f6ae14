import type { Clock } from "../../src/clock.ts";

export const controllerName = "faults";

/** One process: its clock stops for good when it dies, and with it all that waits for it. */
export class Incarnation implements Clock {
  readonly running = new Set<string>();
  readonly died: Promise<undefined>;
  /** Nobody needs to open a controller in its place. */
  isExpectedToEnd = false;
  #die: (value: undefined) => void = () => {};
  readonly #clock: Clock;
  readonly #timers = new Set<() => void>();
  #isOver = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.died = new Promise((resolve) => {
      this.#die = resolve;
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** How many timers are set. */
  get pending(): number {
    return this.#timers.size;
  }

  mono(): number {
    return this.#clock.mono();
  }

  wall(): number {
    return this.#clock.wall();
  }

  after(delayMs: number, fire: () => void): () => void {
    if (this.#isOver) return () => {};
    const cancel = this.#clock.after(delayMs, () => {
      this.#timers.delete(stop);
      fire();
    });
    const stop = (): void => {
      this.#timers.delete(stop);
      cancel();
    };
    this.#timers.add(stop);
    return stop;
  }

  end(): void {
    this.#isOver = true;
    for (const stop of [...this.#timers]) stop();
    this.#die(undefined);
  }
}
