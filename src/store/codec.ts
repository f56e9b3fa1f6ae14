/**
 * How a task lies in the store: which bytes its status has, and which index
 * entries and counters belong to it. Whoever writes a task's key writes what `taskChanges`
 * says, in the same commit; so the indexes are always what the statuses say.
 *
 * Metadata and results above `inlineMaxBytes` are records of their own, so that a step of
 * progress costs what progress costs; log entries are too, in chunks.
 */
import { create } from "@bufbuild/protobuf";
import { type LogEntry, type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { LeaseSchema, type TaskRecord, TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { createDecoder } from "../messages/message-decoder.ts";
import { createEncoder } from "../messages/message-encoder.ts";
import * as keys from "./keys.ts";
import type { Change } from "./store.ts";

/** A task as it is stored: the status without logs and without the payloads that are records of their own. */
export interface StoredTask {
  readonly status: TaskStatus;
  readonly record: TaskRecord;
}

const inlineMaxBytes = 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const noBytes = new Uint8Array(0);
const noLabels: Readonly<Record<string, string>> = {};
const encodeStatus = createEncoder(TaskStatusSchema);
const encodeStored = createEncoder(TaskStatusSchema, TaskRecordSchema);
const decodeStatus = createDecoder(TaskStatusSchema);
const decodeStored = createDecoder(TaskStatusSchema, TaskRecordSchema);

/** The bytes of a lease. */
export const encodeLease = createEncoder(LeaseSchema);

/** The bytes of a task's key. */
function encodeTask({ status, record }: StoredTask): Uint8Array {
  return encodeStored(status, record);
}

/** Throws where the bytes are not those of a task. */
export function decodeTask(bytes: Uint8Array): StoredTask {
  const [status, record] = decodeStored(bytes);
  return { status, record };
}

/** The bytes of a chunk of log entries. */
export function encodeLogChunk(entries: readonly LogEntry[]): Uint8Array {
  return encodeStatus(create(TaskStatusSchema, { logs: [...entries] }));
}

export function decodeLogChunk(bytes: Uint8Array): LogEntry[] {
  return decodeStatus(bytes)[0].logs;
}

/** The text of a payload record. */
export function decodePayload(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Whether the task's run waits for a runner: Pending and offered to none. */
export interface Offering {
  readonly waitedBefore: boolean;
  readonly waitsAfter: boolean;
}

export interface TaskChanges {
  readonly changes: Change[];
  /** The task as it is stored, with its large payloads taken out; undefined when deleted. */
  readonly stored: StoredTask | undefined;
}

/** All changes that make `before` (undefined: absent) into `after` (undefined: deleted). */
export function taskChanges(
  controller: string,
  taskId: string,
  before: StoredTask | undefined,
  after: StoredTask | undefined,
  offering: Offering,
): TaskChanges {
  const changes: Change[] = [];
  const stored = after === undefined ? undefined : splitPayloads(controller, taskId, before, after, changes);
  if (before !== undefined && after === undefined) deletePayloads(controller, taskId, before.record, changes);

  moveEntry(
    changes,
    offering.waitedBefore ? waitingOf(controller, taskId, before) : undefined,
    offering.waitsAfter ? waitingOf(controller, taskId, after) : undefined,
  );
  // Most changes of a task move few of its entries: keys are built only where something has come, gone, or become another.
  const [old, now] = [before?.status, after?.status];
  const isOther = old === undefined || now === undefined;
  if (isOther || old.createTime !== now.createTime)
    moveEntry(changes, newestOf(controller, taskId, before), newestOf(controller, taskId, after));
  if (isOther || old.state !== now.state)
    moveEntry(changes, stateOf(controller, taskId, before), stateOf(controller, taskId, after));
  if (isOther || old.state !== now.state || old.endTime !== now.endTime)
    moveEntry(changes, endedOf(controller, taskId, before), endedOf(controller, taskId, after));
  if (before?.status.labels !== after?.status.labels) moveLabels(controller, taskId, before, after, changes);
  moveCount(controller, before, after, changes);

  const key = keys.taskKey(controller, taskId);
  if (stored !== undefined) changes.push({ type: "put", key, value: encodeTask(stored) });
  else if (before !== undefined) changes.push({ type: "delete", key });
  return { changes, stored };
}

function splitPayloads(
  controller: string,
  taskId: string,
  before: StoredTask | undefined,
  after: StoredTask,
  changes: Change[],
): StoredTask {
  let { status, record } = after;
  // oxlint-disable-next-line oxc/no-accumulating-spread -- two turns.
  for (const payload of ["metadata", "result"] as const) {
    const text = status[payload];
    const field = payload === "metadata" ? "metadataBytes" : "resultBytes";
    // Three bytes a unit is the most that UTF-8 takes: short texts need no encoding to know.
    const bytes = text !== undefined && text.length * 3 > inlineMaxBytes ? encoder.encode(text) : noBytes;
    if (bytes.length > inlineMaxBytes) {
      changes.push({ type: "put", key: keys.payloadKey(controller, taskId, payload), value: bytes });
      status = { ...status, [payload]: payload === "metadata" ? "" : undefined };
      record = { ...record, [field]: bytes.length };
    } else if (record[field] === 0 && (before?.record[field] ?? 0) > 0) {
      changes.push({ type: "delete", key: keys.payloadKey(controller, taskId, payload) });
    }
  }
  return { status, record };
}

function deletePayloads(controller: string, taskId: string, record: TaskRecord, changes: Change[]): void {
  if (record.metadataBytes > 0) changes.push({ type: "delete", key: keys.payloadKey(controller, taskId, "metadata") });
  if (record.resultBytes > 0) changes.push({ type: "delete", key: keys.payloadKey(controller, taskId, "result") });
}

function moveEntry(changes: Change[], before: string | undefined, after: string | undefined): void {
  if (before === after) return;
  if (before !== undefined) changes.push({ type: "unindex", key: before });
  if (after !== undefined) changes.push({ type: "index", key: after, value: noBytes });
}

function waitingOf(controller: string, taskId: string, task: StoredTask | undefined): string | undefined {
  return task && keys.waitingKey(controller, task.record.queueNumber, taskId);
}

function newestOf(controller: string, taskId: string, task: StoredTask | undefined): string | undefined {
  return task && keys.newestKey(controller, milliseconds(task.status.createTime), taskId);
}

function stateOf(controller: string, taskId: string, task: StoredTask | undefined): string | undefined {
  return task && keys.stateKey(controller, task.status.state, taskId);
}

function endedOf(controller: string, taskId: string, task: StoredTask | undefined): string | undefined {
  if (task === undefined || task.status.state < 3) return undefined;
  return keys.endedKey(controller, milliseconds(task.status.endTime), taskId);
}

function moveLabels(
  controller: string,
  taskId: string,
  before: StoredTask | undefined,
  after: StoredTask | undefined,
  changes: Change[],
): void {
  const old = before?.status.labels ?? noLabels;
  const now = after?.status.labels ?? noLabels;
  for (const [name, value] of Object.entries(old))
    if (now[name] !== value) changes.push({ type: "unindex", key: keys.labelKey(controller, name, value, taskId) });
  for (const [name, value] of Object.entries(now)) {
    if (old[name] === value) continue;
    changes.push({ type: "index", key: keys.labelKey(controller, name, value, taskId), value: noBytes });
  }
}

function moveCount(
  controller: string,
  before: StoredTask | undefined,
  after: StoredTask | undefined,
  changes: Change[],
): void {
  if (before?.status.state === after?.status.state) return;
  if (before) changes.push({ type: "add", key: keys.countKey(controller, before.status.state), delta: -1n });
  if (after) changes.push({ type: "add", key: keys.countKey(controller, after.status.state), delta: 1n });
}

function milliseconds(timestamp: { seconds: bigint; nanos: number } | undefined): number {
  return timestamp === undefined ? 0 : Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1e6);
}
