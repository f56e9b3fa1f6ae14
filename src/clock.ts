/** Time as a port: everything that waits or asks what time it is takes a Clock. */
export interface Clock {
  /** Milliseconds on a clock that never jumps or goes back. */
  mono(): number;
  /** Milliseconds since 1970, as people see them; may jump. */
  wall(): number;
  /** Calls `fire` once, `delayMs` from now, unless the returned function is called before; for Infinity never. */
  after(delayMs: number, fire: () => void): () => void;
}

/** The machine's clock. */
export const systemClock: Clock = {
  mono: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, fire) {
    if (delayMs > timeoutMaxMs) return afterLong(delayMs, fire);
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};

function afterLong(delayMs: number, fire: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = (leftMs: number): void => {
    timer =
      leftMs > timeoutMaxMs ? setTimeout(() => wait(leftMs - timeoutMaxMs), timeoutMaxMs) : setTimeout(fire, leftMs);
  };
  wait(delayMs);
  return () => clearTimeout(timer);
}

/** What setTimeout takes; it fires at once for more. */
const timeoutMaxMs = 2 ** 31 - 1;

/** Resolves after `delayMs`, or as soon as the signal is aborted. Never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      cancel();
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(delayMs, done);
    signal?.addEventListener("abort", done, { once: true });
  });
}
