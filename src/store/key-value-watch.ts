/**
 * The watch of the typed view: what exists at a revision, then what changes.
 *
 * States: existing (only where a revision was given) -> changing -> ended.
 *
 * 1. The store's watch is asked for when the view's is, so nothing after it is missed.
 * 2. What exists is held as keys and revisions only, to be ordered; the values are read one by one.
 * 3. A change's `previous` is what the key was before it: any history that has the change has that, too.
 */
import { type FoldingCodec, isInView, loadValue } from "./key-value-codec.ts";
import { isCompacted, KeyValueError, toKeyValueError } from "./key-value-error.ts";
import { checkKey, checkRevision, checkText } from "./key-value-input.ts";
import { type Entry, getMarked, type Store, StoreError, type StoreEvent } from "./store.ts";

/** A value, and when it was put. */
export interface VersionedValue<T> {
  readonly value: T;
  /** The revision of the commit that wrote it. */
  readonly revision: bigint;
}

/** Where a watch begins, what it has, and what ends it. */
export interface WatchKeysOptions {
  /** Begin with what exists at this revision (0n: now); undefined: only what is new. */
  readonly revision?: bigint | undefined;
  /** Take the key for a plain string prefix; "" is all keys. */
  readonly prefix?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A change of a key; at the beginning of a watch from a revision also the key as it was then. */
export interface KeyValueEvent<T> {
  readonly type: "put" | "delete";
  readonly key: string;
  /** The revision of the change. */
  readonly revision: bigint;
  /** What was put; unset for a delete. */
  readonly current?: VersionedValue<T>;
  /** What was replaced or deleted; unset where the key was absent. */
  readonly previous?: VersionedValue<T>;
  /** The stored bytes of current or previous are damaged, and it is unset for that. */
  readonly corrupt?: true;
}

export interface WatchViewOptions<T> extends WatchKeysOptions {
  readonly key: string;
  readonly store: Store;
  readonly codec: FoldingCodec<T>;
  readonly pageSize: number;
}

/** See KeyValueStore.watch. */
export function watchKeys<T>(options: WatchViewOptions<T>): AsyncIterableIterator<KeyValueEvent<T>> {
  const watch = new ViewWatch(options);
  const events = watch.events();
  return {
    next: () => events.next(),
    async return() {
      // A generator that waits cannot be returned from: what it waits for is ended first.
      await watch.stop();
      return events.return(undefined);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

class ViewWatch<T> {
  readonly #options: WatchViewOptions<T>;
  readonly #changes: AsyncIterator<StoreEvent[]>;
  /** What exists at it comes first; undefined for only what is new. */
  readonly #start: bigint | undefined;
  readonly #failure: KeyValueError | undefined;

  constructor(options: WatchViewOptions<T>) {
    const { store, key, revision, signal } = options;
    const now = store.revision();
    this.#options = options;
    this.#start = revision === undefined ? undefined : revision || now;
    this.#failure = failureOf(options, now);
    const after = this.#failure === undefined ? (this.#start ?? now) : now;
    const prefix = this.#failure === undefined ? key : "";
    this.#changes = store.watch({ prefix, after, signal })[Symbol.asyncIterator]();
  }

  async *events(): AsyncGenerator<KeyValueEvent<T>, undefined> {
    try {
      if (this.#isAborted()) return undefined;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#start !== undefined) yield* this.#existing(this.#start);
      while (!this.#isAborted()) {
        const step = await this.#changes.next();
        if (step.done) return undefined;
        for (const change of step.value) {
          if (!this.#concerns(change.key)) continue;
          const event = await this.#toEvent(change);
          if (this.#isAborted()) return undefined;
          yield event;
        }
      }
      return undefined;
    } catch (error) {
      if (this.#isAborted()) return undefined;
      throw toKeyValueError(error);
    } finally {
      await this.stop();
    }
  }

  async stop(): Promise<void> {
    await this.#changes.return?.();
  }

  async *#existing(revision: bigint): AsyncGenerator<KeyValueEvent<T>, void> {
    for (const { key } of await this.#existingKeys(revision)) {
      const entry = await getMarked(this.#options.store, key, revision);
      if (this.#isAborted()) return;
      if (entry === undefined) continue;
      const current = await this.#load(entry, revision);
      const previous =
        entry.previous === 0n ? undefined : await this.#valueAsOf(key, entry.revision - 1n).catch(undefinedIfCompacted);
      if (this.#isAborted()) return;
      yield toPut(entry, current, previous);
    }
  }

  /** In order of their revisions. */
  async #existingKeys(revision: bigint): Promise<{ key: string; revision: bigint }[]> {
    const { store, key, prefix = false, codec, pageSize } = this.#options;
    if (!prefix) return this.#concerns(key) ? [{ key, revision }] : [];
    if (!key.startsWith(codec.root) && !codec.root.startsWith(key)) return [];
    const keys: { key: string; revision: bigint }[] = [];
    const scanned = key.startsWith(codec.root) ? key : codec.root;
    let after: string | undefined;
    for (;;) {
      const page = await store.scan({ prefix: scanned, after, limit: pageSize, revision });
      after = page.at(-1)?.key;
      for (const entry of page) if (isInView(codec, entry.key)) keys.push({ key: entry.key, revision: entry.revision });
      if (page.length < pageSize || this.#isAborted()) break;
    }
    return keys.sort((a, b) => (a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0));
  }

  async #toEvent(change: StoreEvent): Promise<KeyValueEvent<T>> {
    const { key, revision } = change;
    const previous = change.previous === 0n ? undefined : await this.#valueBefore(change);
    if (change.type === "put") return toPut(change, await this.#load(change, revision), previous);
    return { type: "delete", key, revision, ...partOf("previous", previous) };
  }

  /**
   * What a change found: as of the change before, which is found at once; where history does not go back to that any more,
   * as of one revision before it.
   */
  async #valueBefore({ key, revision, previous }: StoreEvent): Promise<Part<T>> {
    try {
      if (previous >= this.#options.store.firstRevision()) return await this.#valueAsOf(key, previous);
    } catch (error) {
      if (!isCompacted(error)) throw error;
    }
    return this.#valueAsOf(key, revision - 1n);
  }

  /** What the key was as of the revision. */
  async #valueAsOf(key: string, revision: bigint): Promise<Part<T>> {
    const entry = await getMarked(this.#options.store, key, revision);
    return entry && (await this.#load(entry, revision));
  }

  async #load(entry: Entry, revision: bigint): Promise<Part<T>> {
    const { codec, store } = this.#options;
    try {
      return { value: await loadValue(codec, entry, store, revision), revision: entry.revision };
    } catch (error) {
      const isDamaged = error instanceof KeyValueError || (error instanceof StoreError && error.code === "CORRUPT");
      if (!isDamaged) throw error;
      return "damaged";
    }
  }

  #concerns(key: string): boolean {
    const { key: asked, prefix = false, codec } = this.#options;
    return (prefix ? key.startsWith(asked) : key === asked) && isInView(codec, key);
  }

  #isAborted(): boolean {
    return this.#options.signal?.aborted === true;
  }
}

type Part<T> = VersionedValue<T> | "damaged" | undefined;

function toPut<T>(entry: Entry | StoreEvent, current: Part<T>, previous: Part<T>): KeyValueEvent<T> {
  const { key, revision } = entry;
  return { type: "put", key, revision, ...partOf("current", current), ...partOf("previous", previous) };
}

function partOf<T>(name: "current" | "previous", part: Part<T>): Pick<KeyValueEvent<T>, typeof name | "corrupt"> {
  if (part === undefined) return {};
  return part === "damaged" ? { corrupt: true } : { [name]: part };
}

/** What is wrong with the call, as of the moment it was made. */
function failureOf<T>({ key, prefix, revision }: WatchViewOptions<T>, now: bigint): KeyValueError | undefined {
  try {
    if (prefix) checkText("a prefix", key);
    else checkKey(key);
    checkRevision(revision);
  } catch (error) {
    if (error instanceof KeyValueError) return error;
    throw error;
  }
  if (revision === undefined || revision <= now) return undefined;
  return new KeyValueError("OUT_OF_RANGE", `revision ${revision} is ahead of the store, which is at ${now}`);
}

function undefinedIfCompacted(error: unknown): undefined {
  if (!isCompacted(error)) throw error;
}
