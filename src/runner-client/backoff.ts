import type { Random } from "../random.ts";

const minMs = 200;
const maxMs = 2_000;

/** How long to wait before the next try to connect: 200 ms, doubled up to 2 s with each try, half as long to half as long again. */
export class Backoff {
  readonly #random: Random;
  #baseMs = minMs;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The next wait, in ms. Many runners that were cut off together do not come back together. */
  nextMs(): number {
    const delayMs = this.#baseMs * (0.5 + this.#random.fraction());
    this.#baseMs = Math.min(2 * this.#baseMs, maxMs);
    return delayMs;
  }

  /** A connection that lasted `lastedMs` broke: where it was a good one, the tries begin anew. */
  connectionBroke(lastedMs: number): void {
    if (lastedMs >= maxMs) this.#baseMs = minMs;
  }
}
