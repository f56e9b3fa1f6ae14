import type { Change } from "../store/store.ts";
import { ages, expectFailure, keysOf, openHarness, put, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

/** In the order of their UTF-8 bytes. Where the order of UTF-16 differs: the last three. */
export const awkwardKeys = [
  "\0",
  "\0\0",
  "\0\u0001",
  " ",
  "/",
  "a",
  "a\0",
  "a\0\0b",
  "a\0b",
  "a\u0001",
  "a/",
  "a/b",
  "aa",
  "b",
  "e\u0301",
  "\u007f",
  "\u0080",
  "\u00e9",
  "\u20ac",
  "\ud7ff",
  "\ue000",
  "\uffff",
  "\u{10000}",
  "\u{1f600}",
  "\u{10ffff}",
];

const wrongKeys: readonly (readonly [what: string, key: string])[] = [
  ["of no characters", ""],
  ["with a high surrogate alone", "a\ud800b"],
  ["with a low surrogate alone", "\udc00"],
  ["with surrogates the wrong way round", "\udc00\ud800"],
];

export function describeKeys({ open, expect, test }: Suite): void {
  test.each(ages)("awkward keys are kept as given and never mixed up, read %s", async (age) => {
    await using harness = await openHarness(open);
    for (const key of awkwardKeys) await harness.put(key, `value of ${key}`);
    await harness.grow(age);
    for (const key of awkwardKeys) expect(await harness.textOf(key)).toBe(`value of ${key}`);
    for (const key of ["a\0\0", "a\0\u0001", "aaa", "\u00ea", "\u{1f601}", "\ufffd"]) {
      expect(await harness.store.get(key)).toBeUndefined();
    }
  });

  test.each(ages)("keys are ordered by their UTF-8 bytes, read %s", async (age) => {
    await using harness = await openHarness(open);
    for (const key of [...awkwardKeys].sort()) await harness.put(key);
    await harness.grow(age);
    const order = [...awkwardKeys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(awkwardKeys).toEqual(order);
    expect(keysOf(await harness.store.scan({ prefix: "", limit: 100 }))).toEqual(order);
  });

  test("a key may be long", async () => {
    await using harness = await openHarness(open);
    const key = "k".repeat(4_096);
    await harness.put(key, "long");
    await harness.put(`${key}k`, "longer");
    expect(await harness.textOf(key)).toBe("long");
  });

  test.each(wrongKeys)("a key %s is INVALID, wherever it stands, and nothing is changed", async (_, key) => {
    await using harness = await openHarness(open);
    const { store } = harness;
    const value = new Uint8Array(1);
    const changes: Change[] = [
      { type: "put", key, value },
      { type: "delete", key },
      { type: "index", key, value },
      { type: "unindex", key },
      { type: "add", key, delta: 1n },
    ];
    for (const change of changes) await expectFailure(store.commit([put("right"), change]), "INVALID");
    await expectFailure(store.commit([put("right")], [{ key, revision: 0n }]), "INVALID");
    await expectFailure(store.get(key), "INVALID");
    expect(store.revision()).toBe(0n);
    expect(await store.get("right")).toBeUndefined();
  });

  test("a prefix, unlike a key, may be empty; a surrogate alone is INVALID in it, too", async () => {
    await using harness = await openHarness(open);
    await harness.put("\u{1f600}");
    expect(await harness.store.scan({ prefix: "", limit: 10 })).toHaveLength(1);
    await expectFailure(harness.store.scan({ prefix: "\ud83d", limit: 10 }), "INVALID");
    await expectFailure(harness.store.scan({ prefix: "", after: "\ud83d", limit: 10 }), "INVALID");
    await expectFailure(new WatchReader(harness.store, { prefix: "\ud83d" }).next(), "INVALID");
  });
}
