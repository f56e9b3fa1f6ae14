import { expect } from "vitest";
import { KeyValueError, type KeyValueErrorCode } from "../../src/store/key-value-error.ts";
import type { KeyValueStore } from "../../src/store/key-value-store.ts";
import type { KeyValueEvent, WatchKeysOptions } from "../../src/store/key-value-watch.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Store } from "../../src/store/store.ts";
import { createFakeClock, type FakeClock } from "../support/fake-clock.ts";
import { letGoUpTo, makeScratch } from "./level-fixture.ts";

/** The stores that a view is tested on. */
export const backends = ["memory", "level"] as const;
export type Backend = (typeof backends)[number];

/** A view on a store of its own; `await using` closes the store. */
export interface OpenView<T> extends AsyncDisposable {
  readonly clock: FakeClock;
  readonly store: Store;
  readonly kv: KeyValueStore<T>;
  /** Lets time pass until history starts at the newest revision. */
  letHistoryGo(): Promise<void>;
}

const historyMs = 8_000;

export async function openView<T>(
  backend: Backend,
  createView: (store: Store) => KeyValueStore<T>,
): Promise<OpenView<T>> {
  const clock = createFakeClock();
  const scratch = backend === "level" ? await makeScratch() : undefined;
  const options = { clock, historyMs };
  const store = await (scratch === undefined ? openMemoryStore(options) : openLevelStore(scratch.path, options));
  return {
    clock,
    store,
    kv: createView(store),
    async letHistoryGo() {
      // A little more than what history lasts: what is as old as that is still there.
      await clock.advance(scratch === undefined ? historyMs + 1 : 1);
      await letGoUpTo(store, clock, historyMs, store.revision());
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await scratch?.[Symbol.asyncDispose]();
    },
  };
}

/** Reads a watch event by event. */
export class KeyValueReader<T> {
  readonly #iterator: AsyncIterator<KeyValueEvent<T>>;

  constructor(kv: KeyValueStore<T>, key: string, options: WatchKeysOptions) {
    this.#iterator = kv.watch(key, options)[Symbol.asyncIterator]();
  }

  /** The next event; undefined when the watch has ended. */
  async next(): Promise<KeyValueEvent<T> | undefined> {
    const { done, value } = await this.#iterator.next();
    return done ? undefined : value;
  }

  /** The next events, as lines of text. */
  async lines(count: number, textOf: (value: T) => string): Promise<string[]> {
    const lines: string[] = [];
    while (lines.length < count) lines.push(eventLine(await this.next(), textOf));
    return lines;
  }

  async stop(): Promise<void> {
    await this.#iterator.return?.();
  }
}

/** An event on one line: what happened to the key at which revision: what it is now after what it was. */
export function eventLine<T>(event: KeyValueEvent<T> | undefined, textOf: (value: T) => string): string {
  if (event === undefined) return "the end";
  const { type, key, revision, current, previous, corrupt } = event;
  const now = current === undefined ? "" : `: ${textOf(current.value)} at ${current.revision}`;
  const before = previous === undefined ? "" : ` after ${textOf(previous.value)} at ${previous.revision}`;
  return `${type} ${key} at ${revision}${now}${before}${corrupt ? ", damaged" : ""}`;
}

export async function expectError(call: Promise<unknown>, code: KeyValueErrorCode): Promise<KeyValueError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof KeyValueError)) throw new Error(`not a KeyValueError: ${error}`, { cause: error });
  expect(error.code).toBe(code);
  return error;
}
