/**
 * How many offers may be under way to a runner, by how it took those before: one at first, twice as many with each that
 * it accepts. One that lapses sets that back to one, after a pause, which doubles with each lapse in a row.
 *
 * A task that is given back sets it back to one, too: it is offered again at once, and may come to the same runner. The second in a
 * row, and each after it, costs the pause of a lapse besides. As each was accepted before, acceptances count for nothing then,
 * until a run has come to its end.
 */
import { type PhaseEnd, RunPhase } from "#gen/stint/v1/runner_pb.js";
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
  /** How many tasks were given back since a run came to its end. */
  #givenBack = 0;
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
    if (this.#givesBack) return;
    this.#size = Math.min(2 * this.#size, windowMax);
    this.#goOn();
  }

  /** A phase ends so; `isAborted`: its runner was told to stop, and does not give the task back of its own. */
  phaseEnds({ phase, outcome }: PhaseEnd, { isAborted, nowMs }: { isAborted: boolean; nowMs: number }): void {
    if (outcome.case === "released") {
      if (isAborted) return;
      this.#givenBack += 1;
      this.#size = 1;
      if (this.#givesBack) this.#rest(nowMs);
    } else if (this.#givenBack > 0 && (phase === RunPhase.RUNNING || outcome.case !== "done")) {
      this.#givenBack = 0;
      this.#goOn();
    }
  }

  /** Several that lapse, or are given back, before the pause is over count as one: they were offered side by side. */
  lapsed(fence: bigint, nowMs: number): void {
    this.#lapsed.add(fence);
    for (const oldest of this.#lapsed) {
      if (this.#lapsed.size <= lapsedMax) break;
      this.#lapsed.delete(oldest);
    }
    this.#rest(nowMs);
  }

  /** An offer was accepted that had lapsed: whatever held the runner up is over. False where it is none of those. */
  acceptedLate(fence: bigint): boolean {
    if (!this.#lapsed.delete(fence) || this.#givesBack) return false;
    this.#goOn();
    return true;
  }

  /** True when the pause is over with this tick. */
  tick(tick: Tick): boolean {
    if (this.#pause?.count(tick) !== true) return false;
    this.#pause = undefined;
    return true;
  }

  get #givesBack(): boolean {
    return this.#givenBack > 1;
  }

  #goOn(): void {
    this.#pause = undefined;
    this.#pauseMs = this.#offerTimeoutMs;
  }

  #rest(nowMs: number): void {
    if (this.#pause !== undefined) return;
    this.#size = 1;
    this.#pause = new Countdown(this.#pauseMs, nowMs);
    this.#pauseMs = Math.min(2 * this.#pauseMs, pauseMaxMs);
  }
}
