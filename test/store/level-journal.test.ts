import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { LevelJournal } from "../../src/store/level-journal.ts";
import { resolveLevelStoreOptions } from "../../src/store/level-options.ts";
import type { LevelSession } from "../../src/store/level-session.ts";
import { encodeBlock } from "../../src/store/record.ts";

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
