/** Every decoder of stored bytes, with what it is fed. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { decodeIntent } from "../../src/controller/intent.ts";
import { decodeEntry } from "../../src/controller/task-reader.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { decodeLogChunk, decodePayload } from "../../src/store/codec.ts";
import * as keys from "../../src/store/keys.ts";
import { openArchive } from "../../src/store/level-archive.ts";
import { decodeBatch } from "../../src/store/level-batch.ts";
import { readLevelFiles } from "../../src/store/level-files.ts";
import {
  decodeCell,
  decodeKeyList,
  encodeKeyList,
  numberedKey,
  parseValueKey,
  putCell,
  spaceOf,
  valueKey,
} from "../../src/store/level-keys.ts";
import { maskedCrc32c, salvageLog, scanLog } from "../../src/store/level-log.ts";
import { decodeManifest } from "../../src/store/level-manifest.ts";
import { parseMarker } from "../../src/store/level-marker.ts";
import { isPlausibleEntry } from "../../src/store/level-plausible.ts";
import { readTable } from "../../src/store/level-salvage.ts";
import { decodeVersion } from "../../src/store/level-version.ts";
import { survey } from "../../src/store/level-survey.ts";
import { checkTable } from "../../src/store/level-table.ts";
import { decodeBlock, decodeRecord, recordValue, salvageRecords } from "../../src/store/record.ts";
import { type Entry, StoreError } from "../../src/store/store.ts";
import { makeScratch } from "../store/level-fixture.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { byteMutations, mutateBytes } from "./mutate-bytes.ts";
import { type JsonMutation, jsonMutations } from "./mutate-json.ts";
import {
  archiveOf,
  blocks,
  databaseFiles,
  logOf,
  records,
  sealBlock,
  sealRecord,
  sealTail,
  smallMessages,
  taskBytes,
} from "./stored-bytes.ts";

/** Whether the decoder has made something of the bytes. */
type Read = boolean;
export interface Decoder {
  readonly weight: number;
  readonly sound: readonly Buffer[];
  /** Makes changed bytes right for its checksums. */
  readonly seal?: (bytes: Buffer) => Buffer;
  /** Throws what it must not. */
  readonly decode: (bytes: Buffer, random: SeededRandom) => Read | Promise<Read>;
}

const entryOf = (value: Buffer): Entry => ({ key: "/intents/c/a/run", value, revision: 8n, previous: 7n });

/** What the function returns; false where it throws an error that it may. */
function unless<T>(isAllowed: (error: unknown) => boolean, decode: () => T): boolean {
  try {
    decode();
    return true;
  } catch (error) {
    if (isAllowed(error)) return false;
    throw error;
  }
}

const cellKey = numberedKey("watermark", 5);
const checks = { lastSequence: 2 ** 56, isPlausible: isPlausibleEntry };
const files = await databaseFiles();
const ofKind = (pattern: RegExp): Buffer[] =>
  [...files].flatMap(([name, bytes]) => (pattern.test(name) ? [bytes] : []));
const logs = ofKind(/\.log$/);
const batches = logs.flatMap((log) => [...salvageLog(log)].flatMap(({ record }) => record ?? [])).slice(0, 20);
const edits = ofKind(/^MANIFEST/).flatMap((log) => [...salvageLog(log)].flatMap(({ record }) => record ?? []));
/** Small enough that each mutation costs little. */
const shortLogs = [logOf(batches.filter(({ length }) => length < 3_000).slice(0, 4)), logOf(edits)];
const markers = [
  '{"format":1,"uuid":"u","createTime":"2026-01-01T00:00:00.000Z","state":"ready","revision":5}',
  '{"format":2}',
];
const archive = await archiveOf([
  ["stint-store.json", Buffer.from(markers[0]!)],
  ["db/CURRENT", Buffer.from("MANIFEST-000002\n")],
]);
/** Where archives are; who has used the decoders disposes of it. */
export const scratch = await makeScratch();

/** Every function that reads a key; with the parts of keys in any order. */
function parseKeys(key: string): void {
  keys.parseTaskKey(key);
  keys.logKeySeq(key);
  keys.parseTrashKey(key);
  keys.parseWaitingKey(key);
  keys.listedTaskId(key);
  keys.parseStateKey(key);
  keys.parseIndexKey(key);
  keys.parseCountKey(key);
  keys.parseRequestTimeKey(key);
  keys.parseControllerKey(key);
  keys.parseMention(key);
}

const storeKeys = [
  keys.taskKey("c", "a"),
  keys.logKey("c", "a", "g", 3n),
  keys.trashKey("c", "a", "g", 3n),
  keys.waitingKey("c", 7n, "a"),
  keys.leaseKey("c", "a", "run", 2),
  keys.newestKey("c", 5, "a"),
  keys.labelKey("c", "env", "x/y", "a"),
  keys.endedKey("c", 5, "a"),
  keys.countKey("c", 2),
  keys.requestTimeKey("c", 5, "o", "r"),
].map((key) => Buffer.from(key));

/** By what they read. */
export const decoders: Readonly<Record<string, Decoder>> = {
  record: {
    weight: 6,
    sound: records,
    seal: (bytes) => sealRecord(bytes),
    decode: (bytes) => {
      const record = decodeRecord(bytes);
      recordValue(record);
      isPlausibleEntry(valueKey("/tasks/c/a", 8), bytes);
      return decodeVersion(valueKey("/tasks/c/a", 8), bytes).damage === undefined;
    },
  },
  block: {
    weight: 6,
    sound: blocks,
    seal: sealBlock,
    decode: (bytes) => {
      isPlausibleEntry(numberedKey("journal", 8), bytes);
      for (const record of salvageRecords(bytes)) recordValue(record);
      const block = decodeBlock(bytes, 8);
      for (const record of block?.records ?? []) recordValue(record);
      return block !== undefined;
    },
  },
  cell: {
    weight: 2,
    sound: [putCell(cellKey, [1, 2]).value, putCell(cellKey, []).value],
    seal: (bytes) => sealTail(bytes, cellKey),
    decode: (bytes) => decodeCell(cellKey, bytes) !== undefined,
  },
  "list of keys": {
    weight: 2,
    sound: [encodeKeyList([]), encodeKeyList([cellKey, valueKey("a\0b", 1)])],
    seal: (bytes) => sealTail(bytes),
    decode: (bytes) => decodeKeyList(bytes) !== undefined,
  },
  "key of LevelDB": {
    weight: 2,
    sound: [cellKey, valueKey("/tasks/c/a", 8), valueKey("a\0b", 1)],
    decode: (bytes) => {
      isPlausibleEntry(bytes, records[0]!);
      if (bytes.length > 10) decodeVersion(bytes, records[0]!);
      return parseValueKey(bytes) !== undefined || spaceOf(bytes) !== undefined;
    },
  },
  key: {
    weight: 3,
    sound: storeKeys,
    decode: (bytes) => {
      parseKeys(bytes.toString());
      return keys.parseMention(bytes.toString()) !== undefined;
    },
  },
  task: {
    weight: 6,
    sound: taskBytes,
    decode: (bytes) =>
      unless(
        (error) => error instanceof ControllerError && error.code === "DATA_LOSS",
        () => decodeEntry("c", "a", entryOf(bytes)),
      ),
  },
  "small message": {
    weight: 4,
    sound: smallMessages,
    decode: (bytes) => {
      decodePayload(bytes);
      // Whoever reads a chunk takes any error for damage.
      const isChunk = unless(
        (error) => error instanceof Error,
        () => decodeLogChunk(bytes),
      );
      return decodeIntent(entryOf(bytes)) !== undefined || isChunk;
    },
  },
  batch: { weight: 4, sound: batches, decode: (bytes) => decodeBatch(bytes) !== undefined },
  log: {
    weight: 3,
    sound: shortLogs,
    decode: (bytes) => {
      let count = 0;
      scanLog(bytes, () => (count += 1));
      for (const { record } of salvageLog(bytes)) if (record !== undefined) decodeBatch(record);
      return count > 0;
    },
  },
  manifest: {
    weight: 4,
    sound: edits,
    seal: (bytes) => logOf([bytes]),
    decode: (bytes) => decodeManifest(bytes) !== undefined,
  },
  table: {
    weight: 0.2,
    sound: ofKind(/\.ldb$/),
    seal: sealTableBlock,
    decode: (bytes) => {
      const { entries } = readTable(bytes, checks);
      return checkTable(bytes, checks) !== "damaged" || entries.length > 0;
    },
  },
  marker: {
    weight: 2,
    sound: markers.map((text) => Buffer.from(text)),
    decode: (bytes, random) => {
      const kind = random.pick(Object.keys(jsonMutations)) as JsonMutation;
      const marker = parseMarker(jsonMutations[kind](bytes.toString(), random).toString());
      if (typeof marker === "string") return false;
      expect(marker).toMatchObject({
        format: 1,
        uuid: expect.any(String),
        createTime: expect.any(String),
        revision: expect.any(Number),
      });
      expect(["creating", "ready"]).toContain(marker.state);
      expect(Number.isSafeInteger(marker.revision) && marker.revision >= 0, `revision ${marker.revision}`).toBe(true);
      return true;
    },
  },
  archive: { weight: 0.03, sound: [archive], decode: decodeArchive },
  database: { weight: 0.03, sound: [Buffer.alloc(16)], decode: decodeDatabase },
};

async function decodeArchive(bytes: Buffer): Promise<Read> {
  const path = join(scratch.path, "archive");
  await writeFile(path, bytes);
  try {
    await using opened = await openArchive(path);
    for (const name of opened.names) await opened.read(name);
    return true;
  } catch (error) {
    if (error instanceof StoreError && error.code === "DAMAGED") return false;
    throw error;
  }
}

/** A file of a database is changed, and all of it read. */
async function decodeDatabase(_: Buffer, random: SeededRandom): Promise<Read> {
  const name = random.pick([...files.keys()]);
  const own = files.get(name) as Buffer;
  const changed = mutateBytes(random.pick(byteMutations), own, random.pick([...files.values()]), random);
  const contents = new Map([...files, [name, changed]]);
  const found = await readLevelFiles({
    names: [...contents.keys()],
    read: async (each) => contents.get(each) as Buffer,
  });
  const { keys: count } = await survey(found);
  return count > 0;
}

/** Makes the checksum right of the block that the table begins with. */
function sealTableBlock(bytes: Buffer): Buffer {
  const sound = tableBlocks.get(bytes.length);
  return sound === undefined ? bytes : sealAt(bytes, sound);
}
/** Where the first block of data ends, by the length of the table. */
const tableBlocks = new Map(ofKind(/\.ldb$/).map((table) => [table.length, firstBlockEnd(table)]));

function firstBlockEnd(table: Buffer): number {
  for (let end = 1; end + 5 < table.length; end += 1) {
    if (maskedCrc32c(table, 0, end + 1) === table.readUInt32LE(end + 1)) return end;
  }
  return 0;
}

function sealAt(bytes: Buffer, end: number): Buffer {
  bytes.writeUInt32LE(maskedCrc32c(bytes, 0, end + 1), end + 1);
  return bytes;
}
