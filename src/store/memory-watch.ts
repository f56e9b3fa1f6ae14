/**
 * The watches of a store in memory: cursors over its log, each at its consumer's pace. One that has read all waits, and is woken by
 * the first commit that concerns it.
 *
 * 1. What waits has seen everything up to its position that its prefix has.
 * 2. A watch that has ended, whatever way, or that nobody reads leaves nothing here.
 */
import type { Version } from "./memory-log.ts";
import type { StoreError, StoreEvent, StoreWatch, WatchOptions } from "./store.ts";

/** The changes of keys with the prefix after a position, and up to where they go. Throws COMPACTED. */
export type ReadLog = (position: bigint, prefix: string) => { events: StoreEvent[]; upTo: bigint };

interface Waiter {
  readonly prefix: string;
  position: bigint;
  readonly wake: () => void;
}

/** Where a watch is, for its `position`. */
interface Cursor {
  /** The consumer has had everything up to here. */
  handedOver: bigint;
  /** While it waits. */
  waiter: Waiter | undefined;
}

export class MemoryWatches {
  readonly #read: ReadLog;
  readonly #waiters = new Set<Waiter>();
  #closed = false;

  constructor(read: ReadLog) {
    this.#read = read;
  }

  /** `failure`: what was wrong when the watch was asked for, thrown at its first step. */
  open(options: WatchOptions, failure: StoreError | undefined): StoreWatch & AsyncIterator<StoreEvent[]> {
    const end = new AbortController();
    const cursor: Cursor = { handedOver: options.after, waiter: undefined };
    const events = this.#events(options, { end: end.signal, cursor }, failure);
    return {
      position: () => cursor.waiter?.position ?? cursor.handedOver,
      next: () => events.next(),
      // A generator that waits cannot be returned from: what it waits for is ended first.
      return: () => {
        end.abort();
        return events.return(undefined);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  /** Wakes those that a commit concerns. */
  committed(revision: bigint, versions: readonly Version[]): void {
    for (const waiter of this.#waiters) {
      if (versions.some((version) => version.key.startsWith(waiter.prefix))) waiter.wake();
      // A commit that is none of its business must not make it one that fell behind.
      else if (waiter.position === revision - 1n) waiter.position = revision;
    }
  }

  /** Ends them all. */
  close(): void {
    this.#closed = true;
    for (const waiter of this.#waiters) waiter.wake();
  }

  async *#events(
    { prefix, after, signal }: WatchOptions,
    { end, cursor }: { end: AbortSignal; cursor: Cursor },
    failure: StoreError | undefined,
  ): AsyncGenerator<StoreEvent[], undefined> {
    const isOver = () => this.#closed || signal?.aborted === true || end.aborted;
    if (failure !== undefined && !isOver()) throw failure;
    let position = after;
    while (!isOver()) {
      const { events, upTo } = this.#read(position, prefix);
      position = upTo;
      if (events.length > 0) yield events;
      cursor.handedOver = position;
      if (events.length === 0) position = await this.#nextCommit({ prefix, position, cursor }, [end, signal]);
    }
    return undefined;
  }

  /** Resolves to the position to go on from, when there is something for the prefix, or an end. */
  async #nextCommit(
    { prefix, position, cursor }: { prefix: string; position: bigint; cursor: Cursor },
    ends: readonly (AbortSignal | undefined)[],
  ): Promise<bigint> {
    let wake = () => {};
    const woken = new Promise<void>((resolve) => (wake = resolve));
    const waiter: Waiter = { prefix, position, wake };
    this.#waiters.add(waiter);
    cursor.waiter = waiter;
    for (const end of ends) end?.addEventListener("abort", wake, { once: true });
    try {
      await woken;
      return waiter.position;
    } finally {
      this.#waiters.delete(waiter);
      cursor.handedOver = waiter.position;
      cursor.waiter = undefined;
      for (const end of ends) end?.removeEventListener("abort", wake);
    }
  }
}
