/**
 * Bloom filters over the hashes of keys, each twice the one before, so that they grow with what is put into them and never are copied. Of what is in them
 * nothing else is kept, and nothing can be taken out.
 *
 * These bits outlive the process (level-filter-kept.ts): whoever changes what a bit stands for changes the format of what is kept.
 */

const bitsPerKey = 10;
const probes = 7;
/** The keys that the first has room for. */
export const firstKeys = 1 << 16;
export const maxLayers = 9;

interface Layer {
  readonly bits: Uint8Array;
  readonly mask: number;
  room: number;
}

export class Layers {
  readonly #layers: Layer[];
  /** How many keys were added, about. */
  keys = 0;

  /** Empty; or for so many keys as were put into others that had these rooms left, whose bits are to be added to `parts`. */
  constructor(keys = 0, rooms?: readonly number[]) {
    this.#layers = rooms?.map((room, i) => ({ ...makeLayer(i), room })) ?? [makeLayer(0)];
    this.keys = keys;
  }

  /** How many more keys there is room for in each. */
  get rooms(): number[] {
    return this.#layers.map(({ room }) => room);
  }

  /** The bits of each, as they are. */
  get parts(): Uint8Array[] {
    return this.#layers.map(({ bits }) => bits);
  }

  get bytes(): number {
    return this.#layers.reduce((sum, { bits }) => sum + bits.length, 0);
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
      layer.bits[at >>> 3]! |= 1 << (at & 7);
    }
    return true;
  }
}

function makeLayer(number: number): Layer {
  const room = firstKeys << number;
  // A power of two, so that a mask is all it takes to find a place.
  const bits = 2 ** Math.ceil(Math.log2(room * bitsPerKey));
  return { bits: new Uint8Array(bits >>> 3), mask: bits - 1, room: Math.floor(bits / bitsPerKey) };
}

function has({ bits, mask }: Layer, hashed: number): boolean {
  const step = stepOf(hashed);
  for (let i = 0, bit = hashed; i < probes; i += 1, bit += step) {
    const at = (bit & mask) >>> 0;
    if ((bits[at >>> 3]! & (1 << (at & 7))) === 0) return false;
  }
  return true;
}

/** FNV-1a over the key's UTF-8 bytes, mixed. */
export function hashKey(key: string): number {
  let state = fnvOffset;
  for (let i = 0; i < key.length; i += 1) {
    const unit = key.charCodeAt(i);
    if (unit >= 0x80) return hashBytes(Buffer.from(key, "utf8"));
    state = Math.imul(state ^ unit, fnvPrime);
  }
  return mix(state);
}

export function hashBytes(bytes: Buffer): number {
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
