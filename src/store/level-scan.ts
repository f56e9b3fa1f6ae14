/** Pages of entries: the overlay and LevelDB merged as of one moment. */
import { prefixRange, sameStem } from "./level-keys.ts";
import type { LevelIterator } from "./level-database.ts";
import type { LevelJournal } from "./level-journal.ts";
import { asOf, assertReadable, toEntry } from "./level-reader.ts";
import type { LevelSession } from "./level-session.ts";
import { decodeVersion } from "./level-version.ts";
import { isLive, isVersioned, type StoredRecord } from "./record.ts";
import { compareKeys, type Entry, StoreError } from "./store.ts";

interface Page {
  readonly prefix: string;
  readonly after: string | undefined;
  readonly limit: number;
  readonly reverse: boolean;
}

const readAheadMax = 1_000;
const highWaterMarkBytes = 1 << 20;
const walksAtOnce = 32;

/** A page of the newest entries. */
export async function scanNewest(session: LevelSession, page: Page): Promise<Entry[]> {
  const records = await collect(session, page, (record) => isLive(record.type));
  return records.map((record) => toEntry(record)!);
}

/** A page of the versioned entries as of a revision. */
export async function scanAsOf(
  session: LevelSession,
  journal: LevelJournal,
  page: Page,
  revision: number,
): Promise<Entry[]> {
  assertReadable(session, revision);
  const entries: Entry[] = [];
  for (let { after } = page; ; ) {
    // As of a revision the pages need not be of one moment: whatever the moment, the answer is the same.
    const candidates = await collect(session, { ...page, after }, (record) => isVersioned(record.type));
    for (let i = 0; i < candidates.length && entries.length < page.limit; i += walksAtOnce) {
      const walks = candidates.slice(i, i + walksAtOnce).map((record) => entryAsOf(session, journal, record, revision));
      for (const entry of await Promise.all(walks)) if (entry !== undefined) entries.push(entry);
    }
    assertReadable(session, revision);
    if (entries.length >= page.limit) return entries.slice(0, page.limit);
    if (candidates.length < page.limit) return entries;
    after = candidates.at(-1)!.key;
  }
}

async function entryAsOf(
  session: LevelSession,
  journal: LevelJournal,
  newest: StoredRecord,
  revision: number,
): Promise<Entry | undefined> {
  try {
    return toEntry(await asOf(session, journal, newest, newest.key, revision));
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "CORRUPT") throw error;
    // Which version it was is lost with it; that there may be one is not.
    return { key: newest.key, value: new Uint8Array(0), revision: 0n, previous: 0n, corrupt: true };
  }
}

/** The newest records, in the page's order, of the first keys whose record `keeps`. */
function collect(
  session: LevelSession,
  { prefix, after, limit, reverse }: Page,
  keeps: (record: StoredRecord) => boolean,
): Promise<StoredRecord[]> {
  const range = { ...prefixRange(prefix, after, reverse), reverse, highWaterMarkBytes };
  return session.iterate(range, async (iterator) => {
    // In the tick of the iterator's snapshot: both sides show one moment.
    const sign = reverse ? -1 : 1;
    const overlay = session.overlay.select(
      (key) => key.startsWith(prefix) && (after === undefined || sign * compareKeys(key, after) > 0),
    );
    overlay.sort((a, b) => sign * compareKeys(a.key, b.key));
    const kept: StoredRecord[] = [];
    const take = (record: StoredRecord): void => {
      if (kept.length < limit && keeps(record)) kept.push(record);
    };
    let next = 0;
    for await (const versions of newestVersions(iterator, reverse, Math.min(limit + 16, readAheadMax))) {
      for (const version of versions) {
        while (next < overlay.length && sign * compareKeys(overlay[next]!.key, version.key) < 0) take(overlay[next++]!);
        take(overlay[next]?.key === version.key ? overlay[next++]! : version);
      }
      if (kept.length >= limit) return kept;
    }
    while (next < overlay.length) take(overlay[next++]!);
    return kept;
  });
}

/** The newest version of each key that an iterator over versions shows. */
async function* newestVersions(
  iterator: LevelIterator,
  reverse: boolean,
  readAhead: number,
): AsyncGenerator<StoredRecord[]> {
  let last: [Buffer, Buffer] | undefined;
  for (;;) {
    const entries = await iterator.nextv(readAhead);
    const versions: StoredRecord[] = [];
    for (const entry of entries) {
      const isSame = last !== undefined && sameStem(last[0], entry[0]);
      // The newest of a key comes first; in reverse, last.
      if (reverse ? last !== undefined && !isSame : !isSame) versions.push(decodeVersion(...(reverse ? last! : entry)));
      last = entry;
    }
    if (entries.length === 0) {
      if (reverse && last !== undefined) yield [decodeVersion(...last)];
      return;
    }
    yield versions;
  }
}
