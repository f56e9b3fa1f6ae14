/**
 * The store in memory: all of the seam's behaviour, and nothing that survives
 * the process. For tests, and for tasks that need not outlive a crash.
 *
 * Owns: the newest version of each key, the chain of older ones behind it, the log of its
 * commits (memory-log.ts), and the watches that read that (memory-watch.ts).
 *
 * States: open, then closed for good.
 *
 * 1. A commit is checked and applied in one synchronous step, so no two are
 *    ever under way, and what a read or a page of a scan sees is one moment.
 * 2. The log ends with the commit of `#revision`.
 * 3. History is let go when it is too old, at the next call that looks at it, and when
 *    it is too large, by the commit that makes it so; the newest commit stays then.
 * 4. Bytes are copied on their way in and out: nobody outside shares them.
 */
import { type Clock, systemClock } from "../clock.ts";
import { CommitLog, type Version } from "./memory-log.ts";
import { MemoryWatches } from "./memory-watch.ts";
import {
  checkChanges,
  checkKey,
  checkNextChanges,
  checkRevision,
  checkScan,
  checkText,
  invalid,
  kindOf,
} from "./store-input.ts";
import { SortedKeys } from "./sorted-keys.ts";
import {
  type Change,
  type Condition,
  type Entry,
  type GetOptions,
  type NextChanges,
  type ScanOptions,
  type Store,
  StoreError,
  type StoreWatch,
  type WatchOptions,
} from "./store.ts";

export interface MemoryStoreOptions {
  /** What the age of history is measured with; the machine's clock by default. */
  readonly clock?: Clock | undefined;
  /** How long history is kept; an hour by default. */
  readonly historyMs?: number | undefined;
  /** How many bytes of history are kept, what it costs to hold them included; 1 GiB by default. */
  readonly historyBytes?: number | undefined;
}

/** Opens an empty store in memory. Throws StoreError INVALID where an option is wrong. */
export async function openMemoryStore(options: MemoryStoreOptions = {}): Promise<Store> {
  return new MemoryStore(resolveOptions(options));
}

type ResolvedOptions = { readonly clock: Clock; readonly historyMs: number; readonly historyBytes: number };

function resolveOptions(options: MemoryStoreOptions): ResolvedOptions {
  const { clock = systemClock, historyMs = 3_600_000, historyBytes = 1024 ** 3 } = options;
  for (const [name, value] of Object.entries({ historyMs, historyBytes })) {
    if (!(value >= 0)) throw new StoreError("INVALID", `${name} must be a number from 0 up, not ${value}`);
  }
  return { clock, historyMs, historyBytes };
}

class MemoryStore implements Store {
  readonly kind = "memory";
  readonly durability = "none";
  readonly #options: ResolvedOptions;
  readonly #newest = new Map<string, Version>();
  readonly #keys = new SortedKeys();
  readonly #watches: MemoryWatches;
  readonly #log = new CommitLog();
  #revision = 0n;
  #closed = false;

  constructor(options: ResolvedOptions) {
    this.#options = options;
    this.#watches = new MemoryWatches((position, prefix) => {
      this.#dropOldHistory();
      if (position < this.#log.floor) throw this.#compacted(position);
      return this.#log.eventsAfter(position, prefix);
    });
  }

  revision(): bigint {
    return this.#revision;
  }

  firstRevision(): bigint {
    this.#dropOldHistory();
    return this.#log.floor;
  }

  async get(key: string, options: GetOptions = {}): Promise<Entry | undefined> {
    this.#checkOpen();
    checkKey(key);
    if (options.revision !== undefined) this.#checkRevision(options.revision);
    if (options.deleted === true) this.#dropOldHistory();
    const version = this.#versionAsOf(key, options.revision);
    if (version === undefined) return undefined;
    if (version.value !== undefined) return toEntry(version, version.value);
    return options.deleted === true ? { ...toEntry(version, new Uint8Array(0)), deleted: true } : undefined;
  }

  async scan(options: ScanOptions): Promise<Entry[]> {
    const { prefix, after, limit, reverse = false, revision } = options;
    this.#checkOpen();
    checkScan(options);
    if (revision !== undefined) this.#checkRevision(revision);
    const entries: Entry[] = [];
    for (const key of this.#keys.range(prefix, after, reverse)) {
      if (entries.length >= limit) break;
      const version = this.#versionAsOf(key, revision);
      if (version?.value !== undefined) entries.push(toEntry(version, version.value));
    }
    return entries;
  }

  async commit(changes: readonly Change[], conditions: readonly Condition[] = [], next?: NextChanges): Promise<bigint> {
    this.#checkOpen();
    for (const { key } of conditions) checkKey(key);
    checkChanges(changes);
    // Conditions first: that a key is indexed already is what the loser of a race for it runs into.
    for (const condition of conditions) this.#checkCondition(condition);
    const following = next && checkNextChanges(changes, next(this.#revision + 1n));
    this.#checkKinds(following === undefined ? changes : [...changes, ...following]);

    const revision = this.#applyAll(changes);
    if (following !== undefined) this.#applyAll(following);
    return revision;
  }

  #applyAll(changes: readonly Change[]): bigint {
    this.#revision += 1n;
    const versions = changes.map((change) => this.#apply(change)).filter((version) => version !== undefined);
    this.#log.push(this.#options.clock.mono(), versions);
    this.#dropOldHistory();
    while (this.#log.bytes > this.#options.historyBytes && this.#log.floor + 1n < this.#revision)
      this.#dropOldestCommit();
    this.#watches.committed(this.#revision, versions);
    return this.#revision;
  }

  watch(options: WatchOptions): StoreWatch {
    // Looked at now and not at the first next(): by then the revision may be one of the past.
    const failure = this.#watchFailure(options);
    return this.#watches.open(options, failure);
  }

  async reopen(): Promise<void> {
    this.#checkOpen();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watches.close();
  }

  #watchFailure({ prefix, after }: WatchOptions): StoreError | undefined {
    try {
      checkText("prefix", prefix);
      this.#checkRevision(after);
      return undefined;
    } catch (error) {
      if (error instanceof StoreError) return error;
      throw error;
    }
  }

  #versionAsOf(key: string, revision: bigint | undefined): Version | undefined {
    let version = this.#newest.get(key);
    if (revision === undefined) return version;
    if (version?.kind !== "versioned") return undefined;
    while (version !== undefined && version.revision > revision) version = version.older;
    return version;
  }

  #apply(change: Change): Version | undefined {
    const { key } = change;
    const before = this.#newest.get(key);
    if (change.type === "unindex") {
      if (before !== undefined) this.#forget(key);
      return undefined;
    }
    const revision = this.#revision;
    if (change.type === "index" || change.type === "add") {
      const isCounter = change.type === "add";
      const value = isCounter ? sum(before?.value, change.delta) : new Uint8Array(change.value);
      const kind = isCounter ? "counter" : "index";
      this.#set({ key, kind, value, revision, previous: 0n, older: undefined });
      return undefined;
    }
    if (change.type === "delete" && before?.value === undefined) return undefined;
    const value = change.type === "put" ? new Uint8Array(change.value) : undefined;
    const previous = before?.revision ?? 0n;
    const version: Version = { key, kind: "versioned", value, revision, previous, older: before };
    this.#set(version);
    return version;
  }

  #set(version: Version): void {
    if (!this.#newest.has(version.key)) this.#keys.add(version.key);
    this.#newest.set(version.key, version);
  }

  #forget(key: string): void {
    this.#newest.delete(key);
    this.#keys.delete(key);
  }

  #dropOldHistory(): void {
    const since = this.#options.clock.mono() - this.#options.historyMs;
    while ((this.#log.oldestMs ?? since) < since) this.#dropOldestCommit();
  }

  #dropOldestCommit(): void {
    for (const version of this.#log.shift()) {
      if (version.value === undefined && this.#newest.get(version.key) === version) this.#forget(version.key);
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreError("UNAVAILABLE", "the store is closed");
  }

  #checkRevision(revision: bigint): void {
    checkRevision(revision);
    if (revision > this.#revision) {
      throw new StoreError("FUTURE", `revision ${revision} is ahead of the store, which is at ${this.#revision}`);
    }
    this.#dropOldHistory();
    if (revision < this.#log.floor) throw this.#compacted(revision);
  }

  #compacted(revision: bigint): StoreError {
    const message = `the history of revision ${revision} is gone; the first revision there is is ${this.#log.floor}`;
    return new StoreError("COMPACTED", message, { firstRevision: this.#log.floor });
  }

  #checkCondition({ key, revision }: Condition): void {
    const version = this.#newest.get(key);
    const now = version?.value === undefined ? 0n : version.revision;
    if (now === revision) return;
    const is = now === 0n ? "absent" : `at revision ${now}`;
    const wanted = revision === 0n ? "absent" : `at revision ${revision}`;
    throw new StoreError("CONFLICT", `${JSON.stringify(key)} is ${is} and not ${wanted}`, { key });
  }

  /** A key is of one kind, and indexed only while it is absent. */
  #checkKinds(changes: readonly Change[]): void {
    for (const [i, { type, key }] of changes.entries()) {
      const before = this.#newest.get(key);
      if (before === undefined) continue;
      if (before.kind !== kindOf(type))
        throw invalid(`${JSON.stringify(key)} is ${before.kind}, and not for "${type}"`, key);
      if (type !== "index") continue;
      const isTakenOut = changes.slice(0, i).some((other) => other.type === "unindex" && other.key === key);
      if (!isTakenOut) throw invalid(`${JSON.stringify(key)} is indexed already`, key);
    }
  }
}

function toEntry({ key, revision, previous }: Version, value: Uint8Array): Entry {
  return { key, value: new Uint8Array(value), revision, previous };
}

function sum(value: Uint8Array | undefined, delta: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  if (value !== undefined) bytes.set(value);
  view.setBigInt64(0, view.getBigInt64(0) + delta);
  return bytes;
}
