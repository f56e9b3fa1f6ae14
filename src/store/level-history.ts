/**
 * How far back the store can be read: history goes from checkpoint to checkpoint, and then what lies below it in LevelDB. It is
 * told by whoever has the rounds (level-materializer.ts), in between whose steps it does its own.
 *
 * 1. The floor only ever is the watermark of a checkpoint; F is on disk before anything below it goes.
 * 2. Each piece of collecting is bounded by `pieceEntries`.
 */
import type { LevelOperation } from "./level-database.ts";
import {
  decodeKeyList,
  garbageKey,
  garbageRange,
  keyNumber,
  numberedKey,
  numberedRange,
  putCell,
} from "./level-keys.ts";
import type { Checkpoint, LevelSession } from "./level-session.ts";

export const pieceEntries = 512;
/** Checkpoints in the time, and in the bytes, that history is kept for. */
const checkpointsKept = 8;

export class LevelHistory {
  readonly #session: LevelSession;
  /** Where collecting goes on: what was deleted lies in its way until LevelDB has compacted it. */
  readonly #collected = { garbage: garbageKey(0, 0), checkpoint: 0, journal: 0 };
  #lastCheckpointWallMs: number;

  constructor(session: LevelSession) {
    this.#session = session;
    this.#lastCheckpointWallMs = session.checkpoints.at(-1)?.wallMs ?? session.options.clock.wall();
  }

  /** After how long a checkpoint is due, whatever was committed. */
  get checkpointEveryMs(): number {
    return Math.ceil(this.#session.options.historyMs / checkpointsKept);
  }

  isCheckpointDue(watermark: number): boolean {
    const { options, lastCheckpoint, journalBytes } = this.#session;
    if (watermark <= lastCheckpoint) return false;
    if (journalBytes * checkpointsKept >= options.historyBytes) return true;
    return Math.abs(options.clock.wall() - this.#lastCheckpointWallMs) * checkpointsKept >= options.historyMs;
  }

  /** The checkpoint is on disk. */
  addCheckpoint(checkpoint: Checkpoint): void {
    this.#session.checkpoints.push(checkpoint);
    this.#session.journalBytes -= checkpoint.journalBytes;
    this.#lastCheckpointWallMs = checkpoint.wallMs;
  }

  /** Lets history go that is too old or too much; whether there was any. */
  async advanceFloor(): Promise<boolean> {
    const session = this.#session;
    const { checkpoints, options } = session;
    const oldestWallMs = options.clock.wall() - options.historyMs;
    let historyBytes = session.journalBytes;
    for (const checkpoint of checkpoints) historyBytes += checkpoint.journalBytes;
    let passed = 0;
    for (const { wallMs, journalBytes } of checkpoints) {
      if (wallMs > oldestWallMs && historyBytes <= options.historyBytes) break;
      historyBytes -= journalBytes;
      passed += 1;
    }
    if (passed === 0) return false;
    const floor = checkpoints[passed - 1]!.watermark;
    const operations: LevelOperation[] = [putCell(numberedKey("floor", floor), [floor])];
    if (session.floor > 0) operations.push({ type: "del", key: numberedKey("floor", session.floor) });
    await session.writeAlone(operations);
    session.floor = floor;
    session.checkpoints = checkpoints.slice(passed);
    options.log.debug({ floor }, "history was let go");
    return true;
  }

  /** Deletes a piece of what is below the floor; false when there is nothing left. */
  async collectPiece(): Promise<boolean> {
    const session = this.#session;
    const { floor } = session;
    if (floor === 0) return false;
    const part = await session.first({ ...garbageRange(floor), gte: this.#collected.garbage });
    if (part !== undefined) {
      const [key, bytes] = part;
      this.#collected.garbage = key;
      const keys = decodeKeyList(bytes);
      if (keys === undefined) session.options.log.warn({ key: key.toString("hex") }, "a garbage list is damaged");
      const operations = [...(keys ?? []), key].map((garbage): LevelOperation => ({ type: "del", key: garbage }));
      await session.writeAlone(operations);
      return true;
    }
    const checkpoints = await this.#numbersUpTo("checkpoint", floor);
    const blocks = await this.#numbersUpTo("journal", floor);
    const operations = checkpoints.map(
      (number): LevelOperation => ({ type: "del", key: numberedKey("checkpoint", number) }),
    );
    for (const number of blocks) operations.push({ type: "del", key: numberedKey("journal", number) });
    if (operations.length === 0) return false;
    await session.writeAlone(operations);
    return true;
  }

  #numbersUpTo(space: "checkpoint" | "journal", last: number): Promise<number[]> {
    const range = { ...numberedRange(space, this.#collected[space], last), values: false, limit: pieceEntries };
    return this.#session.iterate(range, async (iterator) => {
      const numbers = (await iterator.nextv(pieceEntries)).map(([key]) => keyNumber(key));
      this.#collected[space] = numbers.at(-1) ?? last;
      return numbers;
    });
  }
}
