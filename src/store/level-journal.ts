/**
 * Reads the journal: the newest blocks from memory, older ones from LevelDB.
 *
 * 1. `#recent` is a run of blocks without a gap that ends with the newest, bounded in bytes.
 */
import { keyNumber, numberedKey, numberedRange } from "./level-keys.ts";
import type { LevelSession } from "./level-session.ts";
import { decodeBlock, type JournalBlock } from "./record.ts";
import { StoreError } from "./store.ts";

export class LevelJournal {
  readonly #session: LevelSession;
  /** Its first `#oldest` items have left it; they are taken off now and then, as shifting each costs the length of the array. */
  #recent: (JournalBlock | undefined)[] = [];
  #oldest = 0;
  #bytes = 0;

  constructor(session: LevelSession) {
    this.#session = session;
  }

  /** Takes the block that was just committed. */
  append(block: JournalBlock): void {
    this.#recent.push(block);
    this.#bytes += weigh(block);
    while (this.#bytes > this.#session.options.blockCacheBytes && this.#oldest < this.#recent.length) {
      this.#bytes -= weigh(this.#recent[this.#oldest]!);
      this.#recent[this.#oldest] = undefined;
      this.#oldest += 1;
    }
    if (this.#oldest > 64 && this.#oldest * 2 > this.#recent.length) {
      this.#recent = this.#recent.slice(this.#oldest);
      this.#oldest = 0;
    }
  }

  /** The block that holds the revision, if it is in memory. */
  recent(revision: number): JournalBlock | undefined {
    const blocks = this.#recent;
    let low = this.#oldest;
    let high = blocks.length - 1;
    if (low > high || revision < blocks[low]!.first || revision > blocks[high]!.last) return undefined;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (blocks[middle]!.first <= revision) low = middle;
      else high = middle - 1;
    }
    return blocks[low];
  }

  /**
   * The block that holds the revision, which is above the floor and not above
   * the newest; undefined if it has gone since. Throws CORRUPT, UNAVAILABLE.
   */
  async read(revision: number): Promise<JournalBlock | undefined> {
    const recent = this.recent(revision);
    if (recent !== undefined) return recent;
    const session = this.#session;
    // Who reads on from the end of a block asks for the first of the next.
    let first = revision;
    let bytes = await session.read(numberedKey("journal", revision));
    if (bytes === undefined) {
      const entry = await session.first({ ...numberedRange("journal", 0, revision), reverse: true });
      if (entry !== undefined) [first, bytes] = [keyNumber(entry[0]), entry[1]];
    }
    const block = bytes === undefined ? undefined : decodeBlock(bytes, first);
    if (block !== undefined && block.last >= revision) return block;
    if (session.floor >= revision) return undefined;
    throw new StoreError("CORRUPT", `the journal block of revision ${revision} is damaged`);
  }
}

function weigh(block: JournalBlock): number {
  return block.bytes.length + block.records.length * 200;
}
