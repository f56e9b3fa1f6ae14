/**
 * Brings a session to the state of its database: the numbered cells, then the
 * blocks above the watermark, block by block, into the overlay.
 *
 * 1. The journal is checked to be a chain: each block follows the one before, the first unmaterialized
 *    one the watermark. A gap means that LevelDB lost what was acknowledged: DAMAGED.
 * 2. Only what is not materialized is read: opening costs what a crash left, not what the store holds.
 */
import { decodeCell, keyNumber, type NumberedSpace, numberedRange } from "./level-keys.ts";
import type { LevelSession } from "./level-session.ts";
import { decodeBlock, type JournalBlock } from "./record.ts";
import { StoreError } from "./store.ts";

const blocksAtOnce = 64;

/** Loads; `replay` gets each block that is not materialized, in order. Throws DAMAGED, UNAVAILABLE. */
export async function loadSession(session: LevelSession, replay: (block: JournalBlock) => void): Promise<void> {
  const floor = await highest(session, "floor");
  session.floor = floor?.number ?? 0;
  const watermark = await highest(session, "watermark");
  session.materialized = Math.max(watermark?.number ?? 0, session.floor);
  session.journalBytes = watermark?.numbers[1] ?? 0;
  await loadCheckpoints(session);
  // A checkpoint may have been made at a watermark that was written before it.
  if (session.lastCheckpoint >= session.materialized) session.journalBytes = 0;

  await checkEnd(session);
  session.revision = session.materialized;
  await session.iterate(numberedRange("journal", session.materialized + 1), async (iterator) => {
    for (;;) {
      const entries = await iterator.nextv(blocksAtOnce);
      if (entries.length === 0) return;
      for (const [key, bytes] of entries) replayBlock(session, keyNumber(key), bytes, replay);
    }
  });
}

function replayBlock(session: LevelSession, first: number, bytes: Buffer, replay: (block: JournalBlock) => void): void {
  const expected = session.revision + 1;
  if (first !== expected) throw damaged(`the journal has a gap: revision ${expected} is followed by ${first}`);
  const block = decodeBlock(bytes, first);
  if (block === undefined) throw damaged(`the journal block of revision ${first} is damaged`);
  if (block.records.some(({ damage }) => damage === "head")) {
    throw damaged(`a record in the journal block of revision ${first} is damaged, and whose it is cannot be told`);
  }
  session.revision = block.last;
  session.journalBytes += block.bytes.length;
  replay(block);
}

/** The block that ends with the watermark must be there, unless history starts behind it. */
async function checkEnd(session: LevelSession): Promise<void> {
  const { materialized, floor } = session;
  if (materialized <= floor) return;
  const entry = await session.first({ ...numberedRange("journal", floor + 1, materialized), reverse: true });
  const block = entry && decodeBlock(entry[1], keyNumber(entry[0]));
  // A damaged block in history concerns those who read it; a missing one, all.
  if (entry === undefined || (block !== undefined && block.last !== materialized)) {
    throw damaged(`the journal does not reach revision ${materialized}, which it should`);
  }
}

async function loadCheckpoints(session: LevelSession): Promise<void> {
  await session.iterate(numberedRange("checkpoint", session.floor + 1), async (iterator) => {
    for (;;) {
      const entries = await iterator.nextv(blocksAtOnce);
      if (entries.length === 0) return;
      for (const [key, bytes] of entries) {
        const [wallMs, journalBytes] = decodeCell(key, bytes) ?? [];
        if (wallMs === undefined || journalBytes === undefined) throw damaged("a checkpoint is damaged");
        session.checkpoints.push({ watermark: keyNumber(key), wallMs, journalBytes });
      }
    }
  });
}

/** The cell with the highest number: what comes back of those before it is ignored. */
async function highest(
  session: LevelSession,
  space: NumberedSpace,
): Promise<{ number: number; numbers: number[] } | undefined> {
  const entry = await session.first({ ...numberedRange(space), reverse: true });
  if (entry === undefined) return undefined;
  const numbers = decodeCell(...entry);
  if (numbers === undefined) throw damaged(`the ${space} is damaged`);
  return { number: keyNumber(entry[0]), numbers };
}

function damaged(message: string): StoreError {
  return new StoreError("DAMAGED", message);
}
