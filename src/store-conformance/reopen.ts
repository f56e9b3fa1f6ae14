import { openHarness, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

export function describeReopen({ open, expect, test }: Suite): void {
  test("when all is well it resolves, and nothing has changed", async () => {
    await using harness = await openHarness(open);
    const watch = new WatchReader(harness.store);
    const revision = await harness.put("key", "one");
    await harness.store.reopen();
    await Promise.all([harness.store.reopen(), harness.store.reopen()]);
    expect(harness.store.revision()).toBe(revision);
    expect(await harness.textOf("key")).toBe("one");
    await harness.put("key", "two");
    expect(await watch.linesUpTo(2n)).toEqual(["put key = one at 1 after 0", "put key = two at 2 after 1"]);
  });

  test("it may be called in the midst of commits", async () => {
    await using harness = await openHarness(open);
    const commits = Array.from({ length: 20 }, (_, i) => harness.put(`key ${i}`));
    await harness.store.reopen();
    const revisions = await Promise.all(commits);
    for (const [i, revision] of revisions.entries()) {
      expect(await harness.store.get(`key ${i}`)).toMatchObject({ revision });
    }
  });
}
