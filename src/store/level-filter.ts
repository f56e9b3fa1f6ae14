/**
 * Knows of most keys that have no version in LevelDB that they have none, so
 * that making a new key costs no seek: Bloom filters, each twice the one before.
 *
 * States: filling (by a walk over what an opening found; nothing is known yet) -> complete -> filling anew, beside the one that
 * is complete until the new one is -> complete ...
 *
 * 1. Once complete, every key that has a version in LevelDB is in it: rounds add theirs before they write, to both where there are two.
 *    So one is begun only while no round is under way, which may have added its keys and not written them yet.
 * 2. A key cannot be taken out. What was deleted costs room, and a seek, until the filter is made anew, which is when two of three keys in it are gone: so
 *    what it holds is bounded by what is there, not by all that ever was, and where nothing is deleted there is no walk but the first.
 * 3. Its size is bounded; beyond that it knows less and less.
 */
import { nextTurn } from "../async/next-turn.ts";
import type { Log } from "../log.ts";
import type { LevelIterator, LevelRange } from "./level-database.ts";
import { keyBehind, keyBytes, valueSpace } from "./level-keys.ts";

const bitsPerKey = 10;
const probes = 7;
const firstKeys = 1 << 16;
const maxLayers = 9;
/** How much of it is gone when it is worth a new walk. */
const stalePart = 2 / 3;
/** Few, as each key is a buffer of its own until the next collection of garbage. */
const pageEntries = 200;
const pageOptions = { values: false, limit: pageEntries, highWaterMarkBytes: 1 << 20 };

interface Layer {
  readonly words: Int32Array;
  readonly mask: number;
  room: number;
}

/** What a filter is filled from: a session, which has the filter. */
export interface FilterSource {
  /** Defined once there is nothing to be read from it any more. */
  readonly failure: unknown;
  readonly options: { readonly log: Log };
  iterate<T>(range: LevelRange, use: (iterator: LevelIterator) => Promise<T>): Promise<T>;
}

export class KeyFilter {
  #complete: Layers | undefined;
  #filling: Layers | undefined;
  /** How many of its keys are gone, about. */
  #gone = 0;
  #filled: Promise<void> = Promise.resolve();

  /** What the layers take, in bytes. */
  get bytes(): number {
    return (this.#complete?.bytes ?? 0) + (this.#filling?.bytes ?? 0);
  }

  /** Adds a key that gets a version; `isNew` where it has none. Costs little where it is in already. */
  add(key: string, isNew: boolean): void {
    const hashed = hash(key);
    const isBack = this.#complete?.add(hashed) === false && isNew;
    if (isBack) this.#gone = Math.max(0, this.#gone - 1);
    this.#filling?.add(hashed);
  }

  /** A key that was added is gone. */
  forget(): void {
    this.#gone += 1;
  }

  /** Whether the key certainly has no version in LevelDB. */
  excludes(key: string): boolean {
    return this.#complete !== undefined && !this.#complete.has(hash(key));
  }

  /** Fills it with what LevelDB has, for as long as the session is sound, where that was not done yet or is worth doing again. No round may be under way. */
  fillIfStale(session: FilterSource): void {
    if (this.#filling !== undefined) return;
    if (this.#complete !== undefined && this.#gone < Math.max(firstKeys, stalePart * this.#complete.keys)) return;
    this.#gone = 0;
    this.#filling = new Layers();
    this.#filled = this.#fill(session, this.#filling);
  }

  /** Resolves when it is not being filled; never rejects. */
  filled(): Promise<void> {
    return this.#filled;
  }

  /** A page at a time. */
  async #fill(session: FilterSource, filling: Layers): Promise<void> {
    const range = valueSpace();
    while (session.failure === undefined) {
      let entries: [Buffer, Buffer][];
      try {
        entries = await session.iterate({ ...range, ...pageOptions }, (iterator) => iterator.nextv(pageEntries));
      } catch (error) {
        // It only saves time: without it every lookup seeks. It stays as it is, filling: it is not tried again at each round.
        if (session.failure === undefined) session.options.log.warn({ err: error }, "the filter of keys is not filled");
        return;
      }
      for (const [levelKey] of entries) filling.add(hashBytes(keyBytes(levelKey)));
      const last = entries.at(-1)?.[0];
      // Only a page of nothing is the end: LevelDB hands out less than was asked for when it likes.
      if (last === undefined) {
        this.#complete = filling;
        this.#filling = undefined;
        return;
      }
      range.gte = keyBehind(last);
      await nextTurn();
    }
  }
}

class Layers {
  readonly #layers: Layer[] = [makeLayer(0)];
  /** How many keys were added, about. */
  keys = 0;

  get bytes(): number {
    return this.#layers.reduce((sum, { words }) => sum + words.byteLength, 0);
  }

  has(hashed: number): boolean {
    for (const layer of this.#layers) if (has(layer, hashed)) return true;
    return false;
  }

  /** False where it is in already: not twice, the versions of a key, and keys that were deleted and made again. */
  add(hashed: number): boolean {
    if (this.has(hashed)) return false;
    let layer = this.#layers.at(-1)!;
    if (layer.room === 0 && this.#layers.length < maxLayers) {
      layer = makeLayer(this.#layers.length);
      this.#layers.push(layer);
    }
    this.keys += 1;
    layer.room = Math.max(0, layer.room - 1);
    const step = stepOf(hashed);
    for (let i = 0, bit = hashed; i < probes; i += 1, bit += step) {
      const at = (bit & layer.mask) >>> 0;
      layer.words[at >>> 5]! |= 1 << (at & 31);
    }
    return true;
  }
}

function makeLayer(number: number): Layer {
  const room = firstKeys << number;
  // A power of two, so that a mask is all it takes to find a place.
  const bits = 2 ** Math.ceil(Math.log2(room * bitsPerKey));
  return { words: new Int32Array(bits >>> 5), mask: bits - 1, room: Math.floor(bits / bitsPerKey) };
}

function has({ words, mask }: Layer, hashed: number): boolean {
  const step = stepOf(hashed);
  for (let i = 0, bit = hashed; i < probes; i += 1, bit += step) {
    const at = (bit & mask) >>> 0;
    if ((words[at >>> 5]! & (1 << (at & 31))) === 0) return false;
  }
  return true;
}

/** FNV-1a over the key's UTF-8 bytes, mixed. */
function hash(key: string): number {
  let state = fnvOffset;
  for (let i = 0; i < key.length; i += 1) {
    const unit = key.charCodeAt(i);
    if (unit >= 0x80) return hashBytes(Buffer.from(key, "utf8"));
    state = Math.imul(state ^ unit, fnvPrime);
  }
  return mix(state);
}

function hashBytes(bytes: Buffer): number {
  let state = fnvOffset;
  for (let i = 0; i < bytes.length; i += 1) state = Math.imul(state ^ bytes[i]!, fnvPrime);
  return mix(state);
}

const fnvOffset = 0x811c9dc5 | 0;
const fnvPrime = 0x01000193;

function mix(state: number): number {
  let mixed = state;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** From the high bits, which the mask leaves out of the first place: else keys that share that would share all. */
function stepOf(hashed: number): number {
  return ((hashed >>> 17) | (hashed << 15) | 1) >>> 0;
}
