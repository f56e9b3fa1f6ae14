/**
 * Reads the journal: the newest blocks from memory, older ones from LevelDB.
 *
 * 1. `#recent` is a run of blocks without a gap that ends with the newest, bounded in bytes.
 * 2. Of those few are as they were committed, the newest, which whoever follows the journal asks for. Of the others the bytes are kept: objects that
 *    nobody asks for any more would cost the collector of garbage for as long as they are there.
 */
import { keyNumber, numberedKey, numberedRange } from "./level-keys.ts";
import type { LevelSession } from "./level-session.ts";
import { decodeBlock, type JournalBlock, type StoredRecord } from "./record.ts";
import { StoreError } from "./store.ts";

/** How many are as they were committed. */
const wholeBlocks = 16;

/** A block of which the records are made anew for whoever asks for them. */
class PackedBlock implements JournalBlock {
  readonly first: number;
  readonly last: number;
  readonly wallMs: number;
  readonly bytes: Buffer;

  constructor({ first, last, wallMs, bytes }: JournalBlock) {
    this.first = first;
    this.last = last;
    this.wallMs = wallMs;
    this.bytes = bytes;
  }

  get records(): readonly StoredRecord[] {
    return decodeBlock(this.bytes, this.first)?.records ?? [];
  }
}

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
    this.#pack(this.#recent.length - 1 - wholeBlocks);
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

  #pack(place: number): void {
    const block = this.#recent[place];
    if (block === undefined) return;
    const packed = new PackedBlock(block);
    this.#recent[place] = packed;
    this.#bytes += weigh(packed) - weigh(block);
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
  const objectsBytes = block instanceof PackedBlock ? 0 : block.records.length * 150;
  return block.bytes.length + 300 + objectsBytes;
}
