import type {
  Change,
  Condition,
  Entry,
  GetOptions,
  ScanOptions,
  Store,
  StoreWatch,
  WatchOptions,
  NextChanges,
} from "../../src/store/store.ts";

/**
 * One process's handle on a store that lives on. Once `cut`, the process is dead as far as the store can tell:
 * no call settles any more, and none reaches the store.
 */
export class CutStore implements Store {
  readonly kind: string;
  readonly durability: Store["durability"];
  /** How many commits were made through this handle. */
  commits = 0;
  readonly #inner: Store;
  #cutAtCommit = Number.POSITIVE_INFINITY;
  #isApplied = false;
  #isCut = false;

  constructor(inner: Store) {
    this.kind = inner.kind;
    this.durability = inner.durability;
    this.#inner = inner;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  cut(): void {
    this.#isCut = true;
  }

  /** The process will die with the `nth` commit from now: before it, or, with `applied`, after it and before its answer. */
  cutAtCommit(nth: number, { applied }: { applied: boolean }): void {
    this.#cutAtCommit = this.commits + nth;
    this.#isApplied = applied;
  }

  revision(): bigint {
    return this.#inner.revision();
  }

  firstRevision(): bigint {
    return this.#inner.firstRevision();
  }

  get(key: string, options?: GetOptions): Promise<Entry | undefined> {
    return this.#alive(() => this.#inner.get(key, options));
  }

  scan(options: ScanOptions): Promise<Entry[]> {
    return this.#alive(() => this.#inner.scan(options));
  }

  commit(changes: readonly Change[], conditions?: readonly Condition[], next?: NextChanges): Promise<bigint> {
    return this.#alive(() => {
      this.commits += 1;
      this.#isCut = this.commits >= this.#cutAtCommit;
      return this.#isCut && !this.#isApplied ? never() : this.#inner.commit(changes, conditions, next);
    });
  }

  watch(options: WatchOptions): StoreWatch {
    return this.#inner.watch(options);
  }

  reopen(): Promise<void> {
    return this.#alive(() => this.#inner.reopen());
  }

  async close(): Promise<void> {}

  async #alive<T>(call: () => Promise<T>): Promise<T> {
    // Never in the caller's own tick: no store on a disk answers so.
    await Promise.resolve();
    if (this.#isCut) return never();
    try {
      const value = await call();
      return this.#isCut ? await never() : value;
    } catch (error) {
      if (this.#isCut) return never();
      throw error;
    }
  }
}

function never(): Promise<never> {
  return new Promise(() => {});
}
