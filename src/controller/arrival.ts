import { type Clock, sleep } from "../clock.ts";

/**
 * Something that may take for ever, waited for a while at a time. However often that is, it leaves nothing on
 * the promise, where each `Promise.race` would leave a reaction.
 */
export class Arrival {
  #isThere = false;
  #waiting: AbortController | undefined;

  constructor(promise: Promise<unknown>) {
    const arrive = (): void => {
      this.#isThere = true;
      this.#waiting?.abort();
    };
    promise.then(arrive, arrive);
  }

  /** Whether it is there (the promise has settled), after waiting for that for at most `ms`. One wait at a time. */
  async within(clock: Clock, ms: number): Promise<boolean> {
    if (this.#isThere) return true;
    this.#waiting = new AbortController();
    await sleep(clock, ms, this.#waiting.signal);
    return this.#isThere;
  }
}
