/**
 * One connection of HTTP/2: what it may do, and when it is over.
 *
 * It owns the session's timers, the session and its socket: whatever ends it, ends here.
 *
 * States: new -> idle <-> busy -> closing -> over -> closed.
 *
 * 1. A session whose first request does not come in time is closed, and so is one
 *    that has no call for `idleMaxMs`.
 * 2. Its peer is asked every `pingIntervalMs` whether it is there. One that does not answer
 *    within `pingTimeoutMs` is gone: the session is destroyed, and its calls end. Time in which this
 *    process was held up itself does not count: the question may not have left, or the answer lie unread.
 * 3. It may open so many calls a second. More wait for their turn, up to a second; what
 *    would wait longer is refused, and a peer that goes on far beyond that is cut off.
 * 4. When the session is over, the peer gets `lingerMs` to close its side; then the socket is destroyed.
 *    Node would wait for it for ever. A peer that broke the rules is not reported, and not read from any
 *    more: for the rules above it is one that does not ask or answer.
 * 5. Once `closed`, it has no timer left.
 */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { createRateLimit } from "../async/rate-limit.ts";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import type { ServerLimits } from "./limits.ts";

/** So long a call waits for its turn. */
const turnMaxMs = 1_000;
/** Who is so far ahead of the rate, in spite of refusals, attacks. */
const abuseMs = 10_000;
/** A timer that is so late says that this process was held up. */
const heldUpMs = 100;
const lingerMs = 1_000;

export interface SessionGuardOptions {
  readonly limits: ServerLimits;
  readonly clock: Clock;
  readonly log: Log;
  readonly faults: Faults;
}

export class SessionGuard {
  readonly #session: ServerHttp2Session;
  readonly #socket: Socket;
  readonly #options: SessionGuardOptions;
  readonly #rate: () => number;
  #openStreams = 0;
  #cancelIdle: () => void;
  #cancelPing: () => void;
  #cancelLinger = (): void => {};

  /** Guards the session that speaks on the socket, from now on. */
  constructor(session: ServerHttp2Session, socket: Socket, options: SessionGuardOptions) {
    const { limits, clock, log } = options;
    this.#session = session;
    this.#socket = socket;
    this.#options = options;
    this.#rate = createRateLimit(limits.streamOpensPerSecondMax, clock);
    this.#cancelIdle = clock.after(limits.firstRequestMaxMs, () => this.close());
    this.#cancelPing = clock.after(limits.pingIntervalMs, () => this.#ping());
    session.on("stream", (stream: ServerHttp2Stream) => this.#onStream(stream));
    session.on("error", (error: unknown) => log.debug({ err: error }, "a connection broke"));
    socket.once("close", () => {
      this.#cancelIdle();
      this.#cancelPing();
      this.#cancelLinger();
    });
  }

  /** Counts one more call: it may begin in so many ms; undefined: it is refused. */
  admitCall(): number | undefined {
    const overdueMs = this.#rate();
    if (overdueMs <= turnMaxMs) return overdueMs;
    if (overdueMs > abuseMs) {
      const { limits, faults } = this.#options;
      const fields = { limit: limits.streamOpensPerSecondMax };
      faults.note("floods_cut_off", fields, "a client opens calls far too fast, and was cut off");
      this.destroy(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    }
    return undefined;
  }

  /** Takes no new calls (GOAWAY); ends when those under way have. */
  close(): void {
    if (!this.#session.destroyed && !this.#session.closed) this.#session.close();
    if (this.#openStreams === 0) this.#linger();
  }

  /** Ends now. */
  destroy(code: number = constants.NGHTTP2_NO_ERROR): void {
    if (!this.#session.destroyed) this.#session.destroy(undefined, code);
    this.#linger();
  }

  #onStream(stream: ServerHttp2Stream): void {
    // Without a listener, the error of a stream ends the process.
    stream.on("error", () => {});
    this.#cancelIdle();
    this.#openStreams += 1;
    stream.once("close", () => {
      this.#openStreams -= 1;
      if (this.#openStreams > 0) return;
      const { limits, clock } = this.#options;
      if (this.#session.destroyed || this.#session.closed) this.#linger();
      else this.#cancelIdle = clock.after(limits.idleMaxMs, () => this.close());
    });
  }

  #linger(): void {
    this.#cancelLinger();
    if (this.#socket.destroyed) return;
    this.#cancelLinger = this.#options.clock.after(lingerMs, () => this.#socket.destroy());
  }

  #ping(): void {
    const { limits, clock } = this.#options;
    if (this.#session.destroyed) return;
    this.#awaitAnswer();
    this.#session.ping((error) => {
      this.#cancelPing();
      if (error !== null || this.#session.destroyed) return;
      this.#cancelPing = clock.after(limits.pingIntervalMs, () => this.#ping());
    });
  }

  #awaitAnswer(): void {
    const { limits, clock, faults } = this.#options;
    const dueMs = clock.mono() + limits.pingTimeoutMs;
    this.#cancelPing = clock.after(limits.pingTimeoutMs, () => {
      if (clock.mono() - dueMs > heldUpMs) return this.#awaitAnswer();
      faults.note("peers_lost", { openStreams: this.#openStreams }, "a peer does not answer, and is taken for gone");
      this.destroy();
    });
  }
}
