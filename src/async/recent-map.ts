/**
 * A map that forgets what was not used lately, bounded in entries and weight.
 *
 * Each entry has the age in which it was set or used last. An age is over when a third of what there may be is of it. Whoever has to go
 * is looked for in a round over all entries, and is the next that is of neither this age nor the one before.
 *
 * 1. What was used within the last third, about, is there. No entry is moved to keep an order, and each is in one Map, as a lookup in a large one
 *    costs more than all else that is done here: a new entry takes one that fails, and those that put it in and another out.
 * 2. Once full it stays full: one goes for each that comes. Memory that rises for as long as it takes to fill a part, and falls when that goes as a whole,
 *    cannot be told from a leak by who looks at it for less than that.
 */
export class RecentMap<K, V> {
  readonly #maxEntries: number;
  readonly #maxWeight: number;
  readonly #weigh: (value: V) => number;
  /** Where in the lists below the entry of a key is. */
  readonly #places = new Map<K, number>();
  readonly #keys: (K | undefined)[] = [];
  readonly #values: (V | undefined)[] = [];
  readonly #ages: number[] = [];
  readonly #free: number[] = [];
  #weight = 0;
  #age = 0;
  /** How many entries are of this age, and what they weigh. */
  #young = { entries: 0, weight: 0 };
  /** The place that is looked at next for one to go. */
  #hand = 0;

  constructor(options: { maxEntries: number; maxWeight: number; weigh: (value: V) => number }) {
    this.#maxEntries = options.maxEntries;
    this.#maxWeight = options.maxWeight;
    this.#weigh = options.weigh;
  }

  get size(): number {
    return this.#places.size;
  }

  get(key: K): V | undefined {
    const place = this.#places.get(key);
    if (place === undefined) return undefined;
    const value = this.#values[place] as V;
    if (this.#ages[place] !== this.#age) this.#use(place, this.#weigh(value));
    return value;
  }

  /** What weighs more than all may is not kept. */
  set(key: K, value: V): void {
    let place = this.#places.get(key);
    if (place === undefined) {
      // Before it is in: a Map that gets one entry more than it has room for takes twice as much.
      if (this.size >= this.#maxEntries) this.#dropOldest(undefined);
      place = this.#free.pop() ?? this.#keys.length;
      this.#places.set(key, place);
    } else {
      this.#forget(place);
    }
    const weight = this.#weigh(value);
    this.#keys[place] = key;
    this.#values[place] = value;
    this.#weight += weight;
    this.#use(place, weight);
    while (this.#weight > this.#maxWeight && this.size > 1) this.#dropOldest(place);
    if (this.#weight > this.#maxWeight) this.delete(key);
  }

  delete(key: K): void {
    const place = this.#places.get(key);
    if (place !== undefined) this.#drop(key, place);
  }

  /** The entry is of this age from now on. */
  #use(place: number, weight: number): void {
    this.#ages[place] = this.#age;
    this.#young.entries += 1;
    this.#young.weight += weight;
    if (this.#young.entries * 3 >= this.#maxEntries || this.#young.weight * 3 >= this.#maxWeight) this.#growOlder();
  }

  #growOlder(): void {
    this.#age += 1;
    this.#young = { entries: 0, weight: 0 };
  }

  /** But for the one at `kept`; there has to be another. */
  #dropOldest(kept: number | undefined): void {
    for (let looks = 0; ; looks += 1) {
      // None is old enough: what weighs much can be more than a third.
      if (looks > 0 && looks % this.#keys.length === 0) this.#growOlder();
      const place = this.#hand;
      this.#hand = place + 1 < this.#keys.length ? place + 1 : 0;
      const key = this.#keys[place];
      if (key === undefined || place === kept || (this.#ages[place] ?? 0) > this.#age - 2) continue;
      return this.#drop(key, place);
    }
  }

  #drop(key: K, place: number): void {
    this.#places.delete(key);
    this.#forget(place);
    this.#keys[place] = undefined;
    this.#values[place] = undefined;
    this.#free.push(place);
  }

  /** What is at the place counts no more. */
  #forget(place: number): void {
    const weight = this.#weigh(this.#values[place] as V);
    this.#weight -= weight;
    if (this.#ages[place] !== this.#age) return;
    this.#young.entries -= 1;
    this.#young.weight -= weight;
  }
}
