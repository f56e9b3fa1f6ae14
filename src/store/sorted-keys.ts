import { compareKeys } from "./store.ts";

/**
 * A set of keys in the order of compareKeys, for stores that hold theirs in
 * memory. Adding and deleting cost the logarithm of the size, and the move of
 * one chunk: the keys lie in chunks of at most `chunkMax`, in order, none empty.
 */
export class SortedKeys {
  readonly #chunks: string[][] = [];

  /** Adds a key that is not in the set. */
  add(key: string): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      this.#chunks.push([key]);
      return;
    }
    chunk.splice(
      countWhile(chunk, (other) => compareKeys(other, key) < 0),
      0,
      key,
    );
    if (chunk.length > chunkMax) this.#chunks.splice(at + 1, 0, chunk.splice(chunk.length >> 1));
  }

  /** Takes a key out; nothing happens if it is not in the set. */
  delete(key: string): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) return;
    const index = countWhile(chunk, (other) => compareKeys(other, key) < 0);
    if (chunk[index] !== key) return;
    chunk.splice(index, 1);
    if (chunk.length < chunkMin) this.#merge(at);
  }

  /**
   * The keys with `prefix`, in order, or against it when `reverse`; with `after`
   * only those behind it in that direction. The set must not be changed meanwhile.
   */
  *range(prefix: string, after: string | undefined, reverse: boolean): Generator<string, void> {
    const isBefore = reverse
      ? (key: string) => isUpTo(key, prefix) && (after === undefined || compareKeys(key, after) < 0)
      : (key: string) => compareKeys(key, prefix) < 0 || (after !== undefined && compareKeys(key, after) <= 0);
    // The first chunk whose last key is not before the start: the start is in it.
    let at = countWhile(this.#chunks, (chunk) => isBefore(chunk.at(-1) as string));
    let index = countWhile(this.#chunks[at] ?? [], isBefore);
    for (;;) {
      if (reverse) {
        index -= 1;
        if (index < 0) {
          at -= 1;
          index = (this.#chunks[at]?.length ?? 0) - 1;
        }
      }
      const key = this.#chunks[at]?.[index];
      if (key === undefined || !key.startsWith(prefix)) return;
      yield key;
      if (!reverse) {
        index += 1;
        if (index === this.#chunks[at]?.length) {
          at += 1;
          index = 0;
        }
      }
    }
  }

  /** Where the chunk is that has the key, or that it belongs into. */
  #chunkOf(key: string): number {
    const at = countWhile(this.#chunks, (chunk) => compareKeys(chunk.at(-1) as string, key) < 0);
    return Math.min(at, Math.max(0, this.#chunks.length - 1));
  }

  /** Joins a small chunk with the next one, if both are one chunk together. */
  #merge(at: number): void {
    const chunk = this.#chunks[at] as string[];
    const next = this.#chunks[at + 1];
    if (chunk.length === 0) this.#chunks.splice(at, 1);
    else if (next !== undefined && chunk.length + next.length <= chunkMax) {
      this.#chunks.splice(at, 2, [...chunk, ...next]);
    }
  }
}

const chunkMax = 512;
const chunkMin = 128;

function isUpTo(key: string, prefix: string): boolean {
  return key.startsWith(prefix) || compareKeys(key, prefix) < 0;
}

/** How many items at the beginning meet the condition; none behind them may. */
function countWhile<T>(items: readonly T[], condition: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (condition(items[middle] as T)) low = middle + 1;
    else high = middle;
  }
  return low;
}
