import type { Clock } from "../clock.ts";

/**
 * Lets `perTurn` callers go on in one turn of the event loop, and the others in the next ones, in order: await what the returned function
 * returns. For what costs much in steps that nobody can get in between, and may come in any number at once.
 */
export function createFewAtATime(clock: Clock, perTurn: number): () => Promise<void> {
  let waiting: Array<() => void> = [];
  let left = perTurn;
  let isArranged = false;

  function arrange(): void {
    if (isArranged) return;
    isArranged = true;
    clock.after(0, () => {
      isArranged = false;
      const next = waiting.slice(0, perTurn);
      waiting = waiting.slice(perTurn);
      left = perTurn - next.length;
      if (next.length > 0) arrange();
      for (const goOn of next) goOn();
    });
  }

  return () => {
    arrange();
    if (left > 0) {
      left -= 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => waiting.push(resolve));
  };
}
