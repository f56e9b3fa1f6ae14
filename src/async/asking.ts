/** Who has asked an iterator for what comes next, and is told once. */
export interface Asking<T> {
  readonly resolve: (next: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/** An iterator that can be asked without a promise, by one at a time: who waits long costs nothing then. */
export interface AskedIterator<T> extends AsyncIterator<T, undefined> {
  /** As `next`; who asks may be told before this returns, and must not throw then. */
  ask(asking: Asking<T>): void;
}

/** Asks the iterator for what comes next: without a promise, where it can be asked so. */
export function askNext<T>(iterator: AsyncIterator<T> | AskedIterator<T>, asking: Asking<T>): void {
  if ("ask" in iterator) iterator.ask(asking);
  else iterator.next().then(asking.resolve, asking.reject);
}
