/** What the decoders of stored bytes are fed with: sound bytes of each kind, as the store itself has written them, and ways to make changed ones sound again. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { LogEntrySchema, TaskState, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import {
  ControllerRecordSchema,
  LaunchIntentSchema,
  LaunchRequestRecordSchema,
  LeaseSchema,
  TaskRecordSchema,
} from "#gen/stint/store/v1/record_pb.js";
import { encodeLogChunk, taskChanges } from "../../src/store/codec.ts";
import { crc32c } from "../../src/store/crc32c.ts";
import { archivePieces } from "../../src/store/level-archive.ts";
import { maskedCrc32c } from "../../src/store/level-log.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { encodeBlock, encodeRecord, type RecordDraft } from "../../src/store/record.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { crashCopy, makeScratch } from "../store/level-fixture.ts";

export const taskBytes: readonly Buffer[] = [TaskState.Pending, TaskState.Running, TaskState.Failed].map((state) => {
  const status = create(TaskStatusSchema, {
    ...{ state, progress: { current: 3n, total: 10n, message: "three" }, metadata: '{"a":1}', labels: { env: "x" } },
    transitions: [{ state, timestamp: { seconds: 5n, nanos: 6 }, reason: "why" }],
    ...{ runId: "run", attempt: 2, createTime: { seconds: 1n }, updateTime: { seconds: 2n }, logCount: 3n },
    error: state === TaskState.Failed ? { code: 2, message: "failed" } : undefined,
  });
  const record = create(TaskRecordSchema, { generation: "g", queueNumber: 7n, logLastSeq: 3n });
  const offering = { waitedBefore: false, waitsAfter: false };
  const put = taskChanges("c", "a", undefined, { status, record }, offering).changes.at(-1);
  return Buffer.from(put?.type === "put" ? put.value : []);
});

export const smallMessages: readonly Buffer[] = [
  encodeLogChunk([create(LogEntrySchema, { msg: "entry", level: 4, seq: 3n, timestamp: { seconds: 1n } })]),
  toBinary(LeaseSchema, create(LeaseSchema, { instanceId: "i", runId: "run", attempt: 2, runner: "r" })),
  toBinary(LaunchIntentSchema, create(LaunchIntentSchema, { runId: "run", labels: { env: "x" } })),
  toBinary(LaunchRequestRecordSchema, create(LaunchRequestRecordSchema, { taskId: "a", runId: "run", outcome: 1 })),
  toBinary(ControllerRecordSchema, create(ControllerRecordSchema, { configured: true })),
].map((bytes) => Buffer.from(bytes));

const drafts: readonly RecordDraft[] = [
  { type: 1, key: "/tasks/c/a", revision: 8, previous: 7, value: taskBytes[0]! },
  { type: 3, key: "/index/state/c/1/a", revision: 8, previous: 0, value: Buffer.alloc(0) },
  { type: 5, key: "/counts/c/1", revision: 8, previous: 0, value: Buffer.alloc(8, 1) },
  { type: 2, key: "/tasks/c/ä\0b", revision: 9, previous: 3, value: Buffer.alloc(0) },
];
export const records: readonly Buffer[] = drafts.map((draft) => Buffer.from(encodeRecord(draft)));
export const blocks: readonly Buffer[] = [
  encodeBlock(8, 2, 1_000, drafts).bytes,
  encodeBlock(8, 1, 1_000, drafts.slice(0, 1)).bytes,
  encodeBlock(8, 1, 1_000, []).bytes,
];

/** Makes the checksums of a record right for what is in it, where its lengths leave room for them. */
export function sealRecord(bytes: Buffer, start = 0): Buffer {
  if (bytes.length < start + 36) return bytes;
  const keyEnd = start + 28 + bytes.readUInt32BE(start + 4);
  const valueEnd = keyEnd + 4 + bytes.readUInt32BE(start + 8);
  if (keyEnd + 4 > bytes.length) return bytes;
  bytes.writeUInt32BE(crc32c(bytes, start, keyEnd), keyEnd);
  if (valueEnd + 4 <= bytes.length) bytes.writeUInt32BE(crc32c(bytes, start, valueEnd), valueEnd);
  return bytes;
}

/** The same of a block: of its head, and of the record behind that. */
export function sealBlock(bytes: Buffer): Buffer {
  if (bytes.length < 32) return bytes;
  const headEnd = 28 + 4 * bytes.readUInt32BE(16);
  if (headEnd + 4 > bytes.length) return bytes;
  bytes.writeUInt32BE(crc32c(bytes, 0, headEnd), headEnd);
  return sealRecord(bytes, headEnd + 4);
}

/** Makes the last four bytes the checksum of all before them, and of what `key` says. */
export function sealTail(bytes: Buffer, key: Buffer = Buffer.alloc(0)): Buffer {
  const end = bytes.length - 4;
  if (end >= 0) bytes.writeUInt32BE(crc32c(bytes, 0, end, crc32c(key, 0, key.length)), end);
  return bytes;
}

/** A log of LevelDB's with these records. */
export function logOf(records: readonly Buffer[]): Buffer {
  return Buffer.concat(
    records.map((record) => {
      const fragment = Buffer.concat([Buffer.alloc(7), record.subarray(0, 30_000)]);
      fragment.writeUInt16LE(fragment.length - 7, 4);
      fragment[6] = 1;
      fragment.writeUInt32LE(maskedCrc32c(fragment, 6, fragment.length), 0);
      return fragment;
    }),
  );
}

/** The file of a backup with these files. */
export async function archiveOf(files: readonly (readonly [name: string, bytes: Buffer])[]): Promise<Buffer> {
  const archived = files.map(([name, bytes]) => ({
    ...{ name, length: bytes.length },
    async *pieces() {
      yield bytes;
    },
  }));
  const pieces: Buffer[] = [];
  for await (const piece of archivePieces(archived)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** The files of a store's database: with tables, a log and a manifest. */
export async function databaseFiles(): Promise<ReadonlyMap<string, Buffer>> {
  await using scratch = await makeScratch();
  const store = await openLevelStore(scratch.path, {
    clock: createFakeClock(),
    writeBufferBytes: 1 << 16,
    roundKeys: 10,
  });
  for (let i = 0; i < 90; i += 1) {
    const value = i % 3 === 0 ? taskBytes[i % taskBytes.length]! : Buffer.alloc(1_500, `${i}    `);
    await store.commit([{ type: "put", key: i % 3 === 0 ? `/tasks/c/t${i % 20}` : `key ${i % 40}`, value }]);
  }
  await using crashed = await crashCopy(scratch.path);
  await store.close();
  const directory = join(crashed.path, "db");
  const names = (await readdir(directory)).filter((name) => /^(CURRENT|MANIFEST-\d+|\d+\.(ldb|log))$/.test(name));
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name))] as const)));
}
