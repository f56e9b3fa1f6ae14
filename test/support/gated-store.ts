import type { Entry, ScanOptions } from "../../src/store/store.ts";
import { CutStore } from "./cut-store.ts";

/** A store whose reads of a key, or scans of keys that begin with it, wait while the test holds them; what they read is as it is when they are let go. */
export class GatedStore extends CutStore {
  #held: { readonly key: string; readonly released: Promise<void>; readonly release: () => void } | undefined;

  hold(key: string): void {
    let release = (): void => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#held = { key, released, release };
  }

  release(): void {
    this.#held?.release();
    this.#held = undefined;
  }

  override async get(key: string, options?: { revision?: bigint | undefined }): Promise<Entry | undefined> {
    if (this.#held?.key === key) await this.#held.released;
    return super.get(key, options);
  }

  override async scan(options: ScanOptions): Promise<Entry[]> {
    if (this.#held !== undefined && options.prefix.startsWith(this.#held.key)) await this.#held.released;
    return super.scan(options);
  }
}
