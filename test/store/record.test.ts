import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32c, crc32cOfRanges } from "../../src/store/crc32c.ts";
import {
  decodeBlock,
  decodeRecord,
  encodeBlock,
  encodeRecord,
  type RecordDraft,
  type RecordType,
  recordValue,
  recordIn,
  salvageRecords,
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

  test("whatever bit is flipped, its record of a change is the one that is found among all", () => {
    const drafted = ["a", "b", "c"].map((key, i): RecordDraft => ({ ...draft, key, revision: 5 + (i >> 1) }));
    const { bytes } = encodeBlock(5, 2, 1_000, drafted);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const block = decodeBlock(flipped, 5);
      if (block === undefined) continue;
      for (const { key, revision } of [...drafted, { key: "a", revision: 6 }, { key: "d", revision: 5 }]) {
        const among = block.records.find((record) => record.key === key && record.revision === revision);
        expect(recordIn(block, key, revision), `bit ${bit}, ${key} at ${revision}`).toEqual(among);
      }
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

test("the CRC of any range is that of its bytes alone", () => {
  const ranges = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(300));
  fc.assert(
    fc.property(ranges, ([bytes, a, b]) => {
      const [start, end] = [Math.min(a, b, bytes.length), Math.min(Math.max(a, b), bytes.length)];
      expect(crc32cOfRanges(bytes)(start, end)).toBe(crc32c(bytes, start, end));
    }),
  );
});

describe("records that are salvaged", () => {
  /** A byte after the other, each with all that may be a record from there on: what is found, however long it takes. */
  function salvageSlowly(bytes: Buffer): { start: number; end: number; damage: StoredRecord["damage"] }[] {
    const found = [];
    for (let at = 0; at + 36 <= bytes.length; ) {
      const end = at + 36 + bytes.readUInt32BE(at + 4) + bytes.readUInt32BE(at + 8);
      const record = bytes[at] === 0xe5 && bytes[at + 1] === 1 && end <= bytes.length && decodeRecord(bytes, at, end);
      if (record && record.damage !== "head") {
        found.push({ start: at, end, damage: record.damage });
        at = end;
      } else at += 1;
    }
    return found;
  }

  const longDrafts = fc.record<RecordDraft>({
    type: fc.constantFrom<RecordType>(1, 2, 3, 4, 5),
    key: fc.string({ minLength: 90, maxLength: 400, unit: "grapheme-ascii" }),
    revision: fc.maxSafeNat(),
    previous: fc.maxSafeNat(),
    value: fc.uint8Array({ maxLength: 400 }).map((value) => Buffer.from(value)),
  });
  const damages = fc.array(
    fc.record({ at: fc.nat(), kind: fc.constantFrom("flip", "cut", "zero", "head"), size: fc.nat(300) }),
    { maxLength: 6 },
  );

  function damage(block: Buffer, { at, kind, size }: { at: number; kind: string; size: number }): Buffer {
    if (block.length === 0) return block;
    const place = at % block.length;
    if (kind === "cut") return Buffer.concat([block.subarray(0, place), block.subarray(place + size)]);
    const bytes = Buffer.from(block);
    if (kind === "flip") bytes[place]! ^= 1 << (size % 8);
    else if (kind === "zero") bytes.fill(0, place, Math.min(place + size, bytes.length));
    // What looks like the beginning of a record, over what was there.
    else bytes.set([0xe5, 1, 1, 0, 0, 0, 0, size % 256, 0, 0, 0, size % 7].slice(0, bytes.length - place), place);
    return bytes;
  }

  test("are those that a search with all that may be one finds, whatever has befallen the block", () => {
    let found = 0;
    fc.assert(
      fc.property(fc.array(fc.oneof(drafts, longDrafts), { minLength: 1, maxLength: 8 }), damages, (all, befell) => {
        const whole = encodeBlock(1, all.length, 0, all).bytes;
        const bytes = befell.reduce(damage, whole);
        const salvaged = salvageRecords(bytes).map(({ start, end, damage: harm }) => ({ start, end, damage: harm }));
        expect(salvaged).toEqual(salvageSlowly(bytes));
        found += salvaged.length;
      }),
      { numRuns: 500 },
    );
    expect(found).toBeGreaterThan(500);
  });

  test("cost a bounded number of looks at each byte, also among heads that lie over each other", () => {
    const bytes = Buffer.alloc(8 * 1024);
    for (let at = 0; at + 12 <= bytes.length; at += 12) {
      bytes.set([0xe5, 1, 1, 0], at);
      // A key to the end, or nearly.
      bytes.writeUInt32BE(Math.max(0, bytes.length - at - 36 - (at % 5)), at + 4);
    }
    let looks = 0;
    const counted = new Proxy(bytes, {
      get(target, name) {
        if (typeof name === "string" && /^\d+$/.test(name)) looks += 1;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    expect(salvageRecords(counted)).toEqual([]);
    expect(looks).toBeGreaterThan(bytes.length / 12);
    // Up to the length of a short head for each twelve of them, beside one for all; it was half of all bytes.
    expect(looks / bytes.length).toBeLessThan(20);
  });
});
