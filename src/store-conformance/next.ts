import type { Change, Store } from "../store/store.ts";
import { add, ages, expectFailure, index, openHarness, put, unindex, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

/** Commits that are followed at once by another, where the backend does that: one that does not never asks what follows. */
export function describeNext({ open, describe, expect, test }: Suite): void {
  describe.each(ages)("read %s", (age) => {
    test("a commit that follows another has the revision after it, and what it makes of that", async () => {
      await using harness = await openHarness(open);
      if (!(await makesNext(harness.store))) return;
      const [old] = [await harness.put("old"), await harness.store.commit([add("n", 5n), add("m", 1n)])];
      await harness.grow(age);
      const first = await harness.store.commit([put("key", "one"), index("gone"), add("n", 1n)], [], (revision) => [
        put("key", `after ${revision}`),
        put("old", "new"),
        unindex("gone"),
        index("there"),
        add("n", 10n),
        add("m", -2n),
      ]);
      expect(harness.store.revision()).toBe(first + 1n);
      await harness.grow(age);
      expect(await harness.textOf("key", first)).toBe("one");
      expect(await harness.textOf("key")).toBe(`after ${first}`);
      expect(await harness.store.get("key")).toMatchObject({ revision: first + 1n, previous: first });
      expect(await harness.store.get("gone")).toBeUndefined();
      expect(await harness.store.get("there")).toMatchObject({ revision: first + 1n });
      const counts = await Promise.all(["n", "m"].map(async (key) => (await harness.store.get(key))?.value));
      expect(counts.map((count) => Buffer.from(count ?? []).readBigInt64BE())).toEqual([16n, -1n]);
      expect(await new WatchReader(harness.store, { after: first - 1n }).linesUpTo(first + 1n)).toEqual([
        `put key = one at ${first} after 0`,
        `put key = after ${first} at ${first + 1n} after ${first}`,
        `put old = new at ${first + 1n} after ${old}`,
      ]);
    });
  });

  test("an index entry that was made, or was there, is taken out and put in again by what follows", async () => {
    await using harness = await openHarness(open);
    if (!(await makesNext(harness.store))) return;
    await harness.store.commit([index("there")]);
    const first = await harness.store.commit([index("made")], [], () => [
      unindex("there"),
      index("there", "again"),
      unindex("made"),
      index("made", "again"),
    ]);
    await harness.grow("after a restart");
    for (const key of ["there", "made"]) {
      expect(await harness.store.get(key)).toMatchObject({ revision: first + 1n });
      expect(await harness.textOf(key)).toBe("again");
    }
  });

  test("neither is applied where a condition of the first does not hold", async () => {
    await using harness = await openHarness(open);
    if (!(await makesNext(harness.store))) return;
    const revision = await harness.put("guard");
    const both = harness.store.commit([put("a")], [{ key: "guard", revision: revision - 1n }], () => [put("b")]);
    await expectFailure(both, "CONFLICT");
    for (const key of ["a", "b"]) expect(await harness.store.get(key)).toBeUndefined();
    expect(harness.store.revision()).toBe(revision);
  });

  test("neither is applied where what follows is wrong, and whoever else commits is not concerned", async () => {
    await using harness = await openHarness(open);
    if (!(await makesNext(harness.store))) return;
    const revision = await harness.store.commit([put("versioned"), index("indexed"), add("counter", 1n)]);
    for (const [first = [], next = []] of [
      [[], [put("b"), put("b")]],
      [[], [put("indexed")]],
      [[], [add("versioned", 1n)]],
      [[index("b")], [index("b")]],
      [[index("b")], [put("b")]],
      [[put("b")], [add("b", 1n)]],
    ] satisfies Change[][][]) {
      const other = harness.put("other");
      await expectFailure(
        harness.store.commit([put("a"), ...first], [], () => next),
        "INVALID",
      );
      await other;
    }
    const thrown = new Error("made nothing");
    const failure = await harness.store
      .commit([put("a")], [], () => {
        throw thrown;
      })
      .catch((error: unknown) => error);
    expect(failure).toBe(thrown);
    for (const key of ["a", "b"]) expect(await harness.store.get(key)).toBeUndefined();
    expect(harness.store.revision()).toBe(revision + 6n);
  });

  test("among commits under way at once, of which some lose, each is followed at once, and with the right revision", async () => {
    await using harness = await openHarness(open);
    const { store } = harness;
    if (!(await makesNext(store))) return;
    const before = store.revision();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) =>
        store.commit(
          [put("shared", `${i}`), add("n", 1n)],
          i % 3 === 1 ? [{ key: "shared", revision: 0n }] : [],
          i % 2 === 0 ? undefined : (revision) => [put(`own ${i}`, `after ${revision}`), add("n", 100n)],
        ),
      ),
    );
    const won = outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : undefined));
    expect(won.filter((revision) => revision === undefined)).toHaveLength(33);
    let expected = before;
    for (const [i, revision] of won.entries()) {
      const isFollowed = i % 2 === 1;
      if (revision === undefined) expect(await store.get(`own ${i}`)).toBeUndefined();
      else {
        expect(revision).toBe(expected + 1n);
        expected = isFollowed ? revision + 1n : revision;
        if (isFollowed) expect(await harness.textOf(`own ${i}`)).toBe(`after ${revision}`);
      }
    }
    expect(store.revision()).toBe(expected);
  });
}

/** Whether the backend asks what follows a commit. */
async function makesNext(store: Store): Promise<boolean> {
  let isAsked = false;
  await store.commit([], [], () => {
    isAsked = true;
    return [];
  });
  return isAsked;
}
