/**
 * A map that forgets what was not used lately, bounded in entries and weight.
 *
 * Three generations: what is set or used is put into the young one; when that is a third of what there may be, it becomes the old one, and
 * the old one the oldest, of which an entry goes for each one that comes.
 *
 * 1. What was used within the last third, about, is there. No entry is moved to keep an order, but for one of an old generation that is used.
 * 2. Once full it stays full. Memory that rises for as long as it takes to fill a generation, and falls when one goes as a whole, cannot be
 *    told from a leak by who looks at it for less than that.
 */
export class RecentMap<K, V> {
  readonly #maxEntries: number;
  readonly #maxWeight: number;
  readonly #weigh: (value: V) => number;
  #young: Generation<K, V> = createGeneration();
  #old: Generation<K, V> = createGeneration();
  #oldest: Generation<K, V> = createGeneration();
  #leaving = this.#oldest.entries.keys();

  constructor(options: { maxEntries: number; maxWeight: number; weigh: (value: V) => number }) {
    this.#maxEntries = options.maxEntries;
    this.#maxWeight = options.maxWeight;
    this.#weigh = options.weigh;
  }

  get size(): number {
    return this.#young.entries.size + this.#old.entries.size + this.#oldest.entries.size;
  }

  get #weight(): number {
    return this.#young.weight + this.#old.weight + this.#oldest.weight;
  }

  get(key: K): V | undefined {
    const young = this.#young.entries.get(key);
    if (young !== undefined) return young;
    const value = this.#take(this.#old, key) ?? this.#take(this.#oldest, key);
    if (value !== undefined) this.#add(key, value);
    return value;
  }

  /** What weighs more than all may is not kept. */
  set(key: K, value: V): void {
    const young = this.#young;
    const before = young.entries.get(key);
    if (before !== undefined) {
      young.weight -= this.#weigh(before);
    } else {
      this.#take(this.#old, key);
      this.#take(this.#oldest, key);
      // Before it is in: a Map that gets one entry more than it has room for takes twice as much.
      if (this.size >= this.#maxEntries) this.#dropOldest();
    }
    this.#add(key, value);
    while (this.#weight > this.#maxWeight) this.#dropOldest();
  }

  delete(key: K): void {
    this.#take(this.#young, key);
    this.#take(this.#old, key);
    this.#take(this.#oldest, key);
  }

  #take(generation: Generation<K, V>, key: K): V | undefined {
    const value = generation.entries.get(key);
    if (value === undefined) return undefined;
    generation.entries.delete(key);
    generation.weight -= this.#weigh(value);
    return value;
  }

  #add(key: K, value: V): void {
    const young = this.#young;
    young.entries.set(key, value);
    young.weight += this.#weigh(value);
    const isFull = young.entries.size * 3 >= this.#maxEntries || young.weight * 3 >= this.#maxWeight;
    if (isFull && this.#oldest.entries.size === 0) this.#age();
  }

  #age(): void {
    this.#oldest = this.#old;
    this.#leaving = this.#oldest.entries.keys();
    this.#old = this.#young;
    this.#young = createGeneration();
  }

  /** Of what there is. */
  #dropOldest(): void {
    while (this.#oldest.entries.size === 0) this.#age();
    const next = this.#leaving.next();
    if (next.done !== true) this.#take(this.#oldest, next.value);
  }
}

interface Generation<K, V> {
  readonly entries: Map<K, V>;
  weight: number;
}

function createGeneration<K, V>(): Generation<K, V> {
  return { entries: new Map(), weight: 0 };
}
