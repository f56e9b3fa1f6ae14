/** What a measurement does over time. */

export interface Point {
  readonly atMs: number;
  readonly value: number;
}

const hourMs = 3_600_000;
const pointsMax = 400;

/** By how much the values rise in an hour: the median of the slopes between all pairs (Theil and Sen), which single high values do not move. */
export function slopePerHour(points: readonly Point[]): number {
  // Of many points some hundred say as much, and their pairs are few.
  const step = Math.ceil(points.length / pointsMax);
  const some = points.filter((_, i) => i % step === 0);
  const slopes = some.flatMap((from, i) =>
    some.slice(i + 1).map((to) => ((to.value - from.value) / (to.atMs - from.atMs)) * hourMs),
  );
  return median(slopes);
}

/**
 * The slope that counts as none, in MiB an hour: 1 where it was measured for 1.5 hours or more. What is measured in a shorter time strays from the truth by
 * more, as that time to the power of -1.5 (the error of a fit through as many points a minute), and so does what is let pass.
 */
export function slopeMaxMiB(hours: number): number {
  return Math.max(1, (1.5 / hours) ** 1.5);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
