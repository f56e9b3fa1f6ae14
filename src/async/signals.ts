/** Calls `listener` once when the signal is aborted, at once if it is already; the returned function takes it off. */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  if (signal.aborted) {
    listener();
    return () => {};
  }
  signal.addEventListener("abort", listener, { once: true });
  return () => signal.removeEventListener("abort", listener);
}

/** Resolves when `promise` settles or the signal is aborted, whichever is first. Never rejects; leaves no listener behind. */
export function settledOrAborted(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const off = onAbort(signal, resolve);
    const done = (): void => {
      off();
      resolve();
    };
    promise.then(done, done);
  });
}
