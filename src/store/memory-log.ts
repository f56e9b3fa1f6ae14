/**
 * The history of a store in memory: its commits, oldest first.
 *
 * 1. It has the commits of the revisions `floor` + 1 to the newest, without a gap.
 * 2. A commit leaves at the old end only, and with it what no revision that can still be read shows: a
 *    version links to the one before it until the commit that replaced that one has left.
 */
import type { StoreEvent } from "./store.ts";

/** What a key had from a revision on. Index entries and counters have neither a previous nor an older one. */
export interface Version {
  readonly key: string;
  readonly kind: "versioned" | "index" | "counter";
  /** Undefined: deleted. */
  readonly value: Uint8Array | undefined;
  readonly revision: bigint;
  readonly previous: bigint;
  older: Version | undefined;
}

interface LoggedCommit {
  readonly monoMs: number;
  readonly bytes: number;
  readonly versions: readonly Version[];
}

/** What holding a version costs beside its key and value, roughly; what a commit does, too. */
const overheadBytes = 200;
/** No further commit is added to an array of this many events or bytes. */
const arrayMaxEvents = 1_000;
const arrayMaxBytes = 1024 ** 2;

export class CommitLog {
  /** Its first `#gone` items have left it; they are taken off now and then. */
  #commits: (LoggedCommit | undefined)[] = [];
  #gone = 0;
  #bytes = 0;
  #floor = 0n;

  /** The revision up to which all commits have left. */
  get floor(): bigint {
    return this.#floor;
  }

  /** What it costs to hold, about. */
  get bytes(): number {
    return this.#bytes;
  }

  /** When the oldest commit was added; undefined where there is none. */
  get oldestMs(): number | undefined {
    return this.#commits[this.#gone]?.monoMs;
  }

  /** Adds the next commit: its versions of versioned keys. */
  push(monoMs: number, versions: readonly Version[]): void {
    const bytes = versions.reduce((total, version) => total + sizeOf(version), overheadBytes);
    this.#commits.push({ monoMs, bytes, versions });
    this.#bytes += bytes;
  }

  /** Lets the oldest commit go; returns its versions, which nothing older is behind now. */
  shift(): readonly Version[] {
    const commit = this.#commits[this.#gone];
    if (commit === undefined) return [];
    this.#commits[this.#gone] = undefined;
    this.#gone += 1;
    this.#floor += 1n;
    this.#bytes -= commit.bytes;
    for (const version of commit.versions) version.older = undefined;
    if (this.#gone >= 1_024 && this.#gone * 2 >= this.#commits.length) {
      this.#commits = this.#commits.slice(this.#gone);
      this.#gone = 0;
    }
    return commit.versions;
  }

  /** The changes of keys with the prefix after a revision from the floor on: whole commits, until an array is full or the log ends. */
  eventsAfter(position: bigint, prefix: string): { events: StoreEvent[]; upTo: bigint } {
    const events: StoreEvent[] = [];
    let bytes = 0;
    let at = this.#gone + Number(position - this.#floor);
    for (; at < this.#commits.length && events.length < arrayMaxEvents && bytes < arrayMaxBytes; at += 1) {
      for (const version of this.#commits[at]?.versions ?? []) {
        if (!version.key.startsWith(prefix)) continue;
        events.push(toEvent(version));
        bytes += version.value?.length ?? 0;
      }
    }
    return { events, upTo: this.#floor + BigInt(at - this.#gone) };
  }
}

function sizeOf(version: Version): number {
  return version.key.length + (version.value?.length ?? 0) + overheadBytes;
}

function toEvent({ key, value, revision, previous }: Version): StoreEvent {
  return { type: value === undefined ? "delete" : "put", key, value: new Uint8Array(value ?? []), revision, previous };
}
