import { setTimeout as sleep } from "node:timers/promises";

/** Resolves when `check` no longer throws, to what it returns; throws what it threw last when that takes longer than `maxMs`. */
export async function eventually<T>(check: () => T | Promise<T>, maxMs = 5_000): Promise<T> {
  const deadline = performance.now() + maxMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(5);
    }
  }
}
