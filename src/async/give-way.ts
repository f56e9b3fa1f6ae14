import { type Clock, sleep } from "../clock.ts";

/**
 * For long work in many short steps: await what this returns between any two of them. It gives way to whatever else
 * waits for the event loop when `sliceMs` have passed since it last did.
 */
export function createGiveWay(clock: Clock, sliceMs = 10): () => Promise<void> {
  let since = clock.mono();
  return async () => {
    if (clock.mono() - since < sliceMs) return;
    await sleep(clock, 0);
    since = clock.mono();
  };
}
