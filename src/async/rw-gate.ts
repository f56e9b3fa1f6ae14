/**
 * A gate that many pass together or one alone.
 *
 * 1. Whoever is alone inside is alone.
 * 2. Who wants to be alone waits for those inside; those who come after wait
 *    for it, so neither kind starves.
 */
export class RwGate {
  #inside = 0;
  #alone = false;
  readonly #waiting: { alone: boolean; enter: () => void }[] = [];

  /** Enters together with others; undefined when that is at once, so that the caller stays in its tick. */
  enter(): Promise<void> | undefined {
    if (!this.#alone && this.#waiting.length === 0) {
      this.#inside += 1;
      return undefined;
    }
    return new Promise((enter) => this.#waiting.push({ alone: false, enter }));
  }

  leave(): void {
    this.#inside -= 1;
    this.#admit();
  }

  /** Runs `work` alone. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#alone || this.#inside > 0 || this.#waiting.length > 0) {
      await new Promise<void>((enter) => this.#waiting.push({ alone: true, enter }));
    } else {
      this.#alone = true;
    }
    try {
      return await work();
    } finally {
      this.#alone = false;
      this.#admit();
    }
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && !this.#alone; next = this.#waiting[0]) {
      if (next.alone) {
        if (this.#inside > 0) return;
        this.#alone = true;
      } else {
        this.#inside += 1;
      }
      this.#waiting.shift();
      next.enter();
    }
  }
}
