/** A promise, and what settles it. */
export interface Waiter {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function createWaiter(): Waiter {
  let resolve = (): void => {};
  let reject: Waiter["reject"] = () => {};
  const promise = new Promise<void>((...settle) => ([resolve, reject] = settle));
  return { promise, resolve, reject };
}
