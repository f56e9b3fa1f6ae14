/** What runners said of one task under fences that are void, in the texts of log entries. */
import { byteLength, cutText } from "../task/limits.ts";
import type { RefusedMessage } from "./remote-holder.ts";
import { describeSaid } from "./remote-words.ts";

interface Entry {
  /** Whose writes are in it. */
  readonly head: string;
  msg: string;
  bytes: number;
  writes: number;
}

/** How many entries there are at one time. */
const entriesMax = 4;
const textMaxBytes = 1_024;
const separator = "; ";
/** What the last entry has room for, beside the writes: how many more there were. */
const tailBytes = 64;

export class RefusedTexts {
  readonly #entries: Entry[] = [];
  readonly #entryMaxBytes: number;
  #bytes = 0;

  constructor(entryMaxBytes: number) {
    this.#entryMaxBytes = entryMaxBytes - tailBytes;
  }

  /** How much text is kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps what was said, cut, while there is room. */
  add({ fence, attempt, said }: RefusedMessage, runner: string): void {
    const of = attempt === 0 ? "" : `, attempt ${attempt}`;
    const head = `refused of runner ${runner} (fence ${fence}${of}), which has the task no more: `;
    const text = cutText(said === undefined ? "" : describeSaid(said), textMaxBytes);
    const own = this.#entries.findLast((entry) => entry.head === head);
    const added = separator + text;
    const bytes = byteLength(added);
    if (own !== undefined && own.bytes + bytes <= this.#entryMaxBytes) {
      own.msg += added;
      own.bytes += bytes;
      own.writes += 1;
      this.#bytes += bytes;
    } else if (this.#entries.length < entriesMax) {
      const msg = cutText(head + text, this.#entryMaxBytes);
      const entry = { head, msg, bytes: byteLength(msg), writes: 1 };
      this.#entries.push(entry);
      this.#bytes += entry.bytes;
    }
  }

  /** The texts of at most `max` entries; the last says how many of all `count` writes are in none. */
  entries(max: number, count: number): string[] {
    const kept = this.#entries.slice(0, Math.max(0, max));
    const more = count - kept.reduce((sum, { writes }) => sum + writes, 0);
    return kept.map(({ msg }, i) => (more > 0 && i === kept.length - 1 ? `${msg} (and ${more} more)` : msg));
  }
}
