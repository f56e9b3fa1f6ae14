/**
 * The filter of keys (level-filter.ts) as it is kept in the database, so that an opening need not walk over all keys. It saves that walk and nothing else: where
 * it is missing, in part or as a whole, or damaged, the store does without. (What LevelDB itself finds to be damaged, here as anywhere, fences the store.)
 *
 * States: none -> being written, part by part, between the rounds -> whole, once its head is there; those before it go in the batch that writes the head.
 *
 * 1. A filter that has a head is whole: all its parts were on disk before. What a crash leaves of one without a head goes in the next one's first batch.
 * 2. No LevelDB key is written twice: each filter has a number of its own, above all that there are.
 * 3. It has every key that had a version in LevelDB at the watermark in its head. What rounds add while it is written is in it or is not: whatever got a version
 *    since has a record in the journal above that watermark.
 * 4. It is in the database that it is of: a copy of that, of whenever, has the filter of its own course of things, and no other can be put in its place.
 */
import { nextTurn } from "../async/next-turn.ts";
import { crc32c } from "./crc32c.ts";
import type { LevelOperation } from "./level-database.ts";
import type { KeptFilter } from "./level-filter.ts";
import { Layers, maxLayers } from "./level-filter-layers.ts";
import { decodeCell, filterKey, keyNumber, putCell } from "./level-keys.ts";
import type { LevelSession } from "./level-session.ts";

/** Of what the bits mean: how they are taken from a key's hash, and that hash. */
const format = 1;
const partBytes = 64 * 1024;
const partsAtOnce = 4;
const crcBytes = 4;
const lastPart = 0xffff_ffff;
/** How many bytes the journal may have grown by, for each of the filter's, before that is written anew. An opening reads them. */
const journalBytesForEach = 16;

/** What is being written. */
interface Draft {
  readonly number: number;
  readonly head: readonly number[];
  readonly layers: Layers;
  readonly watermark: number;
  readonly parts: readonly Uint8Array[];
  /** How many of them are on disk. */
  written: number;
  /** What crashes have left of others: it goes with the first of them, as a number is not forgotten before there is a higher one. */
  readonly left: readonly Buffer[];
}

/** Keeps the filter of a session. To be used between the rounds. */
export class FilterKeeper {
  readonly #session: LevelSession;
  #draft: Draft | undefined;
  /** The number of the newest that is whole; 0 for none. */
  #whole = 0;
  #keptWallMs = -Infinity;
  #isGivenUp = false;

  constructor(session: LevelSession) {
    this.#session = session;
  }

  /** The newest filter that is whole; undefined for none of use. To be called before anything is written. */
  async find(): Promise<KeptFilter | undefined> {
    const session = this.#session;
    try {
      for (let number = await newestNumber(session); number > 0; number = await newestNumber(session, number)) {
        const key = filterKey(number, 0);
        const bytes = await session.read(key);
        if (bytes === undefined) continue;
        this.#whole = number;
        return keptFilter(session, number, decodeCell(key, bytes));
      }
    } catch (error) {
      session.options.log.warn({ err: error }, "the filter of keys that was kept cannot be read");
    }
    return undefined;
  }

  /** Whether there is something to write. */
  get isDue(): boolean {
    const { filter, materialized, floor, checkpoints, options } = this.#session;
    const { layers, keptAt, journalBytes } = filter;
    if (this.#isGivenUp || layers === undefined) return false;
    if (this.#draft !== undefined) return true;
    if (layers.keys < options.filterKeptMinKeys || keptAt === materialized) return false;
    if (keptAt === undefined || journalBytes >= journalBytesForEach * layers.bytes) return true;
    // From the next floor on the journal would not reach back to it.
    const isPassed = keptAt < (checkpoints[0]?.watermark ?? floor);
    return isPassed && Math.abs(options.clock.wall() - this.#keptWallMs) >= options.filterKeptEveryMs;
  }

  /** Writes some parts, or the head. Throws UNAVAILABLE where that fails, as all that writes. */
  async keepPiece(): Promise<void> {
    // One that was made anew meanwhile has let go of what is gone.
    if (this.#draft?.layers !== this.#session.filter.layers) this.#draft = undefined;
    if (this.#draft === undefined) await this.#begin();
    else if (this.#draft.written < this.#draft.parts.length) await this.#writeParts(this.#draft);
    else await this.#finish(this.#draft);
  }

  /** The process is about to end: what is due but for its having been written lately is written. */
  hurry(): void {
    this.#keptWallMs = -Infinity;
  }

  async #begin(): Promise<void> {
    const { filter, materialized: watermark } = this.#session;
    const layers = filter.layers!;
    const head = [format, watermark, filter.gone, layers.keys, ...layers.rooms];
    const number = await this.#reading(() => newestNumber(this.#session));
    const left = await this.#reading(() => this.#keysOf(this.#whole + 1, Number.MAX_SAFE_INTEGER));
    if (number === undefined || left === undefined) return;
    this.#draft = { number: number + 1, head, layers, watermark, parts: partsOf(layers), written: 0, left };
    filter.journalBytes = 0;
  }

  async #writeParts(draft: Draft): Promise<void> {
    const { number, parts, written, left } = draft;
    const some = parts.slice(written, written + partsAtOnce);
    const operations = some.map((bits, i) => putPart(filterKey(number, written + i + 1), bits));
    if (written > 0) {
      await this.#session.write(operations, this.#session.options.durability === "sync");
    } else {
      for (const key of left) operations.push({ type: "del", key });
      await this.#session.writeAlone(operations);
    }
    draft.written += some.length;
  }

  async #finish({ number, head, watermark }: Draft): Promise<void> {
    const session = this.#session;
    const before = await this.#reading(() => this.#keysOf(0, number - 1));
    if (before === undefined) return;
    const operations: LevelOperation[] = before.map((key) => ({ type: "del", key }));
    operations.push(putCell(filterKey(number, 0), head));
    await session.writeAlone(operations);
    this.#draft = undefined;
    this.#whole = number;
    this.#keptWallMs = session.options.clock.wall();
    session.filter.keptAt = watermark;
  }

  /** What is read; where that fails, the filter is not kept any more: it only saves time. */
  async #reading<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      this.#isGivenUp = true;
      this.#draft = undefined;
      if (this.#session.failure === undefined)
        this.#session.options.log.warn({ err: error }, "the filter of keys is not kept any more");
      return undefined;
    }
  }

  /** The LevelDB keys of the filters from one number to another. */
  #keysOf(first: number, last: number): Promise<Buffer[]> {
    const range = { gte: filterKey(first, 0), lte: filterKey(last, lastPart), values: false };
    return this.#session.iterate(range, async (iterator) => {
      const keys: Buffer[] = [];
      for (;;) {
        const page = await iterator.nextv(1_000);
        if (page.length === 0) return keys;
        for (const [key] of page) keys.push(key);
      }
    });
  }
}

function keptFilter(session: LevelSession, number: number, head: number[] | undefined): KeptFilter | undefined {
  const [headFormat, watermark, gone, keys, ...rooms] = head ?? [];
  if (headFormat !== format || watermark === undefined || gone === undefined || keys === undefined) return undefined;
  if (rooms.length === 0 || rooms.length > maxLayers) return undefined;
  // The journal has to reach back to it; and one that is ahead is of another course of things.
  if (watermark < session.floor || watermark > session.materialized) return undefined;
  const layers = new Layers(keys, rooms);
  return { watermark, gone, layers, read: () => readParts(session, number, layers) };
}

/** Adds the bits of the filter to the layers. False where it has not all of them. */
async function readParts(session: LevelSession, number: number, layers: Layers): Promise<boolean> {
  const parts = partsOf(layers);
  for (let read = 0; read < parts.length; ) {
    const range = { gte: filterKey(number, read + 1), lte: filterKey(number, lastPart), limit: partsAtOnce };
    const entries = await session.iterate(range, (iterator) => iterator.nextv(partsAtOnce));
    if (entries.length === 0) return false;
    for (const [, value] of entries) {
      const bits = parts[read];
      read += 1;
      if (bits === undefined || !addPart(bits, filterKey(number, read), value)) return false;
    }
    await nextTurn();
  }
  return true;
}

/** The highest number that a filter, or what there is of one, has below another; 0 for none. */
async function newestNumber(session: LevelSession, below?: number): Promise<number> {
  const end = below === undefined ? { lte: filterKey(Number.MAX_SAFE_INTEGER, lastPart) } : { lt: filterKey(below, 0) };
  const entry = await session.first({ gte: filterKey(1, 0), ...end, reverse: true, values: false });
  return entry === undefined ? 0 : keyNumber(entry[0]);
}

function partsOf(layers: Layers): Uint8Array[] {
  return layers.parts.flatMap((bits) =>
    Array.from({ length: bits.length / partBytes }, (_, i) => bits.subarray(i * partBytes, (i + 1) * partBytes)),
  );
}

/** What writes a part: bits, and a CRC over its key and them. */
function putPart(key: Buffer, bits: Uint8Array): LevelOperation {
  const value = Buffer.allocUnsafeSlow(bits.length + crcBytes);
  value.set(bits);
  value.writeUInt32BE(crc32c(value, 0, bits.length, crc32c(key, 0, key.length)), bits.length);
  return { type: "put", key, value };
}

/** Adds the bits of a part to what is there; false where it is damaged, or not the part of this key. */
function addPart(bits: Uint8Array, key: Buffer, value: Buffer): boolean {
  const end = value.length - crcBytes;
  if (end !== bits.length || crc32c(value, 0, end, crc32c(key, 0, key.length)) !== value.readUInt32BE(end))
    return false;
  for (let i = 0; i < end; i += 1) bits[i]! |= value[i]!;
  return true;
}
