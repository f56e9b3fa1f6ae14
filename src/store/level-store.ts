/**
 * The store in a directory, on LevelDB. How it lies there, and why, is in
 * docs/storage.md; this file is its life from opening to close.
 *
 * Owns: the lock on the directory, the database's handle, what runs behind the commits, and the parked watches.
 *
 * States: open -> (a write fails: the session is fenced) -> reopening -> open ..., and closed from any, for good.
 *
 * 1. A session is replaced only after its handle is closed: two never write the same directory.
 * 2. A reopened store is never behind what it has acknowledged; if its disk is, it stays unavailable.
 * 3. After close has resolved nothing is left: no timer, no handle, no parked watch.
 */
import { promised } from "../async/promised.ts";
import { checkChanges, checkKey, checkRevision, checkScan, checkText } from "./store-input.ts";
import { type LiveBackup, liveBackup } from "./level-backup.ts";
import { cutLive } from "./level-cut.ts";
import { enterDirectory } from "./level-directory.ts";
import type { DirectoryLock } from "./level-lock.ts";
import { type LevelStoreOptions, type ResolvedLevelStoreOptions, resolveLevelStoreOptions } from "./level-options.ts";
import { assertReadable, readEntry } from "./level-reader.ts";
import { letGo, run, type Running } from "./level-running.ts";
import { scanAsOf, scanNewest } from "./level-scan.ts";
import { ParkedWatches, watchJournal } from "./level-watch.ts";
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

/** A store that can be copied while it is open. */
export type BackedUpStore = Store & { openBackup(): Promise<LiveBackup> };

type State =
  | { readonly kind: "open"; readonly running: Running }
  | { readonly kind: "reopening"; readonly revision: number; readonly floor: number; readonly reopened: Promise<void> }
  /** A reopening failed; the next may not. `running`, if there is one, is still to be let go. */
  | {
      readonly kind: "down";
      readonly revision: number;
      readonly floor: number;
      readonly cause: unknown;
      readonly running: Running | undefined;
    }
  | { readonly kind: "closed"; readonly revision: number; readonly floor: number; readonly closed: Promise<void> };

/**
 * Opens the store in `directory`, making one if there is nothing. Throws StoreError
 * DAMAGED, LOCKED, UNAVAILABLE, and INVALID where an option is wrong.
 */
export async function openLevelStore(directory: string, options: LevelStoreOptions = {}): Promise<BackedUpStore> {
  const resolved = resolveLevelStoreOptions(options);
  const lock = await enterDirectory(directory);
  try {
    const parked = new ParkedWatches();
    return new LevelStore(lock, resolved, parked, await run({ lock, options: resolved, parked }));
  } catch (error) {
    await lock.release();
    throw error;
  }
}

class LevelStore implements Store {
  readonly kind = "level";
  readonly durability: "sync" | "async";
  readonly #lock: DirectoryLock;
  readonly #options: ResolvedLevelStoreOptions;
  readonly #parked: ParkedWatches;
  #state: State;

  constructor(lock: DirectoryLock, options: ResolvedLevelStoreOptions, parked: ParkedWatches, running: Running) {
    this.durability = options.durability;
    this.#lock = lock;
    this.#options = options;
    this.#parked = parked;
    this.#state = { kind: "open", running };
  }

  revision(): bigint {
    return BigInt(this.#position().revision);
  }

  firstRevision(): bigint {
    return BigInt(this.#position().floor);
  }

  async get(key: string, options: GetOptions = {}): Promise<Entry | undefined> {
    const { session, journal } = this.#running();
    checkKey(key);
    return readEntry(session, journal, key, options);
  }

  async scan(options: ScanOptions): Promise<Entry[]> {
    const { session, journal } = this.#running();
    const { prefix, after, limit, reverse = false } = options;
    checkScan(options);
    const revision = options.revision === undefined ? undefined : checkRevision(options.revision);
    const page = { prefix, after, limit, reverse };
    if (revision === undefined) return limit === 0 ? [] : scanNewest(session, page);
    assertReadable(session, revision);
    return limit === 0 ? [] : scanAsOf(session, journal, page, revision);
  }

  commit(changes: readonly Change[], conditions: readonly Condition[] = [], next?: NextChanges): Promise<bigint> {
    return promised(() => {
      const { session, committer } = this.#running();
      session.assertSound();
      checkChanges(changes);
      for (const { key } of conditions) checkKey(key);
      return committer.commit(changes, conditions, next);
    });
  }

  watch(options: WatchOptions): StoreWatch {
    let failure: StoreError | undefined;
    try {
      checkText("prefix", options.prefix);
      assertReadable(this.#running().session, checkRevision(options.after));
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      failure = error;
    }
    return watchJournal({
      source: () => (this.#state.kind === "closed" ? undefined : this.#running()),
      parked: this.#parked,
      newest: () => Number(this.revision()),
      prefix: options.prefix,
      after: Number(options.after),
      signal: options.signal,
      failure: this.#state.kind === "closed" ? undefined : failure,
    });
  }

  /** A backup of this moment, with all that was acknowledged; commits wait while it begins, for some milliseconds. Whoever opens it disposes of it. */
  async openBackup(): Promise<LiveBackup> {
    const { opened, session } = this.#running();
    session.assertSound();
    return session.betweenWrites(async () => {
      session.assertSound();
      return liveBackup(await cutLive(this.#lock.path, opened.markerAt(session.revision)));
    });
  }

  async reopen(): Promise<void> {
    const state = this.#state;
    if (state.kind === "closed") throw closedError();
    if (state.kind === "reopening") return state.reopened;
    if (state.kind === "open" && state.running.session.failure === undefined) return;
    const { revision, floor } = this.#position();
    const failure = state.kind === "open" ? state.running.session.failure : state.cause;
    const reopened = this.#reopen(state.running, { revision, floor, failure });
    this.#state = { kind: "reopening", revision, floor, reopened };
    return reopened;
  }

  async #reopen(
    old: Running | undefined,
    before: { revision: number; floor: number; failure: unknown },
  ): Promise<void> {
    const { revision, floor } = before;
    let unclosed = old;
    try {
      if (old !== undefined) await letGo(old);
      unclosed = undefined;
      if (this.#isClosed()) throw closedError();
      const running = await run({ lock: this.#lock, options: this.#options, parked: this.#parked, before });
      unclosed = running;
      if (this.#isClosed()) throw closedError();
      this.#state = { kind: "open", running };
      this.#options.log.info({ revision: running.session.revision }, "the store was reopened");
      if (running.session.revision > revision) this.#parked.wakeAll(revision);
    } catch (cause) {
      if (unclosed !== undefined && unclosed !== old) unclosed = await letGo(unclosed).then(undefined, () => unclosed);
      if (!this.#isClosed()) this.#state = { kind: "down", revision, floor, cause, running: unclosed };
      throw new StoreError("UNAVAILABLE", "the store cannot be reopened", { cause });
    }
  }

  #isClosed(): boolean {
    return this.#state.kind === "closed";
  }

  close(): Promise<void> {
    const state = this.#state;
    if (state.kind === "closed") return state.closed;
    const position = this.#position();
    const closed = this.#close(state);
    this.#state = { kind: "closed", ...position, closed };
    this.#parked.wakeAll(undefined);
    return closed;
  }

  async #close(state: State): Promise<void> {
    // A reopening under way sees that it comes too late, and lets go of what it opened.
    if (state.kind === "reopening") await state.reopened.catch(() => {});
    const running = state.kind === "open" || state.kind === "down" ? state.running : undefined;
    try {
      if (running !== undefined) {
        await running.committer.idle();
        await running.materializer.finish();
        await letGo(running);
        await this.#remember(running);
      }
      await this.#lock.release();
    } catch (cause) {
      throw new StoreError("UNAVAILABLE", "closing the store failed", { cause });
    }
  }

  /** What is durable by now only helps to see later that it was lost. */
  async #remember({ opened, session }: Running): Promise<void> {
    if (this.durability !== "sync") return;
    await opened.remember(session.revision).catch((error: unknown) => {
      this.#options.log.warn({ err: error }, "the marker of the store was not brought up to date");
    });
  }

  #running(): Running {
    const state = this.#state;
    if (state.kind === "open") return state.running;
    if (state.kind === "closed") throw closedError();
    const cause = state.kind === "down" ? state.cause : undefined;
    throw new StoreError("UNAVAILABLE", "the store is being reopened", { cause });
  }

  #position(): { revision: number; floor: number } {
    const state = this.#state;
    if (state.kind === "open") return { revision: state.running.session.revision, floor: state.running.session.floor };
    return { revision: state.revision, floor: state.floor };
  }
}

function closedError(): StoreError {
  return new StoreError("UNAVAILABLE", "the store is closed");
}
