/**
 * Records that have changed on disk, each in another way, many at a time: whoever asks for one learns that it is damaged, all others have what
 * they had, and verify names those and no others. RECORD_MUTATIONS: how many (default 1,000).
 */
import { expect, test } from "vitest";
import { parseValueKey } from "../../src/store/level-keys.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { verifyStore } from "../../src/store/maintenance.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { entriesOf, makeScratch, withDatabase } from "./level-fixture.ts";

const dose = Number(process.env["RECORD_MUTATIONS"] ?? 1_000);
const keyCount = 200;
const atOnce = 100;

type Mutation = (own: Buffer, other: Buffer, count: number) => Buffer;

/** Each bit is changed in turn, also over rounds; the rest of the kinds come between. */
const mutations: Record<string, Mutation> = {
  "a bit": (own, _, count) => flip(own, count),
  "another bit": (own, _, count) => flip(own, count * 7_919),
  "a bit of the head": (own, _, count) => flip(own, count % 224),
  "cut short": (own, _, count) => own.subarray(0, count % own.length),
  longer: (own, _, count) => Buffer.concat([own, Buffer.alloc(1 + (count % 9), count)]),
  "another's": (_, other) => other,
  "another version": (own) => Buffer.concat([own.subarray(0, 1), Buffer.of(2), own.subarray(2)]),
  zeros: (own) => Buffer.alloc(own.length),
  text: (own, _, count) => Buffer.alloc(own.length, `no record ${count}`),
  "the middle of another": (own, other, count) => {
    const at = count % Math.min(own.length, other.length);
    return Buffer.concat([own.subarray(0, at), other.subarray(at)]);
  },
};

function flip(own: Buffer, bit: number): Buffer {
  const changed = Buffer.from(own);
  changed[(bit >> 3) % own.length]! ^= 1 << (bit & 7);
  return changed;
}

test(`${dose} mutations of records: none is served, and none hurts another`, {
  timeout: 60_000 + dose * 20,
}, async () => {
  await using scratch = await makeScratch();
  const keyAt = (i: number): string => `/tasks/c/task-${i}`;
  const valueAt = (i: number): string => `{"n": ${i}, "text": "${"x".repeat(i % 60)}"}`;
  const first = await openLevelStore(scratch.path, { clock: createFakeClock() });
  for (let i = 0; i < keyCount; i += 1) {
    await first.commit([{ type: "put", key: keyAt(i), value: Buffer.from(valueAt(i)) }]);
  }
  await first.close();
  const whole = await withDatabase(scratch.path, (db) => entriesOf(db, "V"));
  expect(whole).toHaveLength(keyCount);
  const kinds = Object.entries(mutations);
  const seen = new Map<string, number>();
  for (let count = 0; count < dose; ) {
    const changed = new Map<string, string>();
    await withDatabase(scratch.path, async (db) => {
      const operations = whole.map(([key, own], i) => {
        const isChanged = (i + Math.floor(count / atOnce)) % 2 === 0;
        if (!isChanged) return { type: "put" as const, key, value: own };
        const [kind, mutate] = kinds[count % kinds.length]!;
        const value = mutate(own, whole[(i + 1 + (count % 7)) % keyCount]![1], Math.floor(count / kinds.length));
        count += 1;
        if (!value.equals(own)) {
          changed.set(parseValueKey(key)!.key, kind);
          seen.set(kind, (seen.get(kind) ?? 0) + 1);
        }
        return { type: "put" as const, key, value };
      });
      await db.batch(operations, { sync: false });
    });
    const found = await verifyStore(scratch.path);
    expect(found.opens).toBe(true);
    expect(found.damagedEntries.map(({ key }) => key).sort()).toEqual([...changed.keys()].sort());
    const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
    const entries = await store.scan({ prefix: "", limit: 1_000 });
    expect(entries).toHaveLength(keyCount);
    for (const { key, value, corrupt } of entries) {
      const i = Number(key.slice(keyAt(0).length - 1));
      if (changed.has(key)) expect(corrupt, `${key}: ${changed.get(key)}`).toBe(true);
      else expect(Buffer.from(value).toString(), key).toBe(valueAt(i));
    }
    await store.close();
  }
  // Each kind did something; what a bit flip of all kinds did is all of them.
  for (const [kind] of kinds) expect(seen.get(kind), kind).toBeGreaterThan(dose / kinds.length / 2);
});
