import { type RequestLimit, tooLargeError } from "../rpc/errors.ts";

/** What stands before each message: flags, and the length in four bytes. */
export const prefixBytes = 5;

/** Throws RESOURCE_EXHAUSTED where that is more than the limit. */
export function checkSize(bytes: number, limit: RequestLimit): void {
  if (bytes > limit.value) throw tooLargeError(limit, String(bytes));
}

/** Bytes in one piece, at a cost that grows with the bytes and not with the number of chunks they came in. */
export class PendingBytes {
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;

  get byteLength(): number {
    return this.#length;
  }

  append(chunk: Buffer): void {
    const length = this.#length + chunk.byteLength;
    if (length > this.#bytes.byteLength) {
      const grown = Buffer.allocUnsafe(Math.max(length, this.#length === 0 ? 0 : this.#bytes.byteLength * 2));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length = length;
  }

  peek(count: number): Buffer {
    return this.#bytes.subarray(0, count);
  }

  /**
   * The message that they begin with, prefix included; undefined while it is not whole. Throws RESOURCE_EXHAUSTED for one that
   * says it is longer than the limit, as soon as the prefix is there.
   */
  takeMessage(limit: RequestLimit): Buffer | undefined {
    if (this.#length < prefixBytes) return undefined;
    const messageBytes = this.#bytes.readUInt32BE(1);
    checkSize(messageBytes, limit);
    const size = prefixBytes + messageBytes;
    return this.#length < size ? undefined : this.#take(size);
  }

  /** As many whole messages as they begin with, prefixes included, in one piece; undefined for none. Throws as takeMessage for the first. */
  takeMessages(limit: RequestLimit): Buffer | undefined {
    let end = 0;
    while (end + prefixBytes <= this.#length) {
      const messageBytes = this.#bytes.readUInt32BE(end + 1);
      if (end === 0) checkSize(messageBytes, limit);
      const next = end + prefixBytes + messageBytes;
      if (messageBytes > limit.value || next > this.#length) break;
      end = next;
    }
    return end === 0 ? undefined : this.#take(end);
  }

  /** The first bytes, which are the caller's from now on. */
  #take(count: number): Buffer {
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = Buffer.from(this.#bytes.subarray(count, this.#length));
    this.#length -= count;
    return taken;
  }
}
