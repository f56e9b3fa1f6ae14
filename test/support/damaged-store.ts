import { type Entry, type ScanOptions, type Store, StoreError } from "../../src/store/store.ts";

/** A store some of whose entries are damaged on disk, as the LevelDB backend shows that: `get` throws CORRUPT, `scan` marks them. */
export function damageEntries(store: Store, isDamaged: (key: string) => boolean): Store {
  const seen = (entry: Entry): Entry =>
    isDamaged(entry.key) ? { ...entry, value: new Uint8Array(0), corrupt: true } : entry;
  return {
    kind: store.kind,
    durability: store.durability,
    revision: () => store.revision(),
    firstRevision: () => store.firstRevision(),
    get: async (key, options) => {
      const entry = await store.get(key, options);
      if (entry !== undefined && isDamaged(key)) throw new StoreError("CORRUPT", "damaged", { key });
      return entry;
    },
    scan: async (options: ScanOptions) => (await store.scan(options)).map(seen),
    commit: (changes, conditions, next) => store.commit(changes, conditions, next),
    watch: (options) => store.watch(options),
    reopen: () => store.reopen(),
    close: () => store.close(),
  };
}
