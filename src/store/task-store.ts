/**
 * KVStore: the typed view on the statuses of tasks. What it writes under
 * /tasks/<controller>/<task id> is a task like any other, with its index entries; a controller that is opened later
 * takes it up. It is not for writing past a controller that is open: that controller treats the task as lost.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { type LogEntry, type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { decodeLogChunk, decodePayload, decodeTask, type StoredTask, taskChanges } from "./codec.ts";
import type { FoldingCodec } from "./key-value-codec.ts";
import { KeyValueError } from "./key-value-error.ts";
import { createKeyValueStore, type KeyValueStore } from "./key-value-store.ts";
import { logKey, logPrefix, parseTaskKey, payloadKey, payloadsRoot, trashKey } from "./keys.ts";
import type { Change, Entry, Store } from "./store.ts";

/** The statuses of tasks by their keys, "/tasks/CONTROLLER/TASK ID". */
export type KVStore = KeyValueStore<TaskStatus>;

/** Makes the view. The store stays open when the view is no longer used. */
export function createKVStore(store: Store): KVStore {
  return createKeyValueStore(store, taskCodec);
}

const pending = 1;
const logPageChunks = 64;

const taskCodec: FoldingCodec<TaskStatus> = {
  root: "",
  hidden: payloadsRoot,

  async load(entry, store, revision) {
    const task = decodeTask(entry.value);
    const place = parseTaskKey(entry.key);
    if (place === undefined) return task.status;
    const { status, record } = task;
    const text = async (payload: "metadata" | "result"): Promise<string> => {
      const stored = await store.get(payloadKey(place.controller, place.taskId, payload), { revision });
      if (stored === undefined) throw new Error(`the ${payload} is missing`);
      return decodePayload(stored.value);
    };
    return {
      ...status,
      metadata: record.metadataBytes > 0 ? await text("metadata") : status.metadata,
      result: record.resultBytes > 0 ? await text("result") : status.result,
      logs: hasLogRecords(task) ? await loadLogs(store, place, task) : status.logs,
    };
  },

  changes(key, before, value) {
    const place = parseTaskKey(key);
    if (place === undefined) return plainChanges(key, value);
    const { controller, taskId } = place;
    const old = before === undefined ? undefined : decodeStored(before);
    const after = value === undefined ? undefined : storedTask(value, old, before?.revision ?? 0n);
    const { changes } = taskChanges(controller, taskId, old, after, {
      waitedBefore: old?.status.state === pending,
      waitsAfter: after?.status.state === pending,
    });
    return old !== undefined && hasLogRecords(old) ? [...changes, trashOf(place, old)] : changes;
  },
};

/**
 * The task that is replaced or deleted. Which index entries belong to a damaged one is not known: left behind, they would
 * stand in the way of the next task with the id. A controller looks for them when it deletes it.
 */
function decodeStored(entry: Entry): StoredTask {
  try {
    if (!entry.corrupt) return decodeTask(entry.value);
  } catch (cause) {
    throw damagedTask(entry, cause);
  }
  throw damagedTask(entry);
}

function damagedTask({ key }: Entry, cause?: unknown): KeyValueError {
  const message = `the task ${JSON.stringify(key)} is damaged; delete it through its controller`;
  return new KeyValueError("DATA_LOSS", message, { cause });
}

function plainChanges(key: string, value: TaskStatus | undefined): Change[] {
  return value === undefined
    ? [{ type: "delete", key }]
    : [{ type: "put", key, value: toBinary(TaskStatusSchema, value) }];
}

/** Whether log entries of the task are records of their own: those of one that was put here are in its status. */
function hasLogRecords({ status }: StoredTask): boolean {
  return status.logs.length === 0 && status.logCount > status.logsDropped;
}

/**
 * The value as a stored task. Its log entries stay in it: a controller that takes it up makes records of them.
 * A value without any has none, whatever it counts, for example where it was read with some and put without.
 */
function storedTask(value: TaskStatus, old: StoredTask | undefined, oldRevision: bigint): StoredTask {
  const isTransition = old?.status.state !== value.state || old.status.transitions.length !== value.transitions.length;
  const previous = old?.record.isTransition ? oldRevision : (old?.record.previousTransitionRevision ?? 0n);
  const record = create(TaskRecordSchema, {
    generation: old?.record.generation ?? "",
    // A place of its own: the old one may be taken, or have been given back when the run was offered.
    queueNumber: old === undefined ? 0n : old.record.queueNumber + (value.state === pending ? 1n : 0n),
    logLastSeq: old?.record.logLastSeq ?? 0n,
    previousTransitionRevision: previous,
    isTransition,
  });
  const status = { ...create(TaskStatusSchema, value), waitingFor: "" };
  return { status: status.logs.length > 0 ? status : { ...status, logCount: 0n, logsDropped: 0n }, record };
}

function trashOf(place: { controller: string; taskId: string }, old: StoredTask): Change {
  const { generation, logLastSeq } = old.record;
  return {
    type: "index",
    key: trashKey(place.controller, place.taskId, generation, logLastSeq),
    value: new Uint8Array(0),
  };
}

async function loadLogs(
  store: Store,
  place: { controller: string; taskId: string },
  task: StoredTask,
): Promise<LogEntry[]> {
  const { controller, taskId } = place;
  const { generation, logLastSeq } = task.record;
  const first = logLastSeq - (task.status.logCount - task.status.logsDropped) + 1n;
  const logs: LogEntry[] = [];
  let after = logKey(controller, taskId, generation, first - 1n);
  for (;;) {
    const page = await store.scan({ prefix: logPrefix(controller, taskId, generation), after, limit: logPageChunks });
    for (const chunk of page) {
      after = chunk.key;
      logs.push(...decodeLogChunk(chunk.value).filter(({ seq }) => seq >= first && seq <= logLastSeq));
    }
    if (page.length < logPageChunks || (logs.at(-1)?.seq ?? 0n) >= logLastSeq) return logs;
  }
}
