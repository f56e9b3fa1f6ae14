/**
 * A store that fails as planned, over any store that works.
 *
 * It fails as the LevelDB backend does: after a commit has failed its handle is fenced, so that
 * every call is UNAVAILABLE until `reopen` has succeeded, and until then `revision` does not show what the
 * failed commit may have written.
 *
 * The plan outlives the wrapper: after `crash` a new wrapper on the same inner store goes on
 * counting where the old one was cut off.
 */
import {
  type Change,
  type Condition,
  type Entry,
  type GetOptions,
  type ScanOptions,
  type Store,
  StoreError,
  type StoreWatch,
  type WatchOptions,
  type NextChanges,
} from "../../src/store/store.ts";

export type FaultOperation = "get" | "scan" | "commit" | "watch" | "reopen";

/**
 * `refused`: an error, and nothing was done (applied "no"). `applied`: done, and reported as an error (a commit:
 * "maybe"). `lost`: a commit that is not done and reported as "maybe"; any other call as `refused`.
 * `hang`: does not settle until the store is healed or reopened, then is `lost`. `late`: the same, but is done then as
 * if nothing had been, unless the store was reopened. `crash` and `crash after`: the process dies before the call is done, or after.
 */
export type FaultKind = "refused" | "applied" | "lost" | "hang" | "late" | "crash" | "crash after";

export interface Fault {
  /** Which operation fails: the `at`-th of all, or of the kind `of`; 1 is the first. */
  readonly at: number;
  readonly of?: FaultOperation | undefined;
  readonly kind: FaultKind;
  /** Every operation after it is refused too, until `heal`. */
  readonly lasting?: boolean | undefined;
}

/** A fault that was injected. */
export interface InjectedFault {
  readonly operation: FaultOperation;
  readonly kind: FaultKind;
}

/** Which operations fail, how many there were, and which faults were really injected. */
export class FaultPlan {
  readonly counts: Record<FaultOperation, number> = { get: 0, scan: 0, commit: 0, watch: 0, reopen: 0 };
  readonly injected: InjectedFault[] = [];
  /** Called when a planned crash has cut a store off. */
  onCrash: () => void = () => {};
  /** Called as each operation begins, with its number. */
  onOperation: (nth: number) => void = () => {};
  #faults: Fault[];
  #isDown = false;
  #onHeal: Array<() => void> = [];

  constructor(faults: readonly Fault[] = []) {
    this.#faults = [...faults];
  }

  /** All operations so far. */
  get operations(): number {
    return Object.values(this.counts).reduce((sum, count) => sum + count, 0);
  }

  /** Whether a lasting fault is at work, or a call hangs. */
  get isFailing(): boolean {
    return this.#isDown || this.#onHeal.length > 0;
  }

  /** Ends what is lasting, and what hangs. */
  heal(): void {
    this.#isDown = false;
    this.endHanging();
  }

  /** Adds a fault: `at` counts from the first operation of all. */
  add(fault: Fault): void {
    this.#faults.push(fault);
  }

  /** Takes back every fault that has not come yet. */
  clear(): void {
    this.#faults = [];
  }

  /** The fault of the operation that begins now. */
  next(operation: FaultOperation): FaultKind | undefined {
    this.counts[operation] += 1;
    this.onOperation(this.operations);
    const hit = this.#faults.find(
      ({ at, of }) => at === (of === undefined ? this.operations : this.counts[of]) && (of ?? operation) === operation,
    );
    if (hit !== undefined) {
      this.injected.push({ operation, kind: hit.kind });
      this.#isDown ||= hit.lasting === true;
      return hit.kind;
    }
    return this.#isDown ? "refused" : undefined;
  }

  /** Resolves when the store is healed, or the hanging calls are given up. */
  hang(): Promise<void> {
    return new Promise((resolve) => this.#onHeal.push(resolve));
  }

  /** Gives up the calls that hang: their handle is closed. */
  endHanging(): void {
    for (const wake of this.#onHeal.splice(0)) wake();
  }
}

export class FaultStore implements Store {
  readonly kind: string;
  readonly durability: "sync" | "async" | "none";
  readonly plan: FaultPlan;
  readonly #inner: Store;
  #isCut = false;
  #isClosed = false;
  /** What `revision` shows; undefined while the handle is sound. */
  #fencedAt: bigint | undefined;
  /** Counts the handles: what fails on an old one does not fence the new. */
  #handle = 0;

  constructor(inner: Store, plan: FaultPlan = new FaultPlan()) {
    this.kind = inner.kind;
    this.durability = inner.durability;
    this.plan = plan;
    this.#inner = inner;
  }

  /** The process dies: no call settles any more, and none reaches the inner store. */
  crash(): void {
    this.#isCut = true;
  }

  revision(): bigint {
    return this.#fencedAt ?? this.#inner.revision();
  }

  firstRevision(): bigint {
    return this.#inner.firstRevision();
  }

  get(key: string, options?: GetOptions): Promise<Entry | undefined> {
    return this.#read("get", () => this.#inner.get(key, options));
  }

  scan(options: ScanOptions): Promise<Entry[]> {
    return this.#read("scan", () => this.#inner.scan(options));
  }

  async commit(changes: readonly Change[], conditions?: readonly Condition[], next?: NextChanges): Promise<bigint> {
    const fault = await this.#begin("commit");
    if (fault === undefined) return this.#settled(this.#inner.commit(changes, conditions, next));
    const handle = this.#handle;
    if (isCrash(fault)) return this.#die(fault, () => this.#inner.commit(changes, conditions, next));
    if (fault === "hang" || fault === "late") await this.plan.hang();
    if (fault === "late" && handle === this.#handle && this.#fencedAt === undefined) {
      return this.#settled(this.#inner.commit(changes, conditions, next));
    }
    if (handle === this.#handle) this.#fencedAt ??= this.#inner.revision();
    if (fault === "applied") await this.#settled(this.#inner.commit(changes, conditions, next));
    return this.#settled(Promise.reject(unavailable(fault, fault === "refused" ? "no" : "maybe")));
  }

  watch(options: WatchOptions): StoreWatch {
    const watch = this.#inner.watch(options);
    const inner = watch[Symbol.asyncIterator]();
    const store = this;
    return {
      position: () => watch.position(),
      async *[Symbol.asyncIterator]() {
        try {
          for (;;) {
            const { done, value } = await store.#read("watch", () => inner.next());
            if (done) return;
            yield value;
          }
        } finally {
          await inner.return?.();
        }
      },
    };
  }

  async reopen(): Promise<void> {
    const fault = await this.#begin("reopen");
    if (isCrash(fault)) return this.#die(fault, () => this.#inner.reopen());
    if (fault === "hang" || fault === "late") await this.plan.hang();
    if (fault === "applied") await this.#settled(this.#inner.reopen());
    if (fault !== undefined && fault !== "late") return this.#settled(Promise.reject(unavailable(fault, "no")));
    await this.#settled(this.#inner.reopen());
    this.plan.endHanging();
    this.#handle += 1;
    this.#fencedAt = undefined;
  }

  /** Closes the wrapper; the inner store is for whoever comes next. */
  async close(): Promise<void> {
    this.#isClosed = true;
  }

  async #read<T>(operation: FaultOperation, run: () => Promise<T>): Promise<T> {
    const fault = await this.#begin(operation);
    if (fault === undefined) return this.#settled(run());
    if (isCrash(fault)) return this.#die(fault, run);
    if (fault === "hang" || fault === "late") await this.plan.hang();
    if (fault === "late") return this.#settled(run());
    if (fault === "applied") await this.#settled(run());
    return this.#settled(Promise.reject(unavailable(fault, "no")));
  }

  async #begin(operation: FaultOperation): Promise<FaultKind | undefined> {
    if (this.#isCut) return never();
    const fault = this.plan.next(operation);
    // Never in the caller's own tick: no store on a disk answers so.
    await this.#settled(Promise.resolve());
    if (this.#isCut) return never();
    if (this.#isClosed) throw new StoreError("UNAVAILABLE", "the store is closed");
    if (this.#fencedAt !== undefined && operation !== "reopen") throw unavailable("fenced", "no");
    return fault;
  }

  async #die(fault: FaultKind, run: () => Promise<unknown>): Promise<never> {
    // The next change of a watch may take a while to come: until then the process lives.
    if (fault === "crash after") await run().catch(() => {});
    this.#isCut = true;
    this.plan.onCrash();
    return never();
  }

  async #settled<T>(result: Promise<T>): Promise<T> {
    try {
      const value = await result;
      return this.#isCut ? await never() : value;
    } catch (error) {
      if (this.#isCut) return never();
      throw error;
    }
  }
}

function isCrash(fault: FaultKind | undefined): fault is "crash" | "crash after" {
  return fault === "crash" || fault === "crash after";
}

function unavailable(what: FaultKind | "fenced", applied: "no" | "maybe"): StoreError {
  return new StoreError("UNAVAILABLE", `injected: ${what}`, { applied });
}

function never(): Promise<never> {
  return new Promise(() => {});
}
