/**
 * The suite as others have it: from the built package by its name, with a backend that knows nothing of Stint but
 * what the package exports.
 */
import { describe, expect, test } from "vitest";
import type * as Package from "../../src/index.ts";
import type * as Conformance from "../../src/store-conformance/describe-store.ts";
import type { StoreUnderTestOptions } from "../../src/store-conformance/suite.ts";
import type {
  Change,
  Condition,
  GetOptions,
  ScanOptions,
  Store,
  WatchOptions,
  NextChanges,
} from "../../src/store/store.ts";

// By a name that the compiler does not follow: there is nothing to follow before the build.
const packageName = "stint";
const stint = (await import(packageName)) as typeof Package;
const suite = (await import(`${packageName}/store-conformance`)) as typeof Conformance;

suite.describeStore(
  "somebody's own store",
  async (options) => ({ store: new CountingStore(await stint.openStore("memory:", options)) }),
  { describe, expect, test, histories: 5 },
);

test("it finds a broken promise, in whatever test framework", async () => {
  const framework = createFramework();
  const open = async (options: StoreUnderTestOptions) => {
    const store = new CountingStore(await stint.openStore("memory:", options));
    store.scan = (page) => CountingStore.prototype.scan.call(store, { ...page, reverse: false });
    return { store };
  };
  suite.describeStore("a store that has every key", open, { ...framework, histories: 1 });
  await framework.done();
  expect(framework.failures).toContain("in reverse as of a revision is INVALID");
  expect(framework.failures).not.toContain("a new store is at revision 0");
});

/** The least that a test framework can be: it runs all tests at once, and knows which failed. */
function createFramework() {
  const failures: string[] = [];
  const running: Promise<unknown>[] = [];
  const declare = (_name: string, body: () => void): void => body();
  const run = (name: string, body: () => Promise<void>): void => {
    running.push(body().catch(() => failures.push(name)));
  };
  const each =
    <Result>(one: (name: string, body: () => Result) => void) =>
    (rows: readonly unknown[]) =>
    (name: string, body: (...row: never) => Result): void => {
      for (const row of rows) one(name, () => body(...([row].flat() as never)));
    };
  return {
    describe: Object.assign(declare, { each: each(declare) }),
    test: Object.assign(run, { each: each(run) }),
    expect,
    failures,
    done: () => Promise.all(running),
  };
}

/** A backend like one that somebody would write: a store around another. */
class CountingStore implements Store {
  readonly kind = "counting";
  readonly durability = "none";
  commits = 0;
  readonly #inner: Store;

  constructor(inner: Store) {
    this.#inner = inner;
  }

  revision(): bigint {
    return this.#inner.revision();
  }

  firstRevision(): bigint {
    return this.#inner.firstRevision();
  }

  get(key: string, options?: GetOptions): ReturnType<Store["get"]> {
    return this.#inner.get(key, options);
  }

  scan(options: ScanOptions): ReturnType<Store["scan"]> {
    return this.#inner.scan(options);
  }

  commit(changes: readonly Change[], conditions?: readonly Condition[], next?: NextChanges): Promise<bigint> {
    this.commits += 1;
    return this.#inner.commit(changes, conditions, next);
  }

  watch(options: WatchOptions): ReturnType<Store["watch"]> {
    return this.#inner.watch(options);
  }

  reopen(): Promise<void> {
    return this.#inner.reopen();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
