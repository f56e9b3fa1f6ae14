/**
 * One opened LevelDB database and what its parts share: how far it is
 * committed, materialized and let go, the overlay, the caches. Reopening makes a new session.
 *
 * States: sound -> fenced (a write failed) or closed.
 *
 * 1. floor <= lastCheckpoint <= materialized <= revision; none of them falls.
 * 2. Nothing is written by a fenced session, nor read through it: its handle cannot be trusted.
 * 3. Whatever holds a LevelDB snapshot (iterators, and gets while they are under way) is
 *    inside `gate`, and whatever deletes versions is alone in it: so no snapshot lies between the writing of an
 *    entry and its deletion, and the stale read of LevelDB 1.20 cannot happen.
 */
import { RecentMap } from "../async/recent-map.ts";
import { RwGate } from "../async/rw-gate.ts";
import type { LevelDatabase, LevelIterator, LevelOperation, LevelRange } from "./level-database.ts";
import type { ResolvedLevelStoreOptions } from "./level-options.ts";
import { KeyFilter } from "./level-filter.ts";
import { Overlay } from "./level-overlay.ts";
import { NewestSeeks } from "./level-seeks.ts";
import { recordTypes, recordValue, type StoredRecord } from "./record.ts";
import { StoreError } from "./store.ts";
import { absent } from "./level-version.ts";

export interface Checkpoint {
  readonly watermark: number;
  readonly wallMs: number;
  /** The bytes of the journal between the checkpoint before and this one. */
  readonly journalBytes: number;
}

export class LevelSession {
  readonly db: LevelDatabase;
  readonly options: ResolvedLevelStoreOptions;
  readonly gate = new RwGate();
  readonly overlay = new Overlay();
  /** The newest commit that is durable. */
  revision = 0;
  /** Up to here everything is in LevelDB as versions. */
  materialized = 0;
  /** History starts here. */
  floor = 0;
  /** Those above the floor, oldest first. */
  checkpoints: Checkpoint[] = [];
  /** The bytes of the journal since the last checkpoint. */
  journalBytes = 0;
  readonly filter = new KeyFilter();
  /** Where the last walk back through the versions of a key has ended. What was once a change at a revision stays that. */
  readonly walked = new RecentMap<string, { readonly revision: number; readonly previous: number }>({
    maxEntries: 1_024,
    maxWeight: Number.POSITIVE_INFINITY,
    weigh: () => 0,
  });
  /** Counts the rounds that are through: what was read before one may be old after it. */
  rounds = 0;
  readonly #newest: RecentMap<string, CachedRecord>;
  /** The revisions of index entries without a value, which are most: whoever takes one away needs to know that, and nobody more. */
  readonly #markers: RecentMap<string, number>;
  readonly #newestMaxBytes: number;
  readonly #seeks = new NewestSeeks(this);
  #failure: StoreError | undefined;
  #lastWrite: Promise<void> = Promise.resolve();

  constructor(db: LevelDatabase, options: ResolvedLevelStoreOptions) {
    this.db = db;
    this.options = options;
    this.#newest = new RecentMap({ maxEntries: options.cacheMaxEntries, maxWeight: options.cacheMaxBytes, weigh });
    const maxEntries = markersForEachEntry * options.cacheMaxEntries;
    this.#markers = new RecentMap({ maxEntries, maxWeight: Number.POSITIVE_INFINITY, weigh: () => 0 });
    this.#newestMaxBytes = options.cacheMaxBytes / 64;
  }

  get lastCheckpoint(): number {
    return this.checkpoints.at(-1)?.watermark ?? this.floor;
  }

  /** Why the session is fenced or closed; undefined while it is sound. */
  get failure(): StoreError | undefined {
    return this.#failure;
  }

  /** Ends the session's use of its handle. The first reason stays. */
  fence(message: string, cause?: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = new StoreError("UNAVAILABLE", message, { cause });
    if (cause !== undefined) this.options.log.error({ err: cause }, message);
  }

  assertSound(): void {
    // A new error each time: its stack is the caller's.
    if (this.#failure !== undefined) {
      throw new StoreError("UNAVAILABLE", this.#failure.message, { cause: this.#failure.cause });
    }
  }

  /**
   * Writes, one batch at a time: what LevelDB appends to its log behind a failed append may be dropped when the log is
   * read, so nothing may be under way then that would be reported as written. A failure fences the session and is
   * thrown as UNAVAILABLE, applied "maybe"; what waited behind it, or comes later, was not applied.
   */
  write(operations: LevelOperation[], sync: boolean): Promise<void> {
    const written = this.#lastWrite.then(() => this.#write(operations, sync));
    this.#lastWrite = written.catch(() => {});
    return written;
  }

  /** Runs `work` while no batch is being written; those that come wait. */
  betweenWrites<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#lastWrite.then(work);
    this.#lastWrite = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  /**
   * Writes what deletes, while no snapshot is held. Synced, all of it. LevelDB changes log files: the end of one could be lost while
   * what came later is on disk in the next, and a watermark would promise what is not there. And so what a power cut tears is one batch, which
   * tells a torn end of a log from a hole in it (level-log.ts).
   */
  writeAlone(operations: LevelOperation[]): Promise<void> {
    return this.gate.alone(() => this.write(operations, this.options.durability === "sync"));
  }

  async #write(operations: LevelOperation[], sync: boolean): Promise<void> {
    this.assertSound();
    try {
      await this.db.batch(operations, { sync });
    } catch (cause) {
      this.fence("writing to the store failed; it has to be reopened", cause);
      throw new StoreError("UNAVAILABLE", "writing to the store failed", { cause, applied: "maybe" });
    }
  }

  /** The value of a LevelDB key. */
  read(key: Buffer): Promise<Buffer | undefined> {
    return this.#lookUp(() => this.db.get(key));
  }

  /** Which of the LevelDB keys are there. */
  has(keys: Buffer[]): Promise<boolean[]> {
    return this.#lookUp(() => this.db.hasMany(keys));
  }

  async #lookUp<T>(look: () => Promise<T>): Promise<T> {
    await this.gate.enter();
    try {
      this.assertSound();
      return await look();
    } catch (cause) {
      throw this.#readFailure(cause);
    } finally {
      this.gate.leave();
    }
  }

  /** Opens an iterator for `use`, which is called in the tick of its snapshot and gets it for as long as it runs. */
  async iterate<T>(range: LevelRange, use: (iterator: LevelIterator) => Promise<T>): Promise<T> {
    const entering = this.gate.enter();
    if (entering !== undefined) await entering;
    let iterator: LevelIterator | undefined;
    try {
      this.assertSound();
      iterator = this.db.iterator(range);
      return await use(iterator);
    } catch (cause) {
      throw this.#readFailure(cause);
    } finally {
      // What fails to close goes with the handle.
      await iterator?.close().catch(() => {});
      this.gate.leave();
    }
  }

  /** A read may fail once; but what LevelDB found to be damaged is so for all who come by. */
  #readFailure(cause: unknown): StoreError {
    if (cause instanceof StoreError) return cause;
    if (cause instanceof Error && (cause as { code?: unknown }).code === "LEVEL_CORRUPTION") {
      this.fence("the store is damaged", cause);
    }
    return new StoreError("UNAVAILABLE", "reading from the store failed", { cause });
  }

  /** The first entry of a range. */
  first(range: LevelRange): Promise<[Buffer, Buffer] | undefined> {
    return this.iterate({ ...range, limit: 1 }, async (iterator) => (await iterator.nextv(1))[0]);
  }

  /** The newest version of a key as far as memory knows; `absent` where it is known to have none. */
  known(key: string): StoredRecord | undefined {
    // The filter before the cache: most keys that are asked for are new, or so new that they are in the overlay.
    return this.overlay.get(key) ?? (this.filter.excludes(key) ? absent : this.#newest.get(key));
  }

  /** The newest version of a key that memory does not know; `absent` for none. Damaged ones are returned as such. */
  seekNewest(key: string): Promise<StoredRecord> {
    return this.#seeks.seek(key);
  }

  /** Remembers the newest version of a key. */
  cacheNewest(key: string, record: StoredRecord): void {
    if (isMarker(record)) this.#markers.set(key, record.revision);
    else this.#markers.delete(key);
    const isKept = !isMarker(record) && record.end - record.start <= this.#newestMaxBytes;
    // Also of one that is not kept: that there was nothing may be what is known so far.
    if (isKept) this.#newest.set(key, new CachedRecord(record));
    else this.#newest.delete(key);
  }

  /** Forgets what is no longer the newest version of a key. */
  uncacheNewest(key: string): void {
    this.#newest.delete(key);
    this.#markers.delete(key);
  }

  /** The revision of an index entry in LevelDB; 0 for none, undefined where only LevelDB knows. */
  readonly materializedIndex = (key: string): number | undefined =>
    this.#markers.get(key) ?? this.#newest.get(key)?.revision;
}

/**
 * A record as the cache keeps it, its bytes as a text of one byte a letter: that is a plain object of the heap. A small Buffer would keep the whole piece of 8 KiB
 * that it shares with what was allocated beside it, and one with memory of its own takes as long as a sixth of a launch.
 */
class CachedRecord implements StoredRecord {
  readonly type: StoredRecord["type"];
  readonly key: string;
  readonly revision: number;
  readonly previous: number;
  readonly start = 0;
  readonly end: number;
  readonly valueStart: number;
  readonly damage: StoredRecord["damage"];
  readonly #text: string;

  constructor({ type, key, revision, previous, bytes, start, end, valueStart, damage }: StoredRecord) {
    this.type = type;
    this.key = key;
    this.revision = revision;
    this.previous = previous;
    this.end = end - start;
    this.valueStart = valueStart - start;
    this.damage = damage;
    this.#text = bytes.toString("latin1", start, end);
  }

  get bytes(): Buffer {
    return Buffer.from(this.#text, "latin1");
  }
}

/** A task has about so many of them beside its own entry. */
const markersForEachEntry = 4;

function isMarker(record: StoredRecord): boolean {
  return record.type === recordTypes.index && recordValue(record).length === 0;
}

function weigh(record: CachedRecord): number {
  return record.end - record.start + 300;
}
