/**
 * What is committed and not yet materialized: the newest record of each key
 * that changed since the last round.
 *
 * A record comes in by `apply` into the active part. `freeze`, at the start of
 * a round, makes the active part the frozen one; `thaw`, once the round's batch is in, drops it.
 *
 * 1. At most one round is under way: freeze and thaw take turns.
 * 2. A reader that finds a key in neither part finds its newest version in LevelDB.
 * 3. Each entry knows its base: the revision of the key's version that LevelDB has once
 *    the round under way is through; `noBase` for none, `unknownBase` where only LevelDB can tell. A base that is
 *    supposed is a guess that LevelDB has to confirm.
 */
import { recordTypes, type StoredRecord } from "./record.ts";

export interface OverlayEntry {
  readonly record: StoredRecord;
  readonly base: number;
  readonly isSupposed: boolean;
}

/** What is known of the versions of index entries in LevelDB, and what may be supposed of the others. */
export interface IndexBases {
  readonly materialized: (key: string) => number | undefined;
  readonly supposed: (key: string) => number | undefined;
}

export const noBase = 0;
export const unknownBase = -1;

export class Overlay {
  #active = new Map<string, OverlayEntry>();
  #frozen = new Map<string, OverlayEntry>();
  #activeBytes = 0;
  #frozenBytes = 0;

  get activeKeys(): number {
    return this.#active.size;
  }

  get activeBytes(): number {
    return this.#activeBytes;
  }

  get keys(): number {
    return this.#active.size + this.#frozen.size;
  }

  get bytes(): number {
    return this.#activeBytes + this.#frozenBytes;
  }

  get(key: string): StoredRecord | undefined {
    return (this.#active.get(key) ?? this.#frozen.get(key))?.record;
  }

  /** Makes the record its key's newest. */
  apply(record: StoredRecord, bases?: IndexBases): void {
    const { key } = record;
    const before = this.#active.get(key);
    if (before !== undefined) this.#activeBytes -= weigh(before.record);
    const base = before?.base ?? this.#baseOf(record, bases);
    // Only the first of what the round has of a key takes away what LevelDB has: what is said of a later one is of what was never there.
    const supposed = before === undefined && base === unknownBase ? bases?.supposed(key) : undefined;
    const isSupposed = before?.isSupposed ?? supposed !== undefined;
    this.#active.set(key, { record, base: supposed ?? base, isSupposed });
    this.#activeBytes += weigh(record);
  }

  #baseOf({ type, key, previous }: StoredRecord, bases: IndexBases | undefined): number {
    if (type !== recordTypes.index && type !== recordTypes.unindex) return previous;
    const frozen = this.#frozen.get(key)?.record;
    if (frozen !== undefined) return frozen.type === recordTypes.index ? frozen.revision : noBase;
    // A key is indexed only while it is absent (store.ts).
    if (type === recordTypes.index) return noBase;
    return bases?.materialized(key) ?? unknownBase;
  }

  /** Begins a round: its entries. */
  freeze(): ReadonlyMap<string, OverlayEntry> {
    this.#frozen = this.#active;
    this.#frozenBytes = this.#activeBytes;
    this.#active = new Map();
    this.#activeBytes = 0;
    return this.#frozen;
  }

  /** Ends a round. */
  thaw(): void {
    this.#frozen = new Map();
    this.#frozenBytes = 0;
  }

  /** The newest records of the keys that `matches` takes, in no order. */
  select(matches: (key: string) => boolean): StoredRecord[] {
    const records: StoredRecord[] = [];
    // Not by their keys beside them: there are thousands, and a pair is an object for each.
    for (const { record } of this.#active.values()) if (matches(record.key)) records.push(record);
    for (const { record } of this.#frozen.values())
      if (matches(record.key) && !this.#active.has(record.key)) records.push(record);
    return records;
  }
}

// What a record costs beside its bytes, about: the objects around it.
const entryOverheadBytes = 200;

function weigh(record: StoredRecord): number {
  return record.end - record.start + entryOverheadBytes;
}
