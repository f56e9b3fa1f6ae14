/**
 * A process that works on a store until it is killed: level-victim.ts DIRECTORY. Its writers each bring a key of their
 * own from one number to the next, with an index entry that moves along and a counter, and send each number when it is acknowledged.
 * All bounds are so small that rounds, checkpoints, the end of history and LevelDB's compactions are under way at any moment.
 */
import { openLevelStore } from "../../src/store/level-store.ts";
import type { LevelStoreOptions } from "../../src/store/level-options.ts";
import type { Store } from "../../src/store/store.ts";

export const writers = 4;
export const victimOptions: LevelStoreOptions = {
  historyBytes: 200_000,
  roundKeys: 20,
  filterKeptMinKeys: 1,
  filterKeptEveryMs: 1,
  roundDelayMs: 5,
  cacheMaxEntries: 8,
  writeBufferBytes: 1 << 16,
};

export type Message = { readonly opening: true } | { readonly writer: number; readonly number: number };

export function keyOf(writer: number): string {
  return `key ${writer}`;
}

export function indexOf(writer: number, number: number): string {
  return `index ${writer} ${String(number).padStart(9, "0")}`;
}

/** The number in a key's value; 0 for none. */
export function numberOf(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : Buffer.from(value).readUInt32BE();
}

async function write(store: Store, writer: number): Promise<never> {
  const key = keyOf(writer);
  let entry = await store.get(key);
  for (let number = numberOf(entry?.value) + 1; ; number += 1) {
    const value = Buffer.alloc(200 + ((number * 37) % 900));
    value.writeUInt32BE(number);
    const changes = [
      { type: "put", key, value },
      ...(number > 1 ? [{ type: "unindex", key: indexOf(writer, number - 1) } as const] : []),
      { type: "index", key: indexOf(writer, number), value: new Uint8Array(0) },
      { type: "add", key: "count", delta: 1n },
    ] as const;
    const revision = await store.commit(changes, [{ key, revision: entry?.revision ?? 0n }]);
    entry = { key, value, revision, previous: 0n };
    process.send?.({ writer, number } satisfies Message);
  }
}

const directory = process.argv[2];
if (directory !== undefined && process.send !== undefined) {
  // Not without its parent.
  process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
  process.send({ opening: true } satisfies Message);
  const store = await openLevelStore(directory, victimOptions);
  await Promise.all(Array.from({ length: writers }, (_, writer) => write(store, writer)));
}
