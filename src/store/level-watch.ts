/**
 * Watches as cursors over the journal. A cursor reads block after block at its
 * consumer's pace; only when it has reached the newest does it park, by its prefix, and is woken by
 * the first commit that concerns it. So what nobody asks for costs nothing, and a commit costs what it wakes.
 *
 * States of a cursor: reading -> parked -> reading ..., and ended from either.
 *
 * 1. A parked cursor has seen everything up to the newest revision that concerns it.
 * 2. Only a parked cursor is registered anywhere, its abort listener included: one that is dropped leaves nothing.
 * 3. Parked cursors outlive a reopening of the store, in which commits may turn out to be applied.
 */
import type { LevelJournal } from "./level-journal.ts";
import { assertReadable } from "./level-reader.ts";
import type { LevelSession } from "./level-session.ts";
import { isVersioned, type JournalBlock, recordTypes, recordValue } from "./record.ts";
import { StoreError, type StoreEvent, type StoreWatch } from "./store.ts";

/** Wakes one cursor: with the revision up to which nothing concerned it, or undefined for its end. */
type Wake = (position: number | undefined) => void;

/** The cursors that wait for commits, by prefix. */
export class ParkedWatches {
  readonly #byPrefix = new Map<string, Set<Wake>>();
  /** How many prefixes there are of each length. */
  readonly #lengths = new Map<number, number>();

  get size(): number {
    let size = 0;
    for (const wakes of this.#byPrefix.values()) size += wakes.size;
    return size;
  }

  /** Registers; the returned function takes back. */
  park(prefix: string, wake: Wake): () => void {
    let wakes = this.#byPrefix.get(prefix);
    if (wakes === undefined) {
      wakes = new Set();
      this.#byPrefix.set(prefix, wakes);
      this.#lengths.set(prefix.length, (this.#lengths.get(prefix.length) ?? 0) + 1);
    }
    wakes.add(wake);
    return () => {
      wakes.delete(wake);
      if (wakes.size === 0 && this.#byPrefix.get(prefix) === wakes) this.#forget(prefix);
    };
  }

  /** Wakes the cursors that a new block concerns. */
  published(block: JournalBlock): void {
    if (this.#byPrefix.size === 0) return;
    for (const { type, key, damage } of block.records) {
      if (!isVersioned(type)) continue;
      if (damage === "head") return this.wakeAll(block.first - 1);
      for (const length of this.#lengths.keys()) {
        if (length <= key.length) this.#wake(key.slice(0, length), block.first - 1);
      }
    }
  }

  /** Wakes all: with a position to look on from, or undefined to end. */
  wakeAll(position: number | undefined): void {
    for (const prefix of [...this.#byPrefix.keys()]) this.#wake(prefix, position);
  }

  #wake(prefix: string, position: number | undefined): void {
    const wakes = this.#byPrefix.get(prefix);
    if (wakes === undefined) return;
    this.#forget(prefix);
    for (const wake of wakes) wake(position);
  }

  #forget(prefix: string): void {
    this.#byPrefix.delete(prefix);
    const count = this.#lengths.get(prefix.length)! - 1;
    if (count === 0) this.#lengths.delete(prefix.length);
    else this.#lengths.set(prefix.length, count);
  }
}

/** What a cursor reads from, which changes when the store is reopened; undefined once it is closed. */
export type WatchSource = () => { readonly session: LevelSession; readonly journal: LevelJournal } | undefined;

export interface WatchCursorOptions {
  /** The store's newest revision. */
  readonly newest: () => number;
  readonly source: WatchSource;
  readonly parked: ParkedWatches;
  readonly prefix: string;
  readonly after: number;
  readonly signal: AbortSignal | undefined;
  /** Thrown at the first step: what was wrong when the watch was asked for. */
  readonly failure: StoreError | undefined;
}

/** The changes after a revision. Ended by its signal, by `return` also while it waits, or with the store. */
export function watchJournal(options: WatchCursorOptions): StoreWatch & AsyncIterator<StoreEvent[]> {
  const state: CursorState = { ended: false, end: () => {}, parked: false, handedOver: options.after };
  const events = readJournal(options, state);
  return {
    position: () => BigInt(state.parked ? Math.max(state.handedOver, options.newest()) : state.handedOver),
    next: () => events.next(),
    return() {
      state.ended = true;
      state.end();
      return events.return(undefined);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

interface CursorState {
  ended: boolean;
  /** Ends it while it is parked. */
  end: () => void;
  parked: boolean;
  /** The consumer has had everything up to here. */
  handedOver: number;
}

async function* readJournal(
  { source, parked, prefix, after, signal, failure }: WatchCursorOptions,
  state: CursorState,
): AsyncGenerator<StoreEvent[], undefined> {
  if (failure !== undefined) throw failure;
  let position = after;
  while (!signal?.aborted && !state.ended) {
    const current = source();
    if (current === undefined) return;
    const { session, journal } = current;
    if (position < session.revision) {
      assertReadable(session, position);
      let block = journal.recent(position + 1);
      if (block === undefined) {
        block = await journal.read(position + 1).catch((error: unknown) => ended(error, signal, state));
        if (block === undefined) continue;
      }
      const events = eventsOf(block, prefix, position);
      position = block.last;
      // Asked again, as reading may have taken a while.
      if (events.length > 0 && !signal?.aborted && !state.ended) yield events;
      state.handedOver = position;
      continue;
    }
    const woken = await new Promise<number | undefined>((resolve) => {
      const end = (): void => wake(undefined);
      const wake: Wake = (next) => {
        unpark();
        signal?.removeEventListener("abort", end);
        state.end = () => {};
        state.parked = false;
        // In the tick of the commit: what follows it is not handed over yet.
        if (next !== undefined) state.handedOver = Math.max(state.handedOver, next);
        resolve(next);
      };
      const unpark = parked.park(prefix, wake);
      signal?.addEventListener("abort", end, { once: true });
      state.end = end;
      state.parked = true;
    });
    if (woken === undefined) return;
    position = Math.max(position, woken);
  }
}

/** A read that fails after the end is no failure. */
function ended(error: unknown, signal: AbortSignal | undefined, state: { ended: boolean }): undefined {
  if (!signal?.aborted && !state.ended) throw error;
}

function eventsOf(block: JournalBlock, prefix: string, after: number): StoreEvent[] {
  const events: StoreEvent[] = [];
  for (const record of block.records) {
    if (!isVersioned(record.type) || (record.revision <= after && record.damage !== "head")) continue;
    if (record.damage === "head") {
      throw new StoreError("CORRUPT", `a change between revisions ${block.first} and ${block.last} is damaged`);
    }
    if (!record.key.startsWith(prefix)) continue;
    events.push({
      type: record.type === recordTypes.put ? "put" : "delete",
      key: record.key,
      value: new Uint8Array(recordValue(record)),
      revision: BigInt(record.revision),
      previous: BigInt(record.previous),
      ...(record.damage === undefined ? {} : { corrupt: true }),
    });
  }
  return events;
}
