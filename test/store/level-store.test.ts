import { openLevelStore } from "../../src/store/level-store.ts";
import { describeStore } from "./conformance.ts";
import { makeScratch } from "./level-fixture.ts";

describeStore("the LevelDB store", async (options) => {
  const scratch = await makeScratch();
  const open = () => openLevelStore(scratch.path, options);
  return { store: await open(), reopenFresh: open, cleanUp: () => scratch[Symbol.asyncDispose]() };
});

// With bounds so small that every path is taken: rounds, waits for room, reads past the caches.
describeStore("the LevelDB store with small bounds", async (options) => {
  const scratch = await makeScratch();
  const open = () =>
    openLevelStore(scratch.path, {
      ...options,
      roundKeys: 3,
      unmaterializedMaxKeys: 6,
      groupMaxCommits: 4,
      cacheMaxEntries: 2,
      blockCacheBytes: 1,
      writeBufferBytes: 1 << 16,
    });
  return { store: await open(), reopenFresh: open, cleanUp: () => scratch[Symbol.asyncDispose]() };
});
