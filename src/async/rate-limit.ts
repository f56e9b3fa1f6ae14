import type { Clock } from "../clock.ts";

/** A bucket of `perSecond` that fills steadily. Takes one, and returns after how many ms it will have been there; Infinity is without bounds. */
export function createRateLimit(perSecond: number, clock: Clock): () => number {
  if (perSecond === Infinity) return () => 0;
  let tokens = perSecond;
  let filledAt = clock.mono();
  return () => {
    const now = clock.mono();
    tokens = Math.min(perSecond, tokens + ((now - filledAt) / 1_000) * perSecond) - 1;
    filledAt = now;
    return Math.max(0, (-tokens / perSecond) * 1_000);
  };
}
