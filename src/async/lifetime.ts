/**
 * The time until something has closed. What waits for others waits within it, so that nobody waits on for an answer
 * that nobody is there to use. Unlike with an AbortSignal it costs the same however many wait.
 */
export class Lifetime {
  readonly #createError: () => Error;
  readonly #waiting = new Set<(error: Error) => void>();
  #isOver = false;

  /** `createError` makes what is thrown to those who wait when it is over. */
  constructor(createError: () => Error) {
    this.#createError = createError;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Ends it, for good. */
  end(): void {
    this.#isOver = true;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const reject of waiting) reject(this.#createError());
  }

  /** Throws once it is over. */
  check(): void {
    if (this.#isOver) throw this.#createError();
  }

  /** Settles as `promise` does, or, where that is rejected, as what `rescue` makes of the error; rejects when it is over before that. */
  within<T>(promise: Promise<T>, rescue?: (error: unknown) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      promise.then(
        (value) => {
          this.#waiting.delete(reject);
          resolve(value);
        },
        (error: unknown) => {
          if (!this.#waiting.delete(reject)) return;
          if (rescue !== undefined) return resolve(rescue(error));
          // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- whatever it was rejected with.
          reject(error);
        },
      );
      if (this.#isOver) reject(this.#createError());
      else this.#waiting.add(reject);
    });
  }
}
