/** How many launches a call has: many, so that they are more work for the server than for who sends them. */
export const batchSize = 50;

/** What `share` of the values are not above: 0.99 is p99. NaN where there are none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
