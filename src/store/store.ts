/**
 * The seam to storage: an ordered map from keys to bytes with one rising
 * revision, atomic conditional commits, history and watches. A backend
 * implements `Store`; everything of Stint above it works on any backend that
 * passes the conformance suite (src/store-conformance).
 *
 * Two kinds of keys, told apart by the change that writes them:
 *
 * - **Versioned** keys (`put`, `delete`) have history: they can be read as of
 *   a revision and show in watches.
 * - **Index entries** (`index`, `unindex`) and **counters** (`add`) have none:
 *   only the newest value is kept, and no watch shows them. An index entry is
 *   written once: its value follows from its key, and a key is indexed only
 *   while it is absent.
 *
 * A key is of one kind for good.
 *
 * Invariants of every backend:
 *
 * 1. A commit is applied whole or not at all, under one revision of its own,
 *    greater than that of every commit before it.
 * 2. When `commit` has resolved, the commit is durable to the degree that
 *    `durability` names; no read or watch shows a commit before that.
 * 3. A commit is applied only if each of its conditions holds at that moment.
 * 4. A rejected commit changed nothing, unless the error's `applied` is
 *    "maybe"; once `reopen` has resolved, reading tells which it was, for good.
 * 5. Every revision from `firstRevision()` on can be read and watched from.
 *
 * Keys are well-formed strings of at least one character, ordered by their
 * UTF-8 bytes (see compareKeys). Revisions are bigints; 0n is before all commits.
 */
export interface Store {
  /** "memory", "level", ... */
  readonly kind: string;
  /** What a resolved commit survives: "sync" a power cut, "async" the process's death, "none" nothing. */
  readonly durability: "sync" | "async" | "none";

  /** The revision of the newest commit that is durable; 0n for none. */
  revision(): bigint;
  /** The first revision that can be read and watched from; 0n while all history is there. */
  firstRevision(): bigint;

  /**
   * The newest entry of `key`, or with `revision` the one as of that revision
   * (versioned keys only); undefined if it is absent (then). With `deleted`, a
   * deletion is an entry too, marked as such, while it lies after `firstRevision()`. Throws
   * StoreError CORRUPT, COMPACTED, FUTURE, UNAVAILABLE.
   */
  get(key: string, options?: GetOptions): Promise<Entry | undefined>;

  /**
   * One page of the entries whose keys begin with `prefix`, in key order. Each
   * page is taken at one moment. A damaged entry is in it, marked as corrupt.
   * With `revision`, as of that revision (versioned keys only).
   */
  scan(options: ScanOptions): Promise<Entry[]>;

  /**
   * Applies the changes if all conditions hold, and resolves to their revision. Throws StoreError CONFLICT, INVALID, UNAVAILABLE.
   *
   * With `next` two commits, of which both are applied or none: the second has the changes that `next` makes of the first's
   * revision, and the revision after that. It is called, and returns them, synchronously, maybe more than once, also for a commit that fails: the last call
   * counts, and whatever the revision, it makes changes of the same keys. A backend may do without: what it never calls was not applied.
   */
  commit(changes: readonly Change[], conditions?: readonly Condition[], next?: NextChanges): Promise<bigint>;

  /**
   * The changes of versioned keys with `prefix` after the revision `after`
   * (exclusive), in order of revision, each once, for ever; one array holds
   * whole commits only. Registered when this returns: nothing committed later is
   * missed. A consumer that is slow costs no memory and slows nobody: history is
   * its buffer. Iteration throws StoreError FUTURE, COMPACTED (also when history
   * is pruned past a slow consumer), UNAVAILABLE; ends when the signal is aborted or the
   * store is closed.
   */
  watch(options: WatchOptions): StoreWatch;

  /**
   * After an UNAVAILABLE error: brings the store back, and settles what became of
   * commits that "maybe" were applied. Rejects with UNAVAILABLE while that is not
   * possible; may be called again at any time, resolves at once when all is well.
   */
  reopen(): Promise<void>;

  /** Finishes what was committed and lets go of all resources. Idempotent. */
  close(): Promise<void>;
}

/** What a commit does to one key. */
export type Change =
  | { readonly type: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly type: "delete"; readonly key: string }
  | { readonly type: "index"; readonly key: string; readonly value: Uint8Array }
  | { readonly type: "unindex"; readonly key: string }
  /** Adds to a counter; an absent one counts 0. The value is a signed 64-bit big-endian number. */
  | { readonly type: "add"; readonly key: string; readonly delta: bigint };

/** Makes the changes of the commit that follows the one of `revision`. */
export type NextChanges = (revision: bigint) => readonly Change[];

/** The newest entry of `key` must have this revision; 0n: `key` must be absent (never written, or deleted). */
export interface Condition {
  readonly key: string;
  readonly revision: bigint;
}

/** A key and what it has. */
export interface Entry {
  readonly key: string;
  /** Empty when corrupt or deleted; but of a corrupt counter it may be what was added since its value was lost. */
  readonly value: Uint8Array;
  /** The revision of the commit that wrote it. */
  readonly revision: bigint;
  /** The revision of the key's change before this one, a deletion included; 0n for none, and for index entries and counters. */
  readonly previous: bigint;
  /** The stored bytes are damaged. */
  readonly corrupt?: true;
  /** The key was deleted by this commit; see GetOptions. */
  readonly deleted?: true;
}

/** Which entry of a key is asked for. */
export interface GetOptions {
  /** As of this revision; the newest by default. */
  readonly revision?: bigint | undefined;
  /** Whether a deletion is answered as an entry. */
  readonly deleted?: boolean | undefined;
}

/** Which entries a page has. */
export interface ScanOptions {
  readonly prefix: string;
  /** Only keys after this one (before it, when reverse). */
  readonly after?: string | undefined;
  /** At most this many entries. */
  readonly limit: number;
  readonly reverse?: boolean | undefined;
  /** Not with reverse. */
  readonly revision?: bigint | undefined;
}

/** Where a watch begins, which keys it has, and what ends it. */
export interface WatchOptions {
  readonly prefix: string;
  readonly after: bigint;
  readonly signal?: AbortSignal | undefined;
}

/** The changes of a watch; see Store.watch. */
export interface StoreWatch extends AsyncIterable<StoreEvent[]> {
  /**
   * The revision up to which nothing is still to come: it has handed over all that its prefix has until then, and was
   * asked for more. While it waits, that is the store's newest. Of one iteration only.
   */
  position(): bigint;
}

/** A change of a versioned key, as watches have it. */
export interface StoreEvent {
  readonly type: "put" | "delete";
  readonly key: string;
  /** Empty for a delete. */
  readonly value: Uint8Array;
  readonly revision: bigint;
  /** As in Entry. */
  readonly previous: bigint;
  readonly corrupt?: true;
}

/** What kind of refusal or failure it is. */
export type StoreErrorCode =
  /** A condition did not hold; `key` names whose. */
  | "CONFLICT"
  /** The history of that revision is gone; `firstRevision` is the first there is. */
  | "COMPACTED"
  /** The revision lies ahead of the store's. */
  | "FUTURE"
  /** The stored bytes of `key` are damaged. */
  | "CORRUPT"
  /** Reading or writing failed, or the store is closed; see `applied`. */
  | "UNAVAILABLE"
  /** The call itself is wrong. */
  | "INVALID"
  /** Another process has the store open. */
  | "LOCKED"
  /** The store on disk is damaged, foreign or of a newer format; nothing was changed. */
  | "DAMAGED";

/** Every failure of a Store. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  /** Whether a commit that failed so was applied. */
  readonly applied: "no" | "maybe";
  readonly key: string | undefined;
  readonly firstRevision: bigint | undefined;

  constructor(
    code: StoreErrorCode,
    message: string,
    options: { cause?: unknown; applied?: "no" | "maybe"; key?: string; firstRevision?: bigint } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "StoreError";
    this.code = code;
    this.applied = options.applied ?? "no";
    this.key = options.key;
    this.firstRevision = options.firstRevision;
  }
}

/** As `get`, but a damaged entry is one, marked as a scan marks it: that it is there says something, whatever its bytes. */
export async function getMarked(
  store: Pick<Store, "get" | "scan">,
  key: string,
  revision?: bigint,
): Promise<Entry | undefined> {
  try {
    return await store.get(key, { revision });
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "CORRUPT") throw error;
    const [entry] = await store.scan({ prefix: key, limit: 1, revision });
    return entry?.key === key ? entry : undefined;
  }
}

/**
 * Orders keys by their UTF-8 bytes. JavaScript's own order of strings differs
 * from it where a surrogate meets a code unit above it.
 */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates (0xd800 to 0xdfff) stand for code points above all others.
    if (x >= 0xd800 && y >= 0xd800) {
      x = x >= 0xe000 ? x - 0x800 : x + 0x2000;
      y = y >= 0xe000 ? y - 0x800 : y + 0x2000;
    }
    return x - y;
  }
  return a.length - b.length;
}
