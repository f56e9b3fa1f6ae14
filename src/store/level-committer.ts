/**
 * Group commit: the only writer of the journal.
 *
 * States: idle -> gathering (to the end of the event loop's turn) -> committing -> gathering ... -> idle.
 *
 * 1. One group is under way at a time; its commits are judged in the order they came in, each against what
 *    the ones before it leave.
 * 2. Nothing is visible, and nobody is told anything, before the group's block is written:
 *    a commit that lost may have lost to one whose fate is open until then.
 * 3. A write that fails rejects the group's commits as applied "maybe"; all others are rejected as "no".
 * 4. What is not materialized is bounded: at the bound groups wait for rounds.
 */
import { nextTurn } from "../async/next-turn.ts";
import { numberedKey } from "./level-keys.ts";
import type { LevelSession } from "./level-session.ts";
import {
  encodeBlock,
  isLive,
  isVersioned,
  type JournalBlock,
  noBytes,
  type RecordDraft,
  type RecordType,
  recordTypes,
  recordValue,
  type StoredRecord,
} from "./record.ts";
import { type Change, type Condition, StoreError } from "./store.ts";

export interface CommitterHooks {
  /** The block is durable. `supposed` has revisions that index entries which it takes away are likely to be of. */
  publish(block: JournalBlock, supposed: ReadonlyMap<string, number>): void;
  /** Resolves when something was materialized, or the session has failed. */
  room(): Promise<void>;
}

interface Commit {
  readonly changes: readonly Change[];
  readonly conditions: readonly Condition[];
  readonly bytes: number;
  readonly resolve: (revision: bigint) => void;
  readonly reject: (error: StoreError) => void;
}

interface Verdicts {
  readonly drafts: RecordDraft[];
  readonly supposed: Map<string, number>;
  readonly won: { commit: Commit; revision: number }[];
  readonly lost: { commit: Commit; error: StoreError }[];
}

type Known = Pick<StoredRecord, "type" | "revision"> & Partial<Pick<StoredRecord, "damage">>;

const seeksAtOnce = 64;
const counterBytes = 8;
const lostCounterBytes = 9;

export class Committer {
  readonly #session: LevelSession;
  readonly #hooks: CommitterHooks;
  #queue: Commit[] = [];
  #running: Promise<void> | undefined;

  constructor(session: LevelSession, hooks: CommitterHooks) {
    this.#session = session;
    this.#hooks = hooks;
  }

  /** Resolves when no commit waits or is under way. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Queues a commit that is valid. */
  commit(changes: readonly Change[], conditions: readonly Condition[]): Promise<bigint> {
    let bytes = 0;
    for (const change of changes) bytes += change.key.length + ("value" in change ? change.value.length : 0);
    return new Promise((resolve, reject) => {
      this.#queue.push({ changes, conditions, bytes, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      // Those whom the last group has told come back with their next commits in this turn.
      await nextTurn();
      await this.#commitGroup();
    }
    this.#running = undefined;
  }

  async #commitGroup(): Promise<void> {
    while (this.#isFull() && this.#session.failure === undefined) await this.#hooks.room();
    const group = this.#takeGroup();
    let written = false;
    let verdicts: Verdicts | undefined;
    try {
      this.#session.assertSound();
      const newest = new Map<string, Known>();
      const missing = this.#lookUp(group, newest);
      if (missing.length > 0) await this.#seek(missing, newest);
      verdicts = judge(group, newest, this.#session);
      if (verdicts.won.length > 0) {
        const { options, revision } = this.#session;
        const block = encodeBlock(revision + 1, verdicts.won.length, options.clock.wall(), verdicts.drafts);
        written = true;
        await this.#session.write(
          [{ type: "put", key: numberedKey("journal", block.first), value: block.bytes }],
          options.durability === "sync",
        );
        this.#hooks.publish(block, verdicts.supposed);
      }
    } catch (cause) {
      rejectGroup(group, cause, written ? verdicts : undefined);
      if (!(cause instanceof StoreError)) this.#session.fence("a commit failed unexpectedly", cause);
      return;
    }
    for (const { commit, revision } of verdicts.won) commit.resolve(BigInt(revision));
    for (const { commit, error } of verdicts.lost) commit.reject(error);
  }

  #isFull(): boolean {
    const { overlay, options } = this.#session;
    return overlay.keys >= options.unmaterializedMaxKeys || overlay.bytes >= options.unmaterializedMaxBytes;
  }

  #takeGroup(): Commit[] {
    const { groupMaxCommits, groupMaxBytes } = this.#session.options;
    const queue = this.#queue;
    let count = 0;
    let bytes = 0;
    while (count < queue.length && count < groupMaxCommits && (count === 0 || bytes < groupMaxBytes)) {
      bytes += queue[count]!.bytes;
      count += 1;
    }
    if (count === queue.length) {
      this.#queue = [];
      return queue;
    }
    return queue.splice(0, count);
  }

  /**
   * Puts into `newest` what memory knows of the keys that the group depends on, and
   * returns the others. Index entries need no look: their values follow from their keys.
   */
  #lookUp(group: readonly Commit[], newest: Map<string, Known>): string[] {
    const missing: string[] = [];
    const look = (key: string): void => {
      if (newest.has(key)) return;
      const known = this.#session.known(key);
      if (known === undefined) missing.push(key);
      newest.set(key, known ?? nothing);
    };
    for (const { changes, conditions } of group) {
      for (const { key } of conditions) look(key);
      for (const { type, key } of changes) if (type !== "index" && type !== "unindex") look(key);
    }
    return missing;
  }

  async #seek(missing: readonly string[], newest: Map<string, Known>): Promise<void> {
    for (let i = 0; i < missing.length; i += seeksAtOnce) {
      const keys = missing.slice(i, i + seeksAtOnce);
      const records = await Promise.all(keys.map((key) => this.#session.seekNewest(key)));
      for (const [j, key] of keys.entries()) newest.set(key, records[j]!);
    }
  }
}

const nothing: Known = { type: recordTypes.delete, revision: 0 };

/** Which commits of the group win, and the records of those, given the newest versions of all keys that matter. */
function judge(group: readonly Commit[], newest: Map<string, Known>, session: LevelSession): Verdicts {
  const verdicts: Verdicts = { drafts: [], supposed: new Map(), won: [], lost: [] };
  const counters = new Map<string, RecordDraft>();
  let revision = session.revision;
  for (const commit of group) {
    const failed = commit.conditions.find(({ key, revision: expected }) => expected !== liveRevision(newest.get(key)!));
    if (failed !== undefined) {
      const message = `the newest revision of a key is not ${failed.revision}`;
      verdicts.lost.push({ commit, error: new StoreError("CONFLICT", message, { key: failed.key }) });
      continue;
    }
    const misused = commit.changes.find((change) => isMisused(change, commit.changes, newest, session));
    if (misused !== undefined) {
      const message = `a key is not one, or not now, that "${misused.type}" is for`;
      verdicts.lost.push({ commit, error: new StoreError("INVALID", message, { key: misused.key }) });
      continue;
    }
    revision += 1;
    // An index entry is mostly of the very commit of the version that the one which takes it away is conditional on.
    const [condition] = commit.conditions;
    for (const change of commit.changes) {
      if (change.type === "unindex" && condition !== undefined && condition.revision > 0n)
        verdicts.supposed.set(change.key, Number(condition.revision));
      if (change.type === "add") addTo(counters, change, revision, newest);
      // The deletion of what is absent changes nothing.
      else if (change.type !== "delete" || isLive(newest.get(change.key)!.type)) {
        verdicts.drafts.push(draft(change, revision, newest));
      }
    }
    verdicts.won.push({ commit, revision });
  }
  for (const counter of counters.values()) verdicts.drafts.push(counter);
  return verdicts;
}

/**
 * Whether the change is not for keys of the key's kind, or indexes an entry that is there;
 * as far as memory knows, since index entries are not looked up.
 */
function isMisused(
  { type, key }: Change,
  siblings: readonly Change[],
  newest: Map<string, Known>,
  session: LevelSession,
): boolean {
  const isOfIndex = type === "index" || type === "unindex";
  const known = newest.get(key) ?? (isOfIndex ? session.overlay.get(key) : undefined);
  // Of one whose head is damaged the kind is lost, too: what is done to such a key must not fail all that is done with it.
  if (known === undefined || known.revision === 0 || known.damage === "head") return false;
  if (type === "put" || type === "delete") return !isVersioned(known.type);
  if (type === "add") return known.type !== recordTypes.counter;
  if (known.type === recordTypes.unindex) return false;
  if (known.type !== recordTypes.index) return true;
  return type === "index" && !siblings.some((sibling) => sibling.key === key && sibling.type === "unindex");
}

function liveRevision({ type, revision }: Known): bigint {
  return isLive(type) ? BigInt(revision) : 0n;
}

const draftTypes = {
  put: recordTypes.put,
  delete: recordTypes.delete,
  index: recordTypes.index,
  unindex: recordTypes.unindex,
} as const satisfies Record<Exclude<Change["type"], "add">, RecordType>;

function draft(change: Exclude<Change, { type: "add" }>, revision: number, newest: Map<string, Known>): RecordDraft {
  const { key } = change;
  const type = draftTypes[change.type];
  const isIndex = type === recordTypes.index || type === recordTypes.unindex;
  const previous = isIndex ? 0 : newest.get(key)!.revision;
  const record: RecordDraft = { type, key, revision, previous, value: "value" in change ? change.value : noBytes };
  newest.set(key, record);
  return record;
}

/** One record holds what all commits of the group add to a counter. */
function addTo(
  counters: Map<string, RecordDraft>,
  { key, delta }: { key: string; delta: bigint },
  revision: number,
  newest: Map<string, Known>,
): void {
  let counter = counters.get(key);
  if (counter === undefined) {
    const before = newest.get(key)! as StoredRecord;
    const value = before.revision === 0 ? Buffer.alloc(counterBytes) : Buffer.from(recordValue(before));
    counter = { type: recordTypes.counter, key, revision, previous: before.revision, value };
    counters.set(key, counter);
    newest.set(key, counter);
  }
  counter.revision = revision;
  // A counter whose value was lost stays without one, and reads as damaged: it has a byte too many, and behind that what was added since.
  if (counter.value.length !== counterBytes && counter.value.length !== lostCounterBytes) {
    counter.value = Buffer.alloc(lostCounterBytes);
  }
  const sum = counter.value as Buffer;
  const at = sum.length - counterBytes;
  sum.writeBigInt64BE(BigInt.asIntN(64, sum.readBigInt64BE(at) + delta), at);
}

/** Rejects all commits of a group; `written`, if the batch was to be written, says which of them are in it. */
function rejectGroup(group: readonly Commit[], cause: unknown, written: Verdicts | undefined): void {
  const isRefused = cause instanceof StoreError && cause.applied === "no";
  const maybe = new Set(isRefused ? [] : written?.won.map(({ commit }) => commit));
  for (const commit of group) {
    const applied = maybe.has(commit) ? "maybe" : "no";
    commit.reject(new StoreError("UNAVAILABLE", "the store failed to commit", { cause, applied }));
  }
}
