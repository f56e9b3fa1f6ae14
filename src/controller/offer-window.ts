/**
 * How many offers may be under way to a runner, by how it took those before: one at first, twice as many with each that
 * it accepts. One that lapses sets that back to one, after a pause, which doubles with each lapse in a row.
 */
import { Countdown, type Tick } from "./remote-lease.ts";

const windowMax = 64;
const pauseMaxMs = 5 * 60_000;
/** More than may be under way: what lapsed longer ago has no late acceptance. */
const lapsedMax = 4 * windowMax;

export class OfferWindow {
  readonly #offerTimeoutMs: number;
  #size = 1;
  #pauseMs: number;
  #pause: Countdown | undefined;
  /** The fences of offers that lapsed, oldest first. */
  readonly #lapsed = new Set<bigint>();

  constructor(offerTimeoutMs: number) {
    this.#offerTimeoutMs = offerTimeoutMs;
    this.#pauseMs = offerTimeoutMs;
  }

  /** How many may be under way. */
  get size(): number {
    return this.#pause === undefined ? this.#size : 0;
  }

  accepted(): void {
    this.#size = Math.min(2 * this.#size, windowMax);
    this.#pause = undefined;
    this.#pauseMs = this.#offerTimeoutMs;
  }

  /** Several that lapse before the pause is over are one lapse: they were offered side by side. */
  lapsed(fence: bigint, nowMs: number): void {
    this.#lapsed.add(fence);
    for (const oldest of this.#lapsed) {
      if (this.#lapsed.size <= lapsedMax) break;
      this.#lapsed.delete(oldest);
    }
    if (this.#pause !== undefined) return;
    this.#size = 1;
    this.#pause = new Countdown(this.#pauseMs, nowMs);
    this.#pauseMs = Math.min(2 * this.#pauseMs, pauseMaxMs);
  }

  /** An offer was accepted that had lapsed: whatever held the runner up is over. False where it is none of those. */
  acceptedLate(fence: bigint): boolean {
    if (!this.#lapsed.delete(fence)) return false;
    this.#pause = undefined;
    this.#pauseMs = this.#offerTimeoutMs;
    return true;
  }

  /** True when the pause is over with this tick. */
  tick(tick: Tick): boolean {
    if (this.#pause?.count(tick) !== true) return false;
    this.#pause = undefined;
    return true;
  }
}
