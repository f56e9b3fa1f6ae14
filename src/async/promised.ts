/** What `call` resolves to; a rejection, too, where it throws instead. No promise more than its own, unless it throws. */
export function promised<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call();
  } catch (error) {
    // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- whatever it threw.
    return Promise.reject(error);
  }
}
