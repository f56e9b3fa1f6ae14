/**
 * One connection of HTTP/2: what it may do, and when it is over.
 *
 * It owns the session's timers, and the session: whatever ends it, ends here.
 *
 * States: new -> idle <-> busy -> closing -> closed.
 *
 * 1. A session whose first request does not come in time is closed, and so is one
 *    that has no call for `idleMaxMs`.
 * 2. Its peer is asked every `pingIntervalMs` whether it is there. One that does not answer
 *    within `pingTimeoutMs` is gone: the session is destroyed, and its calls end. Time in which this
 *    process was held up itself does not count: the question may not have left, or the answer lie unread.
 * 3. It may open so many calls a second. More wait for their turn, up to a second; what
 *    would wait longer is refused, and a peer that goes on far beyond that is cut off.
 * 4. Once `closed`, it has no timer left.
 */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { ServerLimits } from "./limits.ts";

export interface SessionGuard {
  /** Counts one more call: it may begin in so many ms; undefined: it is refused. */
  admitCall(): number | undefined;
  /** Takes no new calls (GOAWAY); ends when those under way have. */
  close(): void;
  /** Ends now. */
  destroy(): void;
}

/** So long a call waits for its turn. */
const turnMaxMs = 1_000;
/** Who is so far ahead of the rate, in spite of refusals, attacks. */
const abuseMs = 10_000;
/** A timer that is so late says that this process was held up. */
const heldUpMs = 100;

export function guardSession(
  session: ServerHttp2Session,
  options: { limits: ServerLimits; clock: Clock; log: Log },
): SessionGuard {
  const { limits, clock, log } = options;
  const rate = createRateLimit(limits.streamOpensPerSecondMax, clock);
  let openStreams = 0;
  let cancelIdle = clock.after(limits.firstRequestMaxMs, closeSession);
  let cancelPing = clock.after(limits.pingIntervalMs, ping);

  function closeSession(): void {
    if (!session.destroyed && !session.closed) session.close();
  }

  function destroySession(code: number = constants.NGHTTP2_NO_ERROR): void {
    if (!session.destroyed) session.destroy(undefined, code);
  }

  function ping(): void {
    if (session.destroyed) return;
    awaitAnswer();
    session.ping((error) => {
      cancelPing();
      if (error === null && !session.destroyed) cancelPing = clock.after(limits.pingIntervalMs, ping);
    });
  }

  function awaitAnswer(): void {
    const dueMs = clock.mono() + limits.pingTimeoutMs;
    cancelPing = clock.after(limits.pingTimeoutMs, () => {
      if (clock.mono() - dueMs > heldUpMs) return awaitAnswer();
      log.info({ openStreams }, "a peer does not answer, and is taken for gone");
      destroySession();
    });
  }

  session.on("stream", (stream: ServerHttp2Stream) => {
    // Without a listener, the error of a stream ends the process.
    stream.on("error", () => {});
    cancelIdle();
    openStreams += 1;
    stream.once("close", () => {
      openStreams -= 1;
      if (openStreams === 0 && !session.destroyed) cancelIdle = clock.after(limits.idleMaxMs, closeSession);
    });
  });
  session.on("error", (error: unknown) => log.debug({ err: error }, "a connection broke"));
  session.once("close", () => {
    cancelIdle();
    cancelPing();
  });

  return {
    admitCall() {
      const overdueMs = rate();
      if (overdueMs <= turnMaxMs) return overdueMs;
      if (overdueMs > abuseMs) {
        log.warn({ limit: limits.streamOpensPerSecondMax }, "a client opens calls far too fast, and was cut off");
        destroySession(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      }
      return undefined;
    },
    close: closeSession,
    destroy: () => destroySession(),
  };
}

/** A bucket of `perSecond` that fills steadily. Takes one, and returns after how many ms it will have been there. */
function createRateLimit(perSecond: number, clock: Clock): () => number {
  let tokens = perSecond;
  let filledAt = clock.mono();
  return () => {
    const now = clock.mono();
    tokens = Math.min(perSecond, tokens + ((now - filledAt) / 1_000) * perSecond) - 1;
    filledAt = now;
    return Math.max(0, (-tokens / perSecond) * 1_000);
  };
}
