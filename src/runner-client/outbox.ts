import type { ToSession } from "./thread-messages.ts";

/**
 * What the handlers' thread says to the session: together what is said in one go, as each message to a thread costs both a copy, and a
 * wake-up. An acceptance takes along what was said before it and goes out at once: the handler that is called next may block this thread.
 */
export class Outbox {
  readonly #send: (messages: readonly ToSession[]) => void;
  #said: ToSession[] = [];

  constructor(send: (messages: readonly ToSession[]) => void) {
    this.#send = send;
  }

  post(message: ToSession): void {
    this.#said.push(message);
    if (message.type === "accept") this.#flush();
    else if (this.#said.length === 1) void Promise.resolve().then(() => this.#flush());
  }

  #flush(): void {
    if (this.#said.length === 0) return;
    const said = this.#said;
    this.#said = [];
    this.#send(said);
  }
}
