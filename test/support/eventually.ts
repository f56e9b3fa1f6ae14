import { setTimeout as sleep } from "node:timers/promises";

/** Resolves when `check` no longer throws; throws what it threw last when that takes longer than `maxMs`. */
export async function eventually(check: () => void | Promise<void>, maxMs = 5_000): Promise<void> {
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
