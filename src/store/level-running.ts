/** One opening of a LevelDB store's database, and what runs on it. */
import { isOfDamage } from "./level-check.ts";
import { Committer } from "./level-committer.ts";
import { type OpenedDirectory, openDirectory } from "./level-directory.ts";
import { FilterKeeper } from "./level-filter-kept.ts";
import { LevelJournal } from "./level-journal.ts";
import { loadSession } from "./level-load.ts";
import type { DirectoryLock } from "./level-lock.ts";
import { Materializer } from "./level-materializer.ts";
import type { ResolvedLevelStoreOptions } from "./level-options.ts";
import { LevelSession } from "./level-session.ts";
import type { ParkedWatches } from "./level-watch.ts";
import type { JournalBlock } from "./record.ts";
import { StoreError } from "./store.ts";

export interface Running {
  readonly opened: OpenedDirectory;
  readonly session: LevelSession;
  readonly journal: LevelJournal;
  readonly committer: Committer;
  readonly materializer: Materializer;
}

export interface RunOptions {
  readonly lock: DirectoryLock;
  readonly options: ResolvedLevelStoreOptions;
  readonly parked: ParkedWatches;
  /** Where the store was, and why it is not there any more, if this is a reopening. */
  readonly before?: { readonly revision: number; readonly failure: unknown } | undefined;
}

export async function run({ lock, options, parked, before }: RunOptions): Promise<Running> {
  const { path: directory } = lock;
  // What was read in whole a while ago is not again for each try to come back; but if damage was found, it is looked for.
  const isThorough = before === undefined || isOfDamage(before.failure);
  const opened = await openDirectory({ directory, makes: before === undefined, isThorough, ...options });
  const session = new LevelSession(opened.db, options);
  const journal = new LevelJournal(session);
  try {
    await loadSession(session, (block) => {
      for (const record of block.records) session.overlay.apply(record);
      journal.append(block);
    });
    const leastRevision = Math.max(opened.leastRevision, before?.revision ?? 0);
    if (session.revision < leastRevision) {
      const message = `the store in ${directory} is at revision ${session.revision}, and has been at ${leastRevision}`;
      throw new StoreError("DAMAGED", `${message}: commits that were acknowledged are lost`);
    }
    await opened.accept();
  } catch (error) {
    await opened.refuse();
    throw error;
  }
  const keeper = new FilterKeeper(session);
  const materializer = new Materializer(session, keeper);
  const publish = (block: JournalBlock, supposed: ReadonlyMap<string, number>): void => {
    const bases = { materialized: session.materializedIndex, supposed: (key: string) => supposed.get(key) };
    for (const record of block.records) session.overlay.apply(record, bases);
    journal.append(block);
    session.revision = block.last;
    session.journalBytes += block.bytes.length;
    session.filter.journalBytes += block.bytes.length;
    parked.published(block);
    materializer.changed();
  };
  const committer = new Committer(session, { publish, room: () => materializer.room() });
  session.filter.begin(session, await keeper.find());
  materializer.start();
  return { opened, session, journal, committer, materializer };
}

/** Closes a session that is given up, whatever its handle says to that. */
export async function letGo({ session, committer, materializer }: Running): Promise<void> {
  session.fence("the store is closed");
  await committer.idle();
  await materializer.stop();
  await session.filter.filled();
  await session.db.close();
}
