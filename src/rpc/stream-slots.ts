import { limitError } from "../controller/error.ts";

/**
 * How many calls may stream answers or wait for a task at one time, of all services and controllers together. A stream may
 * last for ever; a wait ends by itself, but one address could have 64,000 of them under way, each with its timers.
 */
export interface StreamSlots {
  /** Takes a slot; the returned function gives it back, once. Throws RESOURCE_EXHAUSTED where all are taken. */
  take(): () => void;
  /** As `take`; undefined where all are taken. */
  tryTake(): (() => void) | undefined;
}

export function createStreamSlots(max: number): StreamSlots {
  let taken = 0;
  function tryTake(): (() => void) | undefined {
    if (taken >= max) return undefined;
    taken += 1;
    let held = true;
    return () => {
      if (held) taken -= 1;
      held = false;
    };
  }
  return {
    tryTake,
    take() {
      const giveBack = tryTake();
      if (giveBack !== undefined) return giveBack;
      throw limitError("watchers_max", max, `${max} streams and waits are open already, which is the limit`, 5_000);
    },
  };
}
