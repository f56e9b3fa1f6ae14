import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";

const quietMs = 10_000;

/** Warns of what a client can bring about as often as it likes: once in 10 s at most, with the number of those left out since. */
export function createSparseWarning(clock: Clock, log: Log, message: string): (fields: object) => void {
  let quietUntilMs = Number.NEGATIVE_INFINITY;
  let leftOut = 0;
  return (fields) => {
    if (clock.mono() < quietUntilMs) {
      leftOut += 1;
      return;
    }
    log.warn({ ...fields, ...(leftOut > 0 ? { leftOut } : {}) }, message);
    quietUntilMs = clock.mono() + quietMs;
    leftOut = 0;
  };
}
