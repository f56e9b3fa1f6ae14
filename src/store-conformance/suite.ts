import type { Clock } from "../clock.ts";
import type { Store } from "../store/store.ts";

/** What a store is opened with. */
export interface StoreUnderTestOptions {
  readonly clock: Clock;
  readonly historyMs: number;
  readonly historyBytes: number;
}

/** A store that was opened for one test. */
export interface StoreUnderTest {
  readonly store: Store;
  /**
   * For a store that outlives the process: opens the same data once more, with
   * the same options. The suite has closed the store before it calls this.
   */
  readonly reopenFresh?: (() => Promise<Store>) | undefined;
  /** Takes away what the store leaves behind. The suite has closed it. */
  readonly cleanUp?: (() => PromiseLike<void>) | undefined;
}

/** Opens an empty store of its own. */
export type OpenStoreUnderTest = (options: StoreUnderTestOptions) => Promise<StoreUnderTest>;

/** Declares something once for each row; what a row has goes into the name as printf does it, or by "$field". */
export type Each<Result> = <Row>(
  rows: readonly Row[],
) => (name: string, body: (...row: Row extends readonly unknown[] ? Row : [Row]) => Result) => void;

/** What the suite asks of a test framework: vitest has it, and so has jest. */
export interface TestFramework {
  readonly describe: { (name: string, body: () => void): void; readonly each: Each<void> };
  readonly test: {
    (name: string, body: () => Promise<void>, timeoutMs?: number): void;
    readonly each: Each<Promise<void>>;
  };
  readonly expect: (actual: unknown) => Matchers;
}

/** The assertions that the suite uses. */
export interface Matchers {
  toBe(expected: unknown): void;
  toBeUndefined(): void;
  toContain(expected: unknown): void;
  toEqual(expected: unknown): void;
  toHaveLength(expected: number): void;
  toMatchObject(expected: object): void;
  toBeGreaterThan(expected: number | bigint): void;
  toBeGreaterThanOrEqual(expected: number | bigint): void;
  toBeLessThan(expected: number | bigint): void;
  toBeLessThanOrEqual(expected: number | bigint): void;
}

/** What each part of the suite is given. */
export interface Suite extends TestFramework {
  readonly open: OpenStoreUnderTest;
  /** How many random histories are tried. */
  readonly histories: number;
}
