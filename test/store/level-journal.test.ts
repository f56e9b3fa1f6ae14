import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { LevelJournal } from "../../src/store/level-journal.ts";
import { resolveLevelStoreOptions } from "../../src/store/level-options.ts";
import type { LevelSession } from "../../src/store/level-session.ts";
import { encodeBlock } from "../../src/store/record.ts";
import { heapBytes } from "../support/heap.ts";

test("blocks that left the cache are not held in memory, from the first on", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const blockBytes = 100_000;
  const options = resolveLevelStoreOptions({ blockCacheBytes: 5 * blockBytes });
  const journal = new LevelJournal({ options } as LevelSession);
  const value = Buffer.alloc(blockBytes);
  const blocks = Array.from({ length: 40 }, (_, i) => {
    const block = encodeBlock(i + 1, 1, 0, [{ type: 1, key: "key", revision: i + 1, previous: i, value }]);
    journal.append(block);
    return new WeakRef(block);
  });
  await new Promise(setImmediate);
  collect();
  expect(journal.recent(40)?.first).toBe(40);
  expect(journal.recent(30)).toBeUndefined();
  expect(blocks.filter((block) => block.deref() !== undefined).length).toBeLessThan(6);
});

test("of blocks that are not the newest only the bytes are held, and who asks for their records gets them", async () => {
  const options = resolveLevelStoreOptions({});
  const journal = new LevelJournal({ options } as LevelSession);
  const appended = Array.from({ length: 100 }, (_, i) => {
    const draft = { type: 1, key: `key ${i}`, revision: i + 1, previous: i, value: Buffer.from(String(i)) } as const;
    const block = encodeBlock(i + 1, 1, 7, [draft]);
    journal.append(block);
    return { record: new WeakRef(block.records[0]!), text: JSON.stringify(block) };
  });
  await new Promise(setImmediate);
  heapBytes();
  expect(appended.filter(({ record }) => record.deref() !== undefined).length).toBeLessThan(20);
  for (const [i, { text }] of appended.entries()) {
    const { first, last, wallMs, bytes, records } = journal.recent(i + 1)!;
    expect(JSON.stringify({ first, last, wallMs, bytes, records })).toBe(text);
  }
});
