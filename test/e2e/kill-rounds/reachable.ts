import { onAbort } from "../../../src/async/signals.ts";

/** Whether there is any sense in calling: clients that call all the time would keep a server from starting. */
export class Reachable {
  #isOpen = false;
  #waiting: Array<() => void> = [];

  open(): void {
    this.#isOpen = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  close(): void {
    this.#isOpen = false;
  }

  /** Resolves when the server serves, or `signal` is aborted. */
  async wait(signal?: AbortSignal): Promise<void> {
    if (this.#isOpen) return;
    let off = (): void => {};
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
      if (signal !== undefined) off = onAbort(signal, resolve);
    });
    off();
  }
}
