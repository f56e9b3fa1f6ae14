/** Keeps what a repair could not take: the bytes as files, and a list of them with the reasons. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Where a repair keeps what it could not take, and its list there. */
export const quarantineName = "quarantine";
const listName = "list.json";

export interface QuarantinedBytes {
  readonly file: string;
  readonly bytes: number;
  /** What it was: a file, or a LevelDB key in hexadecimal. */
  readonly from: string;
  readonly reason: string;
}

export class QuarantineFolder {
  readonly #path: string;
  readonly #list: QuarantinedBytes[] = [];

  constructor(directory: string) {
    this.#path = join(directory, quarantineName);
  }

  get count(): number {
    return this.#list.length;
  }

  async keep(bytes: Uint8Array, from: string, reason: string): Promise<void> {
    if (this.#list.length === 0) await mkdir(this.#path, { mode: 0o700 });
    const file = `${String(this.#list.length + 1).padStart(6, "0")}.bin`;
    await writeFile(join(this.#path, file), bytes, { mode: 0o600 });
    this.#list.push({ file, bytes: bytes.length, from, reason });
  }

  /** Writes the list, where there is something in it. */
  async finish(): Promise<void> {
    if (this.#list.length === 0) return;
    await writeFile(join(this.#path, listName), `${JSON.stringify(this.#list, undefined, 2)}\n`, { mode: 0o600 });
  }
}
