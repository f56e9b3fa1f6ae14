/** How fast the work goes, smoothed. Times are milliseconds of a clock that never goes back. */
export interface RateEstimator {
  /** Takes the progress at a time. Less than before starts anew, since then it is another piece of work. */
  add(current: bigint, nowMs: number): void;
  /** Units a second; undefined until two values were taken. Sinks while none comes though one is due. */
  perSecond(nowMs: number): number | undefined;
}

/**
 * An exponential average over irregular intervals: an interval weighs what its
 * length is to `smoothingMs`, and the sum is divided by the weight so far, so that the first
 * interval counts in full.
 */
export function createRateEstimator(smoothingMs = 8000): RateEstimator {
  let last: { current: bigint; atMs: number } | undefined;
  let intervalMs = 0;
  let sum = 0;
  let weight = 0;
  return {
    add(current, nowMs) {
      if (last && current < last.current) [last, intervalMs, sum, weight] = [undefined, 0, 0, 0];
      if (!last) {
        last = { current, atMs: nowMs };
        return;
      }
      const elapsedMs = nowMs - last.atMs;
      // Values of one moment, and values that say nothing new, belong to the interval that the next one ends.
      if (elapsedMs <= 0 || current === last.current) return;
      const keep = Math.exp(-elapsedMs / smoothingMs);
      sum = sum * keep + (Number(current - last.current) / elapsedMs) * 1000 * (1 - keep);
      weight = weight * keep + (1 - keep);
      intervalMs = elapsedMs;
      last = { current, atMs: nowMs };
    },
    perSecond(nowMs) {
      if (!last || weight === 0) return undefined;
      const overdueMs = nowMs - last.atMs - 2 * intervalMs;
      const rate = sum / weight;
      return overdueMs > 0 ? rate * Math.exp(-overdueMs / smoothingMs) : rate;
    },
  };
}

/** How long the rest takes at this rate, in ms; undefined where that cannot be said. */
export function timeLeftMs(
  progress: { current: bigint; total: bigint },
  perSecond: number | undefined,
): number | undefined {
  if (progress.total === 0n || perSecond === undefined || perSecond <= 0) return undefined;
  const left = progress.total - progress.current;
  const ms = left > 0n ? (Number(left) / perSecond) * 1000 : 0;
  // More than a year is no estimate but a stall.
  return ms < 365 * 86_400_000 ? ms : undefined;
}
