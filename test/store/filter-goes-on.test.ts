import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { LevelIterator, LevelOperation, LevelRange } from "../../src/store/level-database.ts";
import { type FilterSource, KeyFilter, type KeptFilter } from "../../src/store/level-filter.ts";
import { FilterKeeper } from "../../src/store/level-filter-kept.ts";
import { hashKey, Layers } from "../../src/store/level-filter-layers.ts";
import { decodeCell, numberedKey, valueKey } from "../../src/store/level-keys.ts";
import type { LevelSession } from "../../src/store/level-session.ts";
import { encodeBlock, type JournalBlock } from "../../src/store/record.ts";
import { createFakeClock } from "../support/fake-clock.ts";

describe("a filter that goes on from what was kept", () => {
  const layersOf = (...keys: string[]): Layers => {
    const layers = new Layers();
    for (const key of keys) layers.add(hashKey(key));
    return layers;
  };
  const session = (blocks: readonly JournalBlock[], walked: readonly string[] = []): FilterSource => {
    const pages = [walked.map((key) => [valueKey(key, 1), Buffer.alloc(0)])];
    return {
      failure: undefined,
      materialized: blocks.at(-1)?.last ?? 0,
      options: { log: silentLog },
      iterate: async (range) => {
        if (range.values === false) return (pages.shift() ?? []) as never;
        const first = range.gte?.readUIntBE(3, 6) ?? 0;
        return blocks
          .filter((block) => block.first >= first)
          .map((block) => [numberedKey("journal", block.first), block.bytes]) as never;
      },
    };
  };
  const block = (first: number, type: 3 | 4, key: string): JournalBlock =>
    encodeBlock(first, 1, 0, [{ type, key, revision: first, previous: 0, value: Buffer.alloc(0) }]);
  const kept = (layers: Layers, gone = 0): KeptFilter => ({ watermark: 1, gone, layers, read: async () => true });

  test("counts what has gone since as well, so that it does not hold all that ever was", async () => {
    const filter = new KeyFilter();
    const blocks = [block(2, 4, "a"), block(3, 3, "new"), block(4, 4, "new"), block(5, 3, "a")];
    filter.begin(session(blocks), kept(layersOf("a", "b"), 7));
    await filter.filled();
    expect(filter.gone).toBe(7 + 1 + 1 - 1);
    expect(filter.journalBytes).toBe(blocks.reduce((sum, { bytes }) => sum + bytes.length, 0));
    expect(filter.keptAt).toBe(1);
  });

  test.each([
    ["a block is missing", 4, [block(2, 3, "x"), block(4, 3, "y")]],
    ["the first is missing", 3, [block(3, 3, "x")]],
    ["all are missing", 4, []],
    ["the last is missing", 4, [block(2, 3, "x"), block(3, 3, "y")]],
    ["a record has lost its head", 3, [block(2, 3, "x"), damaged(block(3, 3, "lost"))]],
  ])("is dropped where %s, and made anew without what it had", async (_, materialized, blocks) => {
    const filter = new KeyFilter();
    const source = { ...session(blocks, ["walked"]), materialized };
    filter.begin(source, kept(layersOf("kept"), 7));
    await filter.filled();
    expect(filter.excludes("other")).toBe(false);
    expect(filter.fillIfStale(source)).toBe(true);
    await filter.filled();
    expect([filter.gone, filter.layers?.keys, filter.keptAt]).toEqual([0, 1, undefined]);
    expect([filter.excludes("walked"), filter.excludes("kept")]).toEqual([false, true]);
  });
});

test("what is kept is a filter that is not being made anew, and not the one of before that", async () => {
  const filter = new KeyFilter();
  let walk = Promise.resolve();
  const heads: (number[] | undefined)[] = [];
  const session = {
    failure: undefined,
    materialized: 10,
    floor: 0,
    checkpoints: [],
    filter,
    options: { log: silentLog, clock: createFakeClock(), filterKeptMinKeys: 0, durability: "sync" },
    iterate: async (range: LevelRange, use: (iterator: LevelIterator) => Promise<unknown>) => {
      if (range.gte?.length === 1) await walk;
      return use({ nextv: async () => [], close: async () => {} });
    },
    first: async () => undefined,
    write: async () => {},
    writeAlone: async (operations: LevelOperation[]) => {
      for (const { type, key, ...put } of operations)
        if (type === "put" && "value" in put && key.readUInt32BE(9) === 0) heads.push(decodeCell(key, put.value));
    },
  } as unknown as LevelSession;
  filter.fillIfStale(session);
  await filter.filled();
  for (let i = 0; i < 100_000; i += 1) filter.add(`key ${i}`, true);
  for (let i = 0; i < 90_000; i += 1) filter.forget();
  const keeper = new FilterKeeper(session);
  expect(keeper.isDue).toBe(true);
  await keeper.keepPiece();
  await keeper.keepPiece();
  // It is begun, and then made anew.
  let through = (): void => {};
  walk = new Promise((resolve) => {
    through = resolve;
  });
  expect(filter.fillIfStale(session)).toBe(true);
  expect(keeper.isDue).toBe(false);
  through();
  await filter.filled();
  while (keeper.isDue) await keeper.keepPiece();
  const [format, watermark, room] = [1, 10, expect.any(Number)];
  expect(heads).toEqual([[format, watermark, 0, 0, room]]);
  expect(filter.keptAt).toBe(watermark);
});

/** Its only record tells no more whose it is. */
function damaged(block: JournalBlock): JournalBlock {
  const bytes = Buffer.from(block.bytes);
  bytes[bytes.indexOf("lost")]! ^= 1;
  return { ...block, bytes };
}

test("a key has the bits that it has in what was kept by this format", () => {
  const layers = new Layers();
  for (const key of ["a", "a\0b", "ä", "\u{1f600}", "/tasks/many/task-1"]) layers.add(hashKey(key));
  const [part] = layers.parts;
  // Where this changes, the format does.
  expect(createHash("sha256").update(part!).digest("hex")).toBe(
    "d5933aa19375040bccfa71789c3a362609b28add5e2ce589f12cf1bd72d29fe6",
  );
});
