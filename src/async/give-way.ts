import { type Clock, sleep } from "../clock.ts";

/**
 * For long work in many short steps: await what this returns between any two of them. It gives way to whatever else
 * waits for the event loop when `sliceMs` have passed since it last did; else that is undefined, and whoever looks need not wait.
 */
export function createGiveWay(clock: Clock, sliceMs = 10): () => Promise<void> | undefined {
  let since = clock.mono();
  return () => {
    if (clock.mono() - since < sliceMs) return undefined;
    return sleep(clock, 0).then(() => void (since = clock.mono()));
  };
}
