/**
 * The keepalives of one stream: says when to send one, and when the server has not answered for too long.
 *
 * Silence is counted by ticks, of which each counts at most twice its length. So a process that was paused reads what has
 * come meanwhile before it takes the server for gone.
 */
import type { Clock } from "../clock.ts";

export interface PulseOptions {
  readonly clock: Clock;
  /** How often to send one, in ms. */
  readonly keepaliveMs: number;
  readonly send: () => void;
  /** No answer came for two keepalives. Called once. */
  readonly silent: () => void;
}

const ticksPerKeepalive = 8;

export class Pulse {
  readonly #options: PulseOptions;
  readonly #tickMs: number;
  #tickedMono: number;
  #sentMono: number;
  #silentMs = 0;
  #cancel: () => void = () => {};

  /** Begins at once; the first keepalive goes out now. */
  constructor(options: PulseOptions) {
    this.#options = options;
    this.#tickMs = options.keepaliveMs / ticksPerKeepalive;
    this.#tickedMono = options.clock.mono();
    this.#sentMono = this.#tickedMono;
    options.send();
    this.#arrange();
  }

  /** The server has answered one. */
  answered(): void {
    this.#silentMs = 0;
  }

  stop(): void {
    this.#cancel();
  }

  #arrange(): void {
    this.#cancel = this.#options.clock.after(this.#tickMs, () => this.#tick());
  }

  #tick(): void {
    const { clock, keepaliveMs, send, silent } = this.#options;
    const now = clock.mono();
    this.#silentMs += Math.min(now - this.#tickedMono, 2 * this.#tickMs);
    this.#tickedMono = now;
    if (this.#silentMs >= 2 * keepaliveMs) return silent();
    if (now - this.#sentMono >= keepaliveMs - this.#tickMs / 2) {
      this.#sentMono = now;
      send();
    }
    this.#arrange();
  }
}
