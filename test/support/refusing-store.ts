import { type Change, type Store, StoreError } from "../../src/store/store.ts";

/** Commits that `refuses` says so of fail for good, as none should. */
export function refusingCommits(store: Store, refuses: (changes: readonly Change[]) => boolean): Store {
  const commit: Store["commit"] = async (changes, conditions, next) => {
    if (refuses(changes)) throw new StoreError("INVALID", "refused by the test");
    return store.commit(changes, conditions, next);
  };
  return new Proxy(store, {
    get(target, name): unknown {
      if (name === "commit") return commit;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
