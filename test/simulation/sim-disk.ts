/**
 * A disk with a store on it that fails as LevelDB and a disk do (docs/storage.md, "Failing"). It outlives the processes that open it.
 *
 * Commits that come while one group is on its way are the next. A group is written, and then it is synced; only then does anybody see it.
 *
 * 1. What was synced is there for good. What was written is there after the death of a process; a power cut leaves the first so many commits of it.
 * 2. Whatever fails in writing fences the handle: every call is UNAVAILABLE until `reopen` has settled what was written.
 * 3. A handle belongs to a process: once that is dead no call of it settles, and none reaches the disk.
 */
import { setMaxListeners } from "node:events";
import {
  type Change,
  type Condition,
  type Entry,
  type GetOptions,
  type NextChanges,
  type ScanOptions,
  type Store,
  StoreError,
  type StoreEvent,
  type StoreWatch,
  type WatchOptions,
} from "../../src/store/store.ts";

/** What a group of commits meets; "full" is a disk without room. */
export type DiskFault = "refused" | "lost" | "applied" | "hang" | "full";

/** Whose handle it is. */
export interface DiskUser {
  readonly isDead: boolean;
}

export interface DiskPorts {
  /** Resolves when so much of the disk's work is done, unless the process dies before. */
  readonly delay: (user: DiskUser, work: "read" | "write" | "sync" | "hang") => Promise<void>;
  /** What the group that is about to be written meets. */
  readonly nextFault: () => DiskFault | undefined;
  /** A whole number from 0 to `max`. */
  readonly choose: (max: number) => number;
}

/** A disk on which nothing fails, and everything is done at once. */
export const soundDisk: DiskPorts = {
  delay: () => Promise.resolve(),
  nextFault: () => undefined,
  choose: (max) => max,
};

interface Commit {
  readonly changes: readonly Change[];
  readonly conditions: readonly Condition[];
  readonly next: NextChanges | undefined;
  readonly settle: (outcome: Promise<bigint>) => void;
}

export class SimDisk {
  readonly ports: DiskPorts;
  /** What is synced; it never fails. */
  readonly synced: Store;
  /** No room is left: every write fails, and so does opening. */
  isFull = false;
  /** What was damaged, as "key@revision". */
  readonly rotten = new Set<string>();
  /** What is written and not synced. */
  #written: Commit[] = [];

  constructor(synced: Store, ports: DiskPorts = soundDisk) {
    this.synced = synced;
    this.ports = ports;
  }

  /** Opens the store for a process. The one before is dead, or has closed it. */
  open(user: DiskUser): SimStore {
    return new SimStore(this, user);
  }

  write(commits: readonly Commit[]): void {
    this.#written.push(...commits);
  }

  /** All that is written is there for good from now on. */
  sync(): void {
    for (const { changes, conditions, next, settle } of this.#written.splice(0)) {
      const outcome = this.synced.commit(changes, conditions, next);
      outcome.catch(() => {});
      settle(outcome);
    }
  }

  /** The process that had it open is dead, or the machine. Returns how many commits were lost. */
  crash(kind: "process" | "power"): number {
    const before = this.#written.length;
    const kept = kind === "process" ? before : this.ports.choose(before);
    this.#written.length = kept;
    this.sync();
    return before - kept;
  }

  /** The value that the key got with this revision is damaged. */
  rot(key: string, revision: bigint): void {
    this.rotten.add(placeOf({ key, revision }));
  }
}

export class SimStore implements Store {
  readonly kind = "simulated";
  readonly durability = "sync";
  readonly #disk: SimDisk;
  readonly #user: DiskUser;
  /** How many watches have begun and are not over. */
  watches = 0;
  #isFenced = false;
  #isClosed = false;
  #waiting: Commit[] = [];
  #writing: Promise<void> | undefined;
  readonly #closing = new AbortController();

  constructor(disk: SimDisk, user: DiskUser) {
    this.#disk = disk;
    this.#user = user;
    setMaxListeners(0, this.#closing.signal);
  }

  revision(): bigint {
    return this.#disk.synced.revision();
  }

  firstRevision(): bigint {
    return this.#disk.synced.firstRevision();
  }

  async get(key: string, options?: GetOptions): Promise<Entry | undefined> {
    const entry = await this.#read(() => this.#disk.synced.get(key, options));
    if (entry === undefined || !this.#disk.rotten.has(placeOf(entry))) return entry;
    throw new StoreError("CORRUPT", `the value of ${key} is damaged`, { key });
  }

  async scan(options: ScanOptions): Promise<Entry[]> {
    const entries = await this.#read(() => this.#disk.synced.scan(options));
    return entries.map((entry) => this.#marked(entry));
  }

  commit(changes: readonly Change[], conditions: readonly Condition[] = [], next?: NextChanges): Promise<bigint> {
    if (this.#isClosed) return Promise.reject(closed());
    if (this.#isFenced) return this.#settled(Promise.reject(unavailable("fenced", "no")));
    return this.#settled(
      new Promise((resolve) => {
        // Copied: the caller may use its bytes for something else.
        this.#waiting.push({ changes: changes.map(copyOf), conditions: [...conditions], next, settle: resolve });
        this.#writing ??= this.#writeGroups();
      }),
    );
  }

  watch(options: WatchOptions): StoreWatch {
    const { signal } = options;
    const ended = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    const watch = this.#disk.synced.watch({ ...options, signal: ended });
    return {
      position: () => watch.position(),
      [Symbol.asyncIterator]: () => this.#countedEvents(watch[Symbol.asyncIterator]()),
    };
  }

  #countedEvents(inner: AsyncIterator<StoreEvent[], undefined>): AsyncIterator<StoreEvent[], undefined> {
    let isOpen = true;
    this.watches += 1;
    const over = (): { done: true; value: undefined } => {
      if (isOpen) this.watches -= 1;
      isOpen = false;
      return { done: true, value: undefined };
    };
    return {
      next: async () => {
        const step = await this.#settled(
          inner.next().catch((error: unknown) => {
            over();
            throw error;
          }),
        );
        if (step.done === true) return over();
        return { done: false, value: step.value.map((event) => this.#marked(event)) };
      },
      return: async () => {
        await inner.return?.();
        return over();
      },
    };
  }

  /** Settles what was written by the handle there was: it is read, and synced. */
  async reopen(): Promise<void> {
    if (this.#isClosed) throw closed();
    await this.#settled(this.#disk.ports.delay(this.#user, "sync"));
    if (this.#disk.isFull) throw unavailable("no room", "no");
    if (!this.#isFenced) return;
    this.#disk.sync();
    this.#isFenced = false;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return this.#writing;
    this.#isClosed = true;
    this.#closing.abort();
    await this.#writing;
  }

  async #writeGroups(): Promise<void> {
    // What comes in the same turn is one group.
    await Promise.resolve();
    while (this.#waiting.length > 0 && !this.#isFenced) {
      await this.#writeGroup(this.#waiting.splice(0), this.#disk.ports.nextFault());
    }
    this.#writing = undefined;
  }

  async #writeGroup(group: readonly Commit[], fault: DiskFault | undefined): Promise<void> {
    const disk = this.#disk;
    const { delay } = disk.ports;
    await this.#settled(delay(this.#user, "write"));
    if (fault === "hang") await this.#settled(delay(this.#user, "hang"));
    if (fault === "refused") return this.#fence(group, fault, "no");
    if (disk.isFull || fault === "lost" || fault === "hang" || fault === "full")
      return this.#fence(group, fault ?? "full", "maybe");
    disk.write(group);
    await this.#settled(delay(this.#user, "sync"));
    if (fault === "applied") return this.#fence(group, fault, "maybe");
    disk.sync();
  }

  #fence(group: readonly Commit[], fault: DiskFault, applied: "no" | "maybe"): void {
    this.#isFenced = true;
    for (const { settle } of group) settle(Promise.reject(unavailable(fault, applied)));
    for (const { settle } of this.#waiting.splice(0)) settle(Promise.reject(unavailable("fenced", "no")));
  }

  async #read<T>(read: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw closed();
    await this.#settled(this.#disk.ports.delay(this.#user, "read"));
    if (this.#isFenced) throw unavailable("fenced", "no");
    return this.#settled(read());
  }

  #marked<T extends Entry | StoreEvent>(item: T): T {
    return this.#disk.rotten.has(placeOf(item)) ? { ...item, value: new Uint8Array(0), corrupt: true } : item;
  }

  async #settled<T>(result: Promise<T>): Promise<T> {
    try {
      const value = await result;
      return this.#user.isDead ? await never() : value;
    } catch (error) {
      if (this.#user.isDead) return never();
      throw error;
    }
  }
}

function placeOf({ key, revision }: { key: string; revision: bigint }): string {
  return `${key}@${revision}`;
}

function copyOf(change: Change): Change {
  return "value" in change ? { ...change, value: new Uint8Array(change.value) } : { ...change };
}

function unavailable(what: string, applied: "no" | "maybe"): StoreError {
  return new StoreError("UNAVAILABLE", `injected: ${what}`, { applied });
}

function closed(): StoreError {
  return new StoreError("UNAVAILABLE", "the store is closed");
}

function never(): Promise<never> {
  return new Promise(() => {});
}
