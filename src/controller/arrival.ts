import type { Clock } from "../clock.ts";

/**
 * Something that may take for ever, waited for a while at a time. However often that is, it leaves nothing on
 * the promise, where each `Promise.race` would leave a reaction.
 */
export class Arrival {
  #isThere = false;
  #endWait = (): void => {};

  constructor(promise: Promise<unknown>) {
    const arrive = (): void => {
      this.#isThere = true;
      this.#endWait();
    };
    promise.then(arrive, arrive);
  }

  /** Whether it is there (the promise has settled), after waiting for that for at most `ms`. One wait at a time. */
  within(clock: Clock, ms: number): Promise<boolean> {
    if (this.#isThere) return Promise.resolve(true);
    return new Promise((resolve) => {
      const settle = (): void => resolve(this.#isThere);
      const cancel = clock.after(ms, settle);
      this.#endWait = () => {
        cancel();
        settle();
      };
    });
  }
}
