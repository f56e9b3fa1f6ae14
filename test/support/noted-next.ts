import type { Change, NextChanges } from "../../src/store/store.ts";

/** `next`, and what it was asked for last: that is applied where the commit is (see Store.commit). */
export function noted(next: NextChanges): { readonly next: NextChanges; made(): readonly Change[] } {
  let made: readonly Change[] = [];
  return { next: (revision) => (made = next(revision)), made: () => made };
}
