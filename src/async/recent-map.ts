/**
 * A map that forgets what was not used lately, bounded in entries and weight.
 *
 * Two generations, young and old: what is set or used is put into the young one; when that is half
 * of what there may be, it becomes the old one, and the old one goes as a whole. So no entry has to be moved
 * or taken out to keep an order, which costs more than all else a cache does.
 */
export class RecentMap<K, V> {
  readonly #maxEntries: number;
  readonly #maxWeight: number;
  readonly #weigh: (value: V) => number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();
  #youngWeight = 0;

  constructor(options: { maxEntries: number; maxWeight: number; weigh: (value: V) => number }) {
    this.#maxEntries = options.maxEntries;
    this.#maxWeight = options.maxWeight;
    this.#weigh = options.weigh;
  }

  get(key: K): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: K, value: V): void {
    const before = this.#young.get(key);
    if (before !== undefined) this.#youngWeight -= this.#weigh(before);
    this.#young.set(key, value);
    this.#youngWeight += this.#weigh(value);
    if (this.#young.size * 2 < this.#maxEntries && this.#youngWeight * 2 < this.#maxWeight) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngWeight = 0;
  }

  delete(key: K): void {
    const before = this.#young.get(key);
    if (before !== undefined) this.#youngWeight -= this.#weigh(before);
    this.#young.delete(key);
    this.#old.delete(key);
  }
}
