import type { Clock } from "../clock.ts";

/** A bucket of `perSecond` that fills steadily. Takes one, and returns after how many ms it will have been there. */
export function createRateLimit(perSecond: number, clock: Clock): () => number {
  let tokens = perSecond;
  let filledAt = clock.mono();
  return () => {
    const now = clock.mono();
    tokens = Math.min(perSecond, tokens + ((now - filledAt) / 1_000) * perSecond) - 1;
    filledAt = now;
    return Math.max(0, (-tokens / perSecond) * 1_000);
  };
}
