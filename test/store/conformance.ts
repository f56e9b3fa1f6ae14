import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { describeStore as describeWith } from "../../src/store-conformance/describe-store.ts";
import type { OpenStoreUnderTest } from "../../src/store-conformance/suite.ts";

/** The conformance suite in vitest, for a backend that has all that one may do without. STINT_STORE_RUNS says how many random histories are tried. */
export function describeStore(name: string, open: OpenStoreUnderTest): void {
  const histories = Number(process.env.STINT_STORE_RUNS ?? 25);
  describeWith(name, open, { describe, expect, test, histories });
  test(`${name} brings along a commit that follows another`, async () => {
    const opened = await open({ clock: systemClock, historyMs: 3_600_000, historyBytes: 1024 ** 3 });
    const asked: bigint[] = [];
    const follow = (revision: bigint): [] => {
      asked.push(revision);
      return [];
    };
    expect(await opened.store.commit([], [], follow)).toBe(1n);
    expect(asked).toEqual([1n]);
    expect(opened.store.revision()).toBe(2n);
    // Taken out again by what follows, it is indexed twice all the same.
    await opened.store.commit([{ type: "index", key: "i", value: new Uint8Array(0) }]);
    const twice = opened.store.commit([{ type: "index", key: "i", value: new Uint8Array(0) }], [], () => [
      { type: "unindex", key: "i" },
    ]);
    await expect(twice).rejects.toMatchObject({ code: "INVALID", key: "i" });
    await opened.store.close();
    await opened.cleanUp?.();
  });
}
