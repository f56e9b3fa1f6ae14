/**
 * Knows of most keys that have no version in LevelDB that they have none, so
 * that making a new key costs no seek: Bloom filters over the keys that have one.
 *
 * States: filling (from what was kept and the journal, or by a walk over what an opening found; nothing is known yet) -> complete -> filling anew, by a
 * walk beside the one that is complete until the new one is -> complete ...
 *
 * 1. Once complete, every key that has a version in LevelDB is in it: rounds add theirs before they write, to both where there are two.
 *    So one is begun only while no round is under way, which may have added its keys and not written them yet.
 * 2. A key cannot be taken out. What was deleted costs room, and a seek, until the filter is made anew, which is when two of three keys in it are gone: so
 *    what it holds is bounded by what is there, not by all that ever was, and where nothing is deleted there is no walk but the first.
 * 3. Its size is bounded; beyond that it knows less and less.
 * 4. What was kept (level-filter-kept.ts) has every key that had a version in LevelDB at its watermark. Whatever got one since has a record in the journal
 *    above that; where the journal has not all of it, what was kept is dropped, and the walk begins between two rounds.
 */
import { nextTurn } from "../async/next-turn.ts";
import type { Log } from "../log.ts";
import type { LevelIterator, LevelRange } from "./level-database.ts";
import { firstKeys, hashBytes, hashKey, Layers } from "./level-filter-layers.ts";
import { keyBehind, keyBytes, keyNumber, numberedRange, valueSpace } from "./level-keys.ts";
import { decodeBlock, recordTypes, type StoredRecord } from "./record.ts";

/** How much of it is gone when it is worth a new walk. */
const stalePart = 2 / 3;
/** Few, as each key is a buffer of its own until the next collection of garbage. */
const pageEntries = 200;
const pageOptions = { values: false, limit: pageEntries, highWaterMarkBytes: 1 << 20 };
/** An event loop's turn takes some milliseconds for them. */
const blocksPage = { size: 64, highWaterMarkBytes: 1 << 17 };

/** What a filter is filled from: a session, which has the filter. */
export interface FilterSource {
  /** Defined once there is nothing to be read from it any more. */
  readonly failure: unknown;
  readonly options: { readonly log: Log };
  /** Up to which revision everything is in LevelDB as versions. */
  readonly materialized: number;
  iterate<T>(range: LevelRange, use: (iterator: LevelIterator) => Promise<T>): Promise<T>;
}

/** What was kept of a filter. */
export interface KeptFilter {
  readonly watermark: number;
  /** How many of its keys were gone, about. */
  readonly gone: number;
  /** Has none of its bits yet. */
  readonly layers: Layers;
  /** Adds its bits; false where some are missing. */
  read(): Promise<boolean>;
}

export class KeyFilter {
  #complete: Layers | undefined;
  #filling: Layers | undefined;
  #gone = 0;
  /** The watermark of what was kept of it; undefined where nothing was. */
  keptAt: number | undefined;
  /** The bytes of the journal since then, about: those that were read to go on from there, and those of this session. */
  journalBytes = 0;
  #filled: Promise<void> = Promise.resolve();

  /** What the layers take, in bytes. */
  get bytes(): number {
    return (this.#complete?.bytes ?? 0) + (this.#filling?.bytes ?? 0);
  }

  /** Those that are complete, and are not being made anew. */
  get layers(): Layers | undefined {
    return this.#filling === undefined ? this.#complete : undefined;
  }

  /** How many of its keys are gone, about. */
  get gone(): number {
    return this.#gone;
  }

  /** Adds a key that gets a version; `isNew` where it has none. Costs little where it is in already. */
  add(key: string, isNew: boolean): void {
    const hashed = hashKey(key);
    if (this.#complete?.add(hashed) === false && isNew) this.#isBack();
    this.#filling?.add(hashed);
  }

  /** A key that was added is gone. */
  forget(): void {
    this.#gone += 1;
  }

  /** Whether the key certainly has no version in LevelDB. */
  excludes(key: string): boolean {
    return this.#complete !== undefined && !this.#complete.has(hashKey(key));
  }

  /** Fills it for the first time, from what was kept where that is of use. No round may be under way. */
  begin(session: FilterSource, kept: KeptFilter | undefined): void {
    if (kept === undefined) {
      this.fillIfStale(session);
      return;
    }
    this.#gone = kept.gone;
    this.#filling = kept.layers;
    this.#filled = this.#goOn(session, kept, session.materialized);
  }

  /**
   * Fills it with what LevelDB has, for as long as the session is sound, where that was not done yet or is worth doing again; whether it is begun. No round may
   * be under way.
   */
  fillIfStale(session: FilterSource): boolean {
    if (this.#filling !== undefined) return false;
    if (this.#complete !== undefined && this.#gone < Math.max(firstKeys, stalePart * this.#complete.keys)) return false;
    this.#gone = 0;
    this.#filling = new Layers();
    this.#filled = this.#fill(session, this.#filling);
    return true;
  }

  /** Resolves when it is not being filled; never rejects. */
  filled(): Promise<void> {
    return this.#filled;
  }

  /** Adds to what was kept what LevelDB got since. */
  async #goOn(session: FilterSource, kept: KeptFilter, upTo: number): Promise<void> {
    const { watermark, layers } = kept;
    let isWhole: boolean;
    try {
      isWhole = (await kept.read()) && (await this.#addJournal(session, layers, { after: watermark, upTo }));
    } catch {
      // The walk will say so, if it fails as well.
      isWhole = false;
    }
    if (isWhole) {
      this.#completed(layers);
      this.keptAt = watermark;
    } else {
      this.#filling = undefined;
    }
  }

  /** Adds the keys of the journal's blocks behind a revision up to another. False where it has not all of them. */
  async #addJournal(
    session: FilterSource,
    filling: Layers,
    { after, upTo }: { after: number; upTo: number },
  ): Promise<boolean> {
    const { size, highWaterMarkBytes } = blocksPage;
    for (let at = after; at < upTo; ) {
      const range = { ...numberedRange("journal", at + 1, upTo), highWaterMarkBytes };
      const entries = await session.iterate(range, (iterator) => iterator.nextv(size));
      if (entries.length === 0) return false;
      for (const [levelKey, bytes] of entries) {
        const block = keyNumber(levelKey) === at + 1 ? decodeBlock(bytes, at + 1) : undefined;
        if (block === undefined || block.records.some(({ damage }) => damage === "head")) return false;
        for (const record of block.records) this.#addRecord(filling, record);
        this.journalBytes += bytes.length;
        at = block.last;
      }
      await nextTurn();
    }
    return true;
  }

  #addRecord(filling: Layers, { type, key }: StoredRecord): void {
    const isThere = !filling.add(hashKey(key));
    if (type === recordTypes.delete || type === recordTypes.unindex) this.forget();
    // A key is indexed only while it is absent (store.ts).
    else if (type === recordTypes.index && isThere) this.#isBack();
  }

  #isBack(): void {
    this.#gone = Math.max(0, this.#gone - 1);
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
      if (last === undefined) return this.#completed(filling);
      range.gte = keyBehind(last);
      await nextTurn();
    }
  }

  #completed(filling: Layers): void {
    this.#complete = filling;
    this.#filling = undefined;
    this.keptAt = undefined;
  }
}
