/** Reads of single keys: the newest version, or the one as of a revision. */
import { valueKey } from "./level-keys.ts";
import type { LevelJournal } from "./level-journal.ts";
import type { LevelSession } from "./level-session.ts";
import { absent, decodeVersion } from "./level-version.ts";
import { isLive, isVersioned, noBytes, recordIn, recordTypes, recordValue, type StoredRecord } from "./record.ts";
import { checkRevision } from "./store-input.ts";
import { type Entry, type GetOptions, StoreError } from "./store.ts";

const counterBytes = 8;

/** The entry of `key` as of `revision`, the newest for undefined; see Store.get. */
export async function readEntry(
  session: LevelSession,
  journal: LevelJournal,
  key: string,
  options: GetOptions,
): Promise<Entry | undefined> {
  const revision = options.revision === undefined ? undefined : checkRevision(options.revision);
  session.assertSound();
  if (revision !== undefined) assertReadable(session, revision);
  let record = session.known(key) ?? (await session.seekNewest(key));
  if (revision !== undefined) {
    // What has no history shows in none.
    if (!isVersioned(record.type)) return undefined;
    record = await asOf(session, journal, record, key, revision);
  }
  const entry = toEntry(record);
  if (entry?.corrupt) throw corrupt(key);
  return entry ?? (options.deleted === true ? toDeletion(record, session.floor) : undefined);
}

/** A deletion as an entry; undefined where there is none. A damaged one is for watches to stumble over: who asks for a key learns that it is gone. */
function toDeletion({ type, key, revision, previous }: StoredRecord, floor: number): Entry | undefined {
  if (type !== recordTypes.delete || revision <= floor) return undefined;
  return { key, value: new Uint8Array(0), revision: BigInt(revision), previous: BigInt(previous), deleted: true };
}

/** Throws COMPACTED or FUTURE where the revision cannot be read. */
export function assertReadable(session: LevelSession, revision: number): void {
  if (revision > session.revision) {
    throw new StoreError("FUTURE", `revision ${revision} lies ahead of the store's ${session.revision}`);
  }
  if (revision < session.floor) {
    const firstRevision = BigInt(session.floor);
    throw new StoreError("COMPACTED", `the history before revision ${firstRevision} is gone`, { firstRevision });
  }
}

/** Walks back from the newest version to the one as of the revision; `absent` for none. */
export async function asOf(
  session: LevelSession,
  journal: LevelJournal,
  newest: StoredRecord,
  key: string,
  revision: number,
): Promise<StoredRecord> {
  const walked = session.walked.get(key);
  // Who goes back version by version, as a history does, goes on from the last.
  let step: Step = walked !== undefined && walked.revision > revision ? walked : newest;
  let found = newest;
  let triesChange = step.previous > revision;
  while (step.revision > revision) {
    if (step.damage === "head") throw corrupt(key);
    // Who asks for the very revision of a change, as those do who have its number, need not go by all that came after it.
    const change = triesChange ? await changeAt(session, journal, key, revision) : undefined;
    triesChange = false;
    found = change ?? (step.previous === 0 ? absent : await readVersion(session, journal, key, step.previous));
    step = found;
  }
  // The floor may have risen over what was read on the way.
  assertReadable(session, revision);
  if (found.damage === undefined && found.revision > 0) {
    session.walked.set(key, { revision: found.revision, previous: found.previous });
  }
  return found;
}

type Step = Pick<StoredRecord, "revision" | "previous"> & Partial<Pick<StoredRecord, "damage">>;

/** The change of the key with this very revision, if it has one. */
async function changeAt(
  session: LevelSession,
  journal: LevelJournal,
  key: string,
  revision: number,
): Promise<StoredRecord | undefined> {
  if (revision <= session.floor) return undefined;
  const block = await journal.read(revision).catch((error: unknown) => {
    // Of a damaged block nobody knows what was in it: the walk finds out whether it matters.
    if (!(error instanceof StoreError) || error.code !== "CORRUPT") throw error;
    return undefined;
  });
  return block && recordIn(block, key, revision);
}

async function readVersion(
  session: LevelSession,
  journal: LevelJournal,
  key: string,
  revision: number,
): Promise<StoredRecord> {
  while (revision > session.floor) {
    const block = await journal.read(revision);
    if (block === undefined) continue;
    const record = recordIn(block, key, revision);
    if (record === undefined) throw corrupt(key);
    return record;
  }
  // The newest version at the floor is materialized, unless it was a deletion and has been collected.
  const levelKey = valueKey(key, revision);
  const bytes = await session.read(levelKey);
  return bytes === undefined ? absent : decodeVersion(levelKey, bytes);
}

/** What a reader sees of a record; undefined for an absent entry. The bytes are the reader's own. */
export function toEntry(record: StoredRecord): Entry | undefined {
  const { type, key } = record;
  if (!isLive(type)) return undefined;
  const revision = BigInt(record.revision);
  const previous = isVersioned(type) ? BigInt(record.previous) : 0n;
  const value = recordValue(record);
  if (record.damage !== undefined || (type === recordTypes.counter && value.length !== counterBytes)) {
    // Of a counter: what was added to it since its value was lost.
    const added = type === recordTypes.counter ? value.subarray(-counterBytes) : noBytes;
    return { key, value: new Uint8Array(added), revision, previous, corrupt: true };
  }
  return { key, value: new Uint8Array(value), revision, previous };
}

export function corrupt(key: string): StoreError {
  return new StoreError("CORRUPT", "the stored bytes of a key are damaged", { key });
}
