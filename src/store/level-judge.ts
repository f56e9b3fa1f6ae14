/**
 * Which commits of a group win, and what is written of them: each is judged against what the ones before it leave, in the order
 * they came in. Where a commit brings one along that follows it, what that needs to be known of is found out by making it for the revision that the first
 * is expected to have; it is made anew where one before it in the group has lost.
 */
import type { LevelSession } from "./level-session.ts";
import {
  isLive,
  isVersioned,
  noBytes,
  type RecordDraft,
  type RecordType,
  recordTypes,
  recordValue,
  type StoredRecord,
} from "./record.ts";
import { checkNextChanges, invalid } from "./store-input.ts";
import { type Change, type Condition, type NextChanges, StoreError } from "./store.ts";

export interface Commit {
  readonly changes: readonly Change[];
  readonly conditions: readonly Condition[];
  readonly next: NextChanges | undefined;
  /** What `next` made of the revision that the commit was expected to have. */
  following: Following | undefined;
  readonly bytes: number;
  readonly resolve: (revision: bigint) => void;
  readonly reject: (error: unknown) => void;
}

interface Following {
  readonly of: number;
  readonly changes: readonly Change[];
  /** Why there are none; whatever was thrown. */
  readonly failure?: { readonly error: unknown };
}

export interface Verdicts {
  readonly drafts: RecordDraft[];
  readonly supposed: Map<string, number>;
  readonly won: { commit: Commit; revision: number }[];
  readonly lost: { commit: Commit; error: unknown }[];
  /** Of the last that won. */
  revision: number;
}

export type Known = Pick<StoredRecord, "type" | "revision"> & Partial<Pick<StoredRecord, "damage">>;

const counterBytes = 8;
const lostCounterBytes = 9;

/** The values of index entries follow from their keys. */
export function isLookedUp(type: Change["type"]): boolean {
  return type !== "index" && type !== "unindex";
}

/** What follows the commit where that has `revision`. */
export function following({ changes }: Commit, next: NextChanges, revision: number): Following {
  try {
    return { of: revision, changes: checkNextChanges(changes, next(BigInt(revision))) };
  } catch (error) {
    return { of: revision, changes: [], failure: { error } };
  }
}

export const nothing: Known = { type: recordTypes.delete, revision: 0 };

/** Which commits of the group win, and the records of those, given the newest versions of all keys that matter. */
export function judge(group: readonly Commit[], newest: Map<string, Known>, session: LevelSession): Verdicts {
  const verdicts: Verdicts = { drafts: [], supposed: new Map(), won: [], lost: [], revision: session.revision };
  const counters = new Map<string, RecordDraft>();
  for (const commit of group) {
    const { changes, conditions } = commit;
    const first = verdicts.revision + 1;
    const failed = conditions.find(({ key, revision: expected }) => expected !== liveRevision(newest.get(key)!));
    if (failed !== undefined) {
      const message = `the newest revision of a key is not ${failed.revision}`;
      verdicts.lost.push({ commit, error: new StoreError("CONFLICT", message, { key: failed.key }) });
      continue;
    }
    const next = nextChanges(commit, first, newest);
    if (next?.failure !== undefined) {
      verdicts.lost.push({ commit, error: next.failure.error });
      continue;
    }
    const before = next === undefined ? changes : [...changes, ...next.changes];
    const misused =
      changes.find((change) => isMisused(change, changes, newest, session)) ??
      next?.changes.find((change) => isMisused(change, before, newest, session));
    if (misused !== undefined) {
      const message = `a key is not one, or not now, that "${misused.type}" is for`;
      verdicts.lost.push({ commit, error: new StoreError("INVALID", message, { key: misused.key }) });
      continue;
    }
    const judged = {
      verdicts,
      counters,
      newest,
      passing: next === undefined ? [] : passingKeys(changes, next.changes),
    };
    // An index entry is mostly of the very commit of the version that the one which takes it away is conditional on.
    applyChanges(changes, Number(conditions[0]?.revision ?? 0n), judged, "index");
    if (next !== undefined) applyChanges(next.changes, first, judged, "unindex");
    verdicts.won.push({ commit, revision: first });
  }
  for (const counter of counters.values()) verdicts.drafts.push(counter);
  return verdicts;
}

/** What follows the commit, which has `revision`; made anew where one before it in its group lost. */
function nextChanges(commit: Commit, revision: number, newest: ReadonlyMap<string, Known>): Following | undefined {
  const { next, following: expected } = commit;
  if (next === undefined || expected?.of === revision) return expected;
  const made = following(commit, next, revision);
  const strange = made.changes.find(({ type, key }) => isLookedUp(type) && !newest.has(key));
  return strange === undefined
    ? made
    : { ...made, failure: { error: invalid("what follows has other keys", strange.key) } };
}

/** Of the index entries that the first makes and the second takes away. Nobody ever sees one, so neither is written. */
function passingKeys(changes: readonly Change[], next: readonly Change[]): readonly string[] {
  const isMade = (key: string): boolean => changes.some((change) => change.key === key && change.type === "index");
  return next.filter(({ type, key }) => type === "unindex" && isMade(key)).map(({ key }) => key);
}

interface Judged {
  readonly verdicts: Verdicts;
  readonly counters: Map<string, RecordDraft>;
  readonly newest: Map<string, Known>;
  readonly passing: readonly string[];
}

/**
 * One revision more; `supposed` is that of the index entries which it takes away, where it is known. Changes of type `passes` are left out
 * for the keys that are passing.
 */
function applyChanges(
  changes: readonly Change[],
  supposed: number,
  { verdicts, counters, newest, passing }: Judged,
  passes: Change["type"],
): void {
  verdicts.revision += 1;
  const { revision } = verdicts;
  for (const change of changes) {
    if (change.type === passes && passing.includes(change.key)) continue;
    if (change.type === "unindex" && supposed > 0) verdicts.supposed.set(change.key, supposed);
    if (change.type === "add") addTo(counters, change, revision, newest);
    // The deletion of what is absent changes nothing.
    else if (change.type !== "delete" || isLive(newest.get(change.key)!.type)) {
      verdicts.drafts.push(draft(change, revision, newest));
    }
  }
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
