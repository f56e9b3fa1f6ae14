/** Runs `step` for every item, in their order, at most `limit` at a time. Rejects with the first that a step rejects with; no more are begun then. */
export async function forEachConcurrently<T>(
  items: Iterable<T>,
  limit: number,
  step: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let isOver = false;
  async function work(): Promise<void> {
    try {
      for (let next = iterator.next(); !isOver && !next.done; next = iterator.next()) await step(next.value);
    } finally {
      isOver = true;
    }
  }
  await Promise.all(Array.from({ length: limit }, work));
}
