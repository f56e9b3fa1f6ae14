/**
 * The typed view on a store, with the methods and the meaning that programs
 * written against the Go store know. It holds nothing of its own: any number of views may
 * be made of one store, and the store is closed by whoever opened it.
 *
 * 1. A value is read as of one revision, all parts of it; reading now is reading as of the newest.
 * 2. A put or delete is one commit, under the condition that the key is still what the
 *    changes were made from. Without a revision given, one that lost a race is tried
 *    again; as each retry means that another writer was done, somebody always gets on.
 */
import {
  changesOf,
  type Codec,
  damaged,
  type FoldingCodec,
  foldNothing,
  isInView,
  loadValue,
} from "./key-value-codec.ts";
import { isCompacted, KeyValueError, toKeyValueError } from "./key-value-error.ts";
import { checkKey, checkRevision, checkText, invalid } from "./key-value-input.ts";
import { type KeyValueEvent, type VersionedValue, type WatchKeysOptions, watchKeys } from "./key-value-watch.ts";
import { type Entry, getMarked, type Store, StoreError } from "./store.ts";

/** Methods reject with KeyValueError; see its codes. Revisions are those of the store, one counter for all keys. */
export interface KeyValueStore<T> {
  /**
   * Stores the value, and resolves to its revision. With `revision` only if the
   * key's latest is that (0n: only if the key is absent, deleted included); CONFLICT otherwise.
   */
  put(key: string, value: T, options?: { revision?: bigint | undefined }): Promise<bigint>;

  /**
   * The value now, or as of `revision` (0n: now), with the revision that wrote
   * it; undefined where the key is absent (then). OUT_OF_RANGE for a revision to come, or one
   * whose history is gone.
   */
  get(key: string, options?: { revision?: bigint | undefined }): Promise<VersionedValue<T> | undefined>;

  /**
   * The changes of `key`, or with `prefix` of all keys that begin with it. It is
   * registered when this returns. Without `revision` it has what is new. With
   * it, it begins with what exists at that revision (0n: now), as puts of each
   * key's own revision, with `previous` where there is history of it; then every later
   * change once, all ordered by revision.
   *
   * Iteration throws KeyValueError, and ends without one when the signal is
   * aborted or the store is closed. OUT_OF_RANGE also when history is pruned past a slow consumer.
   */
  watch(key: string, options?: WatchKeysOptions): AsyncIterable<KeyValueEvent<T>>;

  /** Deletes the key; NOT_FOUND if it is absent. With `revision` only if its latest is that, CONFLICT otherwise; 0n is INVALID_ARGUMENT. */
  delete(key: string, options?: { revision?: bigint | undefined }): Promise<void>;

  /** The keys that begin with `prefix` ("": all), ordered by their UTF-8 bytes; at most `limit` (0: all). */
  listKeys(prefix: string, options?: { limit?: number | undefined }): Promise<string[]>;

  /**
   * What the key was from its latest creation on up to `revision` (0n: now),
   * oldest first, as far as history goes back. NOT_FOUND where the key is absent (then).
   */
  history(key: string, options?: HistoryOptions): Promise<HistoryEntry<T>[]>;
}

/** How far a history goes, and whether it has the values. */
export interface HistoryOptions {
  readonly revision?: bigint | undefined;
  /** Have the values, too; false by default. */
  readonly includeValues?: boolean | undefined;
}

/** One put of a key. */
export interface HistoryEntry<T> {
  readonly key: string;
  readonly revision: bigint;
  /** Only when asked for. */
  readonly value?: T;
}

/** Makes the view. A plain codec's has all versioned keys of the store, a folding one's those under its root. */
export function createKeyValueStore<T>(store: Store, codec: Codec<T> | FoldingCodec<T>): KeyValueStore<T> {
  return new StoreView(store, "load" in codec ? codec : foldNothing(codec));
}

/** How many entries are read at a time. */
const pageSize = 256;

class StoreView<T> implements KeyValueStore<T> {
  readonly #store: Store;
  readonly #codec: FoldingCodec<T>;

  constructor(store: Store, codec: FoldingCodec<T>) {
    this.#store = store;
    this.#codec = codec;
  }

  async put(key: string, value: T, options: { revision?: bigint | undefined } = {}): Promise<bigint> {
    checkKey(key);
    checkRevision(options.revision);
    if (!isInView(this.#codec, key)) throw invalid(`${JSON.stringify(key)} is not a key of this view`);
    if (value === undefined) throw invalid("the value must not be undefined");
    return await this.#replace(key, options.revision, (before) => {
      if (before?.corrupt) throw damaged(before);
      return value;
    });
  }

  async get(key: string, options: { revision?: bigint | undefined } = {}): Promise<VersionedValue<T> | undefined> {
    checkKey(key);
    checkRevision(options.revision);
    return await this.#readAsOf(options.revision, async (revision) => {
      const entry = await this.#entryAsOf(key, revision);
      return entry && { value: await this.#load(entry, revision), revision: entry.revision };
    });
  }

  watch(key: string, options: WatchKeysOptions = {}): AsyncIterable<KeyValueEvent<T>> {
    return watchKeys({ ...options, key, store: this.#store, codec: this.#codec, pageSize });
  }

  async delete(key: string, options: { revision?: bigint | undefined } = {}): Promise<void> {
    checkKey(key);
    checkRevision(options.revision);
    if (options.revision === 0n) throw invalid("there is nothing to delete at revision 0");
    await this.#replace(key, options.revision, (before) => {
      if (before === undefined) throw absent(key);
      return undefined;
    });
  }

  async listKeys(prefix: string, options: { limit?: number | undefined } = {}): Promise<string[]> {
    const { limit = 0 } = options;
    if (!Number.isSafeInteger(limit) || limit < 0)
      throw invalid(`limit must be a whole number from 0 up, not ${limit}`);
    checkText("prefix", prefix);
    const { root } = this.#codec;
    if (!prefix.startsWith(root) && !root.startsWith(prefix)) return [];
    const keys: string[] = [];
    let after: string | undefined;
    // All keys of one moment; of a list that takes longer than history lasts, the rest is of a later one, so that it can be finished.
    let moment = this.#store.revision();
    for (;;) {
      const pageLimit = limit === 0 ? pageSize : Math.min(pageSize, limit - keys.length);
      const scanned = { prefix: prefix.startsWith(root) ? prefix : root, after, limit: pageLimit };
      const page = await this.#readFrom(moment, (revision) => {
        moment = revision;
        return this.#store.scan({ ...scanned, revision });
      });
      for (const entry of page) if (isInView(this.#codec, entry.key)) keys.push(entry.key);
      after = page.at(-1)?.key;
      if (page.length < pageLimit || keys.length === limit) return keys;
    }
  }

  async history(key: string, options: HistoryOptions = {}): Promise<HistoryEntry<T>[]> {
    checkKey(key);
    checkRevision(options.revision);
    return await this.#readAsOf(options.revision, async (revision) => {
      const newest = await this.#versionAsOf(key, revision, options);
      if (newest === undefined) throw absent(key);
      const versions = [newest];
      for (let last = newest; last.previous !== 0n; ) {
        const older = await this.#versionAsOf(key, last.revision - 1n, options).catch(undefinedIfCompacted);
        if (older === undefined) break;
        versions.push(older);
        last = older;
      }
      return versions.reverse().map(({ previous: _, ...version }) => version);
    });
  }

  async #versionAsOf(key: string, revision: bigint, { includeValues = false }: HistoryOptions) {
    const entry = await this.#entryAsOf(key, revision);
    if (entry === undefined) return undefined;
    const version = { key, revision: entry.revision, previous: entry.previous };
    return includeValues ? { ...version, value: await this.#load(entry, revision) } : version;
  }

  async #entryAsOf(key: string, revision: bigint): Promise<Entry | undefined> {
    // Asked even where the key is none of the view's, as the revision may be none.
    const entry = await this.#store.get(key, { revision });
    return isInView(this.#codec, key) ? entry : undefined;
  }

  #load(entry: Entry, revision: bigint): Promise<T> {
    return loadValue(this.#codec, entry, this.#store, revision);
  }

  /** Reads as of the revision, or as of now: then again, should that have become history that is gone. */
  async #readAsOf<R>(revision: bigint | undefined, read: (revision: bigint) => Promise<R>): Promise<R> {
    if (!revision) return this.#readFrom(this.#store.revision(), read);
    try {
      return await read(revision);
    } catch (error) {
      throw toKeyValueError(error);
    }
  }

  /** Reads as of the revision, or should that have become history that is gone, as of now. */
  async #readFrom<R>(revision: bigint, read: (revision: bigint) => Promise<R>): Promise<R> {
    for (let asOf = revision; ; asOf = this.#store.revision()) {
      try {
        return await read(asOf);
      } catch (error) {
        const isOvertaken = isCompacted(error) && this.#store.revision() > asOf;
        if (!isOvertaken) throw toKeyValueError(error);
      }
    }
  }

  async #replace(
    key: string,
    revision: bigint | undefined,
    replacement: (before: Entry | undefined) => T | undefined,
  ): Promise<bigint> {
    for (;;) {
      const before = await this.#newest(key);
      const now = before?.revision ?? 0n;
      if (revision !== undefined && now !== revision) throw conflict(key, revision, now);
      const changes = changesOf(this.#codec, key, before, replacement(before));
      try {
        return await this.#store.commit(changes, [{ key, revision: now }]);
      } catch (error) {
        const isLostRace = error instanceof StoreError && error.code === "CONFLICT";
        if (!isLostRace || revision !== undefined) throw toKeyValueError(error);
      }
    }
  }

  /** The newest entry, marked where it is corrupt: that can be deleted still. */
  async #newest(key: string): Promise<Entry | undefined> {
    if (!isInView(this.#codec, key)) return undefined;
    try {
      return await getMarked(this.#store, key);
    } catch (error) {
      throw toKeyValueError(error);
    }
  }
}

function undefinedIfCompacted(error: unknown): undefined {
  if (!isCompacted(error)) throw error;
}

function absent(key: string): KeyValueError {
  return new KeyValueError("NOT_FOUND", `${JSON.stringify(key)} is absent`);
}

function conflict(key: string, wanted: bigint, now: bigint): KeyValueError {
  const is = now === 0n ? "is absent" : `is at revision ${now}`;
  return new KeyValueError(
    "CONFLICT",
    `${JSON.stringify(key)} ${is}, and not ${wanted === 0n ? "absent" : `at ${wanted}`}`,
  );
}
