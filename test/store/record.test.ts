import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32c } from "../../src/store/crc32c.ts";
import {
  decodeBlock,
  decodeRecord,
  encodeBlock,
  encodeRecord,
  type RecordDraft,
  type RecordType,
  recordValue,
  type StoredRecord,
} from "../../src/store/record.ts";

const drafts = fc.record<RecordDraft>({
  type: fc.constantFrom<RecordType>(1, 2, 3, 4, 5),
  key: fc.oneof(fc.string({ minLength: 1, unit: "binary" }), fc.string({ minLength: 1, unit: "grapheme-ascii" })),
  revision: fc.maxSafeNat(),
  previous: fc.maxSafeNat(),
  value: fc.uint8Array({ maxLength: 100 }).map((value) => Buffer.from(value)),
});

const draft: RecordDraft = {
  type: 1,
  key: "/tasks/a/ä\0b",
  revision: 2 ** 40 + 3,
  previous: 7,
  value: Buffer.from("value"),
};

describe("CRC32C", () => {
  // RFC 3720, B.4, and the check value of the CRC catalogues.
  test.each([
    [Buffer.alloc(32), 0x8a9136aa],
    [Buffer.alloc(32, 0xff), 0x62a8ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    [Buffer.from("123456789"), 0xe3069283],
  ])("is as published", (bytes, expected) => {
    expect(crc32c(bytes, 0, bytes.length)).toBe(expected);
  });

  test("goes on from the CRC of what came before", () => {
    const bytes = Buffer.from("one and the other");
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      expect(crc32c(bytes, cut, bytes.length, crc32c(bytes, 0, cut))).toBe(crc32c(bytes, 0, bytes.length));
    }
  });
});

describe("a record", () => {
  test("is decoded to what was encoded", () => {
    fc.assert(
      fc.property(drafts, (given) => {
        expect(plain(decodeRecord(encodeRecord(given)))).toEqual({ ...given, damage: undefined });
      }),
    );
  });

  test("with any bit flipped is damaged; where its value was hit, it still says whose it is", () => {
    const bytes = encodeRecord(draft);
    const { valueStart } = decodeRecord(bytes);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const record = decodeRecord(flipped);
      expect(record.damage, `bit ${bit}`).toBe(bit >> 3 < valueStart ? "head" : "value");
      expect(recordValue(record)).toHaveLength(0);
      if (record.damage === "value") expect(record).toMatchObject({ key: draft.key, revision: draft.revision });
    }
  });

  test("cut anywhere, or of any bytes at all, is damaged and does no harm", () => {
    const bytes = encodeRecord(draft);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(decodeRecord(bytes.subarray(0, length)).damage).toBeDefined();
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (any) => {
        expect(decodeRecord(Buffer.from(any)).damage).toBe("head");
      }),
    );
  });
});

describe("a journal block", () => {
  test("is decoded to what was encoded", () => {
    fc.assert(
      fc.property(fc.array(drafts), fc.integer({ min: 1, max: 9 }), fc.maxSafeNat(), (given, commits, wallMs) => {
        const { bytes } = encodeBlock(5, commits, wallMs, given);
        const block = decodeBlock(bytes, 5);
        expect(block).toMatchObject({ first: 5, last: 4 + commits, wallMs });
        expect(block?.records.map(plain)).toEqual(given.map((each) => ({ ...each, damage: undefined })));
      }),
    );
  });

  test("with any bit flipped is refused as a whole or has one damaged record", () => {
    const { bytes } = encodeBlock(5, 2, 1_000, [draft, { ...draft, key: "b" }, { ...draft, key: "c" }]);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const block = decodeBlock(flipped, 5);
      const damaged = block?.records.filter((record) => record.damage !== undefined);
      expect(damaged?.length ?? 1, `bit ${bit}`).toBe(1);
    }
  });

  test("under another revision than its own is refused", () => {
    expect(decodeBlock(encodeBlock(5, 1, 0, [draft]).bytes, 6)).toBeUndefined();
  });
});

function plain(record: StoredRecord): object {
  const { type, key, revision, previous, damage } = record;
  return { type, key, revision, previous, value: Buffer.from(recordValue(record)), damage };
}
