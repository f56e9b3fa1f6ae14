/** What a runner has said under one fence, by its seqs: which are new, and up to where all are answered. */
export class RemoteSeqs {
  #seen: bigint;
  /** Those that are not answered yet, in order. */
  #open: bigint[] = [];

  /** `written`: what is on disk already. */
  constructor(written: bigint) {
    this.#seen = written;
  }

  /** Up to this one all are on disk, or were refused. */
  get answered(): bigint {
    const [first] = this.#open;
    return first === undefined ? this.#seen : first - 1n;
  }

  /** False for one that was said before. */
  begin(seq: bigint): boolean {
    if (seq <= this.#seen) return false;
    this.#seen = seq;
    this.#open.push(seq);
    return true;
  }

  /** It is on disk, or was refused. */
  end(seq: bigint): void {
    // Most are answered in order.
    if (this.#open[0] === seq) this.#open.shift();
    else this.#open = this.#open.filter((each) => each !== seq);
  }
}
