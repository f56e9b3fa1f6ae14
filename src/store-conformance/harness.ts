import assert from "node:assert/strict";
import {
  type Change,
  type Entry,
  type Store,
  StoreError,
  type StoreErrorCode,
  type StoreEvent,
  type WatchOptions,
} from "../store/store.ts";
import { createFakeClock, type FakeClock } from "./fake-clock.ts";
import type { OpenStoreUnderTest, StoreUnderTest } from "./suite.ts";

/**
 * The ages that data has when it is read: a backend may keep what is new, what
 * is older and what it found at its opening in different places.
 */
export const ages = ["at once", "a while later", "after a restart"] as const;
type Age = (typeof ages)[number];

/** Opens a store for one test; `await using` closes it and takes it away. */
export async function openHarness(
  open: OpenStoreUnderTest,
  history: { historyMs?: number; historyBytes?: number } = {},
): Promise<Harness> {
  const clock = createFakeClock();
  const { historyMs = 3_600_000, historyBytes = 1024 ** 3 } = history;
  return new Harness(clock, await open({ clock, historyMs, historyBytes }));
}

export class Harness implements AsyncDisposable {
  readonly clock: FakeClock;
  readonly #underTest: StoreUnderTest;
  #store: Store;

  constructor(clock: FakeClock, underTest: StoreUnderTest) {
    this.clock = clock;
    this.#underTest = underTest;
    this.#store = underTest.store;
  }

  get store(): Store {
    return this.#store;
  }

  /** Closes the store and opens its data once more; false where the data does not outlive the store. */
  async restart(): Promise<boolean> {
    if (this.#underTest.reopenFresh === undefined) return false;
    await this.#store.close();
    this.#store = await this.#underTest.reopenFresh();
    return true;
  }

  /** Makes what is in the store as old as `age` says, as far as the backend knows ages. */
  async grow(age: Age): Promise<void> {
    if (age === "a while later") await this.clock.advance(10_000);
    if (age === "after a restart") await this.restart();
  }

  put(key: string, value: string | Uint8Array = key): Promise<bigint> {
    return this.#store.commit([put(key, value)]);
  }

  delete(key: string): Promise<bigint> {
    return this.#store.commit([{ type: "delete", key }]);
  }

  /** The text of a key's value, now or as of a revision. */
  async textOf(key: string, revision?: bigint): Promise<string | undefined> {
    const entry = await this.#store.get(key, { revision });
    return entry && text(entry.value);
  }

  /** Commits, and lets time pass, until the first revision there is is `revision` or a later one. */
  async prune(revision: bigint, options: { stepMs: number; value?: string }): Promise<void> {
    for (let i = 0; this.#store.firstRevision() < revision; i += 1) {
      assert(i < 2_000, "history is not let go of");
      await this.put("filler", options.value ?? `${i}`);
      await this.clock.advance(options.stepMs);
    }
  }

  /**
   * Reads at a revision, or says that its history is gone: it may be let go of
   * at any moment after time has passed.
   */
  async unlessGone<T>(revision: bigint, read: () => Promise<T>): Promise<T | "gone"> {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "COMPACTED") throw error;
      assert(error.firstRevision !== undefined && error.firstRevision > revision, "a later revision is named");
      assert(this.#store.firstRevision() >= error.firstRevision, "the first revision only rises");
      return "gone";
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store.close();
    await this.#underTest.cleanUp?.();
  }
}

/** Reads a watch. */
export class WatchReader {
  readonly #iterator: AsyncIterator<StoreEvent[]>;

  constructor(store: Store, options: Partial<WatchOptions> = {}) {
    this.#iterator = store.watch({ prefix: "", after: 0n, ...options })[Symbol.asyncIterator]();
  }

  /** The next array of events; undefined when the watch has ended. */
  async next(): Promise<StoreEvent[] | undefined> {
    const step = await this.#iterator.next();
    return step.done === true ? undefined : step.value;
  }

  /** The next events until those of `revision` are among them, array by array. */
  async arraysUpTo(revision: bigint): Promise<StoreEvent[][]> {
    const arrays: StoreEvent[][] = [];
    for (;;) {
      const events = await this.next();
      if (events === undefined) throw new Error(`the watch ended before revision ${revision}`);
      arrays.push(events);
      if ((events.at(-1)?.revision ?? 0n) >= revision) return arrays;
    }
  }

  async eventsUpTo(revision: bigint): Promise<StoreEvent[]> {
    return (await this.arraysUpTo(revision)).flat();
  }

  /** The same, as lines of text. */
  async linesUpTo(revision: bigint): Promise<string[]> {
    return (await this.eventsUpTo(revision)).map(line);
  }

  async stop(): Promise<void> {
    await this.#iterator.return?.();
  }
}

export function put(key: string, value: string | Uint8Array = key): Change {
  return { type: "put", key, value: typeof value === "string" ? bytes(value) : value };
}

export function index(key: string, value = ""): Change {
  return { type: "index", key, value: bytes(value) };
}

export function unindex(key: string): Change {
  return { type: "unindex", key };
}

export function add(key: string, delta: bigint): Change {
  return { type: "add", key, delta };
}

export function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

export function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}

/** An event or entry on one line. */
export function line(item: StoreEvent | Entry): string {
  const verb = "type" in item && item.type === "delete" ? "delete" : "put";
  const value = verb === "delete" ? "" : ` = ${text(item.value)}`;
  return `${verb} ${item.key}${value} at ${item.revision} after ${item.previous}`;
}

export function keysOf(entries: readonly { readonly key: string }[]): string[] {
  return entries.map((entry) => entry.key);
}

/** The StoreError with which the call is rejected; fails when it is not. */
export async function failureOf(call: Promise<unknown>): Promise<StoreError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof StoreError)) throw new Error(`not a StoreError: ${error}`, { cause: error });
  return error;
}

export async function expectFailure(call: Promise<unknown>, code: StoreErrorCode): Promise<StoreError> {
  const failure = await failureOf(call);
  assert.equal(failure.code, code, failure.message);
  return failure;
}
