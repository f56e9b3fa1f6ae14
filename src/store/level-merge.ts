/** Merges the entries of LevelDB's files, as LevelDB does. */
import type { LevelEntry } from "./level-salvage.ts";

/** A table or a log. */
export interface SortedEntries {
  readonly first: Buffer;
  load(): Promise<readonly LevelEntry[]>;
}

/** Merges the parts; each is loaded when it is its turn. */
export async function* newestEntries(all: readonly SortedEntries[]): AsyncGenerator<{ key: Buffer; value: Buffer }> {
  const waiting = [...all].sort((a, b) => b.first.compare(a.first));
  let open: { entries: readonly LevelEntry[]; at: number }[] = [];
  let last: Buffer | undefined;
  for (;;) {
    let least: (typeof open)[number] | undefined;
    for (const part of open) {
      if (least === undefined || compareEntries(part.entries[part.at]!, least.entries[least.at]!) < 0) least = part;
    }
    const candidate = waiting.at(-1);
    if (
      candidate !== undefined &&
      (least === undefined || candidate.first.compare(least.entries[least.at]!.key) <= 0)
    ) {
      waiting.pop();
      open.push({ entries: await candidate.load(), at: 0 });
      continue;
    }
    if (least === undefined) return;
    const { key, value } = least.entries[least.at]!;
    least.at += 1;
    if (least.at === least.entries.length) open = open.filter((part) => part !== least);
    if (last !== undefined && last.equals(key)) continue;
    last = key;
    if (value !== undefined) yield { key, value };
  }
}

/** By keys, the newest first. */
export function compareEntries(a: LevelEntry, b: LevelEntry): number {
  return a.key.compare(b.key) || b.sequence - a.sequence;
}
