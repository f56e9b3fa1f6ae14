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
import { type Commit, following, isLookedUp, judge, type Known, nothing, type Verdicts } from "./level-judge.ts";
import { numberedKey } from "./level-keys.ts";
import type { LevelSession } from "./level-session.ts";
import { encodeBlock, type JournalBlock } from "./record.ts";
import { type Change, type Condition, type NextChanges, StoreError } from "./store.ts";

export interface CommitterHooks {
  /** The block is durable. `supposed` has revisions that index entries which it takes away are likely to be of. */
  publish(block: JournalBlock, supposed: ReadonlyMap<string, number>): void;
  /** Resolves when something was materialized, or the session has failed. */
  room(): Promise<void>;
}

const seeksAtOnce = 64;

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
  commit(changes: readonly Change[], conditions: readonly Condition[], next: NextChanges | undefined): Promise<bigint> {
    let bytes = 0;
    for (const change of changes) bytes += change.key.length + ("value" in change ? change.value.length : 0);
    // What follows is mostly as much again.
    if (next !== undefined) bytes *= 2;
    return new Promise((resolve, reject) => {
      this.#queue.push({ changes, conditions, next, following: undefined, bytes, resolve, reject });
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
        const block = encodeBlock(revision + 1, verdicts.revision - revision, options.clock.wall(), verdicts.drafts);
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
    let { revision } = this.#session;
    for (const commit of group) {
      for (const { key } of commit.conditions) look(key);
      for (const { type, key } of commit.changes) if (isLookedUp(type)) look(key);
      revision += 1;
      if (commit.next === undefined) continue;
      commit.following = following(commit, commit.next, revision);
      for (const { type, key } of commit.following.changes) if (isLookedUp(type)) look(key);
      revision += 1;
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

/** Rejects all commits of a group; `written`, if the batch was to be written, says which of them are in it. */
function rejectGroup(group: readonly Commit[], cause: unknown, written: Verdicts | undefined): void {
  const isRefused = cause instanceof StoreError && cause.applied === "no";
  const maybe = new Set(isRefused ? [] : written?.won.map(({ commit }) => commit));
  for (const commit of group) {
    const applied = maybe.has(commit) ? "maybe" : "no";
    commit.reject(new StoreError("UNAVAILABLE", "the store failed to commit", { cause, applied }));
  }
}
