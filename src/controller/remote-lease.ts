/**
 * Time as a server can hold it against others: what it noticed itself. It is counted by ticks of the monotonic clock, a
 * sixteenth of the lease apart, or of a minute where the lease is longer. Leases are counted so, and so are the times to accept an offer and to be told of an end.
 *
 * 1. One tick counts for at most two intervals, however late it is: time in which this process was held up is nobody's fault.
 * 2. A time that has run out is over only at the tick after, if it was not renewed in between: what lies unread in the sockets is
 *    read between two ticks, so nobody is judged by what was not looked at.
 * 3. A tick that finds the time standing still counts nothing, and judges nobody.
 * 4. The wall clock is not looked at.
 */
import type { Clock } from "../clock.ts";

/** How many ticks a lease has that is not longer than a minute. */
export const ticksPerLease = 16;
const keepaliveMaxMs = 20_000;

/**
 * How often each side of a stream says something, how long an offer holds, and how often an abort is told. A third of the lease; but a
 * proxy gives up a stream that was silent for a minute, and what is lost is not missed for as long as a lease of an hour.
 */
export function keepaliveMsOf(leaseMs: number): number {
  return Math.min(leaseMs / 3, keepaliveMaxMs);
}

/** One tick. */
export interface Tick {
  /** When it is, on the monotonic clock. */
  readonly nowMs: number;
  /** When the one before was. */
  readonly lastMs: number;
  /** How much it counts at most; 0 while time stands still for all. */
  readonly maxMs: number;
}

/** A time that runs out. */
export class Countdown {
  readonly #fullMs: number;
  #leftMs: number;
  #renewedMs: number;
  /** It had run out at the last tick: the next is its end. */
  #hasRunOut = false;

  /** `nowMs`, here and below, is the monotonic clock's. */
  constructor(fullMs: number, nowMs: number) {
    this.#fullMs = fullMs;
    this.#leftMs = fullMs;
    this.#renewedMs = nowMs;
  }

  /** What was left at the last tick; not above 0 when it has run out. */
  get leftMs(): number {
    return this.#leftMs;
  }

  /** It has its full time again. */
  renew(nowMs: number): void {
    this.#leftMs = this.#fullMs;
    this.#renewedMs = nowMs;
    this.#hasRunOut = false;
  }

  /** Somebody could not be heard up to now: the next tick is not the end. */
  spare(): void {
    this.#hasRunOut = false;
  }

  /** Counts a tick; true when the time is over. */
  count({ nowMs, lastMs, maxMs }: Tick): boolean {
    if (maxMs <= 0) this.spare();
    else if (this.#hasRunOut) return true;
    else {
      this.#leftMs -= Math.min(nowMs - Math.max(lastMs, this.#renewedMs), maxMs);
      this.#hasRunOut = this.#leftMs <= 0;
    }
    return false;
  }
}

/** Ticks while somebody's time is to be counted. */
export class Ticker {
  readonly intervalMs: number;
  readonly #clock: Clock;
  readonly #isServing: () => boolean;
  readonly #onTick: (tick: Tick) => void;
  #lastMs = 0;
  #stop: (() => void) | undefined;

  /** While not `isServing` time stands still for all. */
  constructor(options: {
    readonly leaseMs: number;
    readonly clock: Clock;
    readonly isServing: () => boolean;
    readonly onTick: (tick: Tick) => void;
  }) {
    this.intervalMs = (3 * keepaliveMsOf(options.leaseMs)) / ticksPerLease;
    this.#clock = options.clock;
    this.#isServing = options.isServing;
    this.#onTick = options.onTick;
  }

  get isRunning(): boolean {
    return this.#stop !== undefined;
  }

  /** Begins to tick, if it does not. */
  start(): void {
    if (this.#stop !== undefined) return;
    this.#lastMs = this.#clock.mono();
    this.#arrange();
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  #arrange(): void {
    this.#stop = this.#clock.after(this.intervalMs, () => this.#tick());
  }

  #tick(): void {
    const nowMs = this.#clock.mono();
    const tick = { nowMs, lastMs: this.#lastMs, maxMs: this.#isServing() ? 2 * this.intervalMs : 0 };
    this.#lastMs = nowMs;
    this.#arrange();
    this.#onTick(tick);
  }
}
