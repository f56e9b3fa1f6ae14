/**
 * Bytes split into lines, in bounded memory whatever the bytes are.
 *
 * A line ends with LF or CR LF, neither of which belongs to it, or with the end of the stream where anything is left.
 * Of a longer line than `maxBytes` allows one byte more than that is kept, so that whoever takes it sees that it is too long; the rest is dropped as it
 * comes. What is not UTF-8 becomes U+FFFD.
 */
const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export interface LineSplitterOptions {
  /** The longest line that is kept whole. */
  readonly maxBytes: number;
  /** A beginning of lines that may be longer, and how long. */
  readonly long: { readonly prefix: string; readonly maxBytes: number };
}

export class LineSplitter {
  readonly #maxBytes: number;
  readonly #longMaxBytes: number;
  readonly #longPrefix: Buffer;
  /** A byte order mark is a character like any other here. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #kept = Buffer.alloc(256);
  #keptBytes = 0;
  /** Bytes of the line have come, also such as were dropped. */
  #isOpen = false;

  constructor({ maxBytes, long }: LineSplitterOptions) {
    this.#maxBytes = maxBytes;
    this.#longMaxBytes = long.maxBytes;
    this.#longPrefix = Buffer.from(long.prefix);
  }

  /** The lines that end in `chunk`. Take them all before the next push. */
  *push(chunk: Buffer): Generator<string, void, undefined> {
    let start = 0;
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      this.#append(chunk.subarray(start, end));
      start = end + 1;
      yield this.#takeLine();
    }
    if (start < chunk.length) this.#append(chunk.subarray(start));
  }

  /** The line that the end of the stream ends; undefined when there is none. */
  end(): string | undefined {
    return this.#isOpen ? this.#takeLine() : undefined;
  }

  #append(piece: Buffer): void {
    this.#isOpen = true;
    const wanted = this.#keptBytes + piece.length;
    // One byte more than the limit shows that a line is too long, and one more may be its CR.
    const limit = (wanted > this.#maxBytes && this.#isLong(piece) ? this.#longMaxBytes : this.#maxBytes) + 2;
    const bytes = Math.min(wanted, limit) - this.#keptBytes;
    if (bytes <= 0) return;
    if (this.#keptBytes + bytes > this.#kept.length) this.#grow(Math.min(limit, 2 * (this.#keptBytes + bytes)));
    piece.copy(this.#kept, this.#keptBytes, 0, bytes);
    this.#keptBytes += bytes;
  }

  /** Whether the line, of which `piece` comes next, begins as one that may be long. */
  #isLong(piece: Buffer): boolean {
    const { length } = this.#longPrefix;
    const head = Buffer.concat([this.#kept.subarray(0, Math.min(this.#keptBytes, length)), piece.subarray(0, length)]);
    return head.subarray(0, length).equals(this.#longPrefix);
  }

  #grow(bytes: number): void {
    const grown = Buffer.alloc(bytes);
    this.#kept.copy(grown, 0, 0, this.#keptBytes);
    this.#kept = grown;
  }

  #takeLine(): string {
    let bytes = this.#keptBytes;
    if (bytes > 0 && this.#kept[bytes - 1] === carriageReturn) bytes -= 1;
    const line = this.#decoder.decode(this.#kept.subarray(0, bytes));
    this.#keptBytes = 0;
    this.#isOpen = false;
    // A long line is rare: its room is not kept for those that follow.
    if (this.#kept.length > 2 * this.#maxBytes) this.#kept = Buffer.alloc(256);
    return line;
  }
}
