/**
 * Group commit over bare LevelDB, and nothing else: no conditions, no reads, no history. A task is `stepsOfTask` commits
 * one after the other; each changes one value of 200 bytes, or a status that is encoded for it.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Level } from "level";
import { TaskState, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import type { Contender, Subject } from "./rounds.ts";

/** Writes the step of a task and resolves when it is durable. */
export type Step = (task: number, step: number) => Promise<void>;

export const stepsOfTask = 4;
export const value = Buffer.alloc(200, 7);
const roundKeys = 2_048;

export function stateKey(task: number, state: number): string {
  return `/index/state/bench/${state}/task-${task}`;
}

/** A subject that takes the steps of a task in turn. */
export function subjectOf({ step, close }: { readonly step: Step; close(): Promise<void> }): Subject {
  return {
    async bring(task) {
      for (let i = 0; i < stepsOfTask; i += 1) await step(task, i);
    },
    close,
  };
}

/** The journal, and behind it the newest values and index entries, unsynced: the best layout known that can be read, too. */
export const ceiling: Contender["open"] = (directory) =>
  openBare(directory, { journal: true, index: true, behind: true });

export interface Layout {
  readonly journal: boolean;
  readonly index: boolean;
  readonly behind?: boolean;
  /** Each change has the status of a task at its step, encoded by the protobuf library. */
  readonly protobuf?: boolean;
}

interface Change {
  readonly task: number;
  readonly step: number;
  readonly value: Uint8Array;
  readonly done: () => void;
}

interface Newest {
  readonly revision: number;
  readonly value: Uint8Array;
}

const states = [TaskState.Pending, TaskState.Running, TaskState.Running, TaskState.Completed] as const;

/** A task's status as a lifecycle has it: Pending, Running, one progress, Completed. */
function statusAt(step: number): Uint8Array {
  const now = timestampNow();
  const state = states[step] ?? TaskState.Completed;
  const passed = states.slice(0, step + 1).filter((each, i) => each !== states[i - 1]);
  const status = create(TaskStatusSchema, {
    state,
    attempt: 1,
    createTime: now,
    updateTime: now,
    runId: "01926f3b-5f6e-7c3a-9d0e-3f1f4b7c9a10",
    transitions: passed.map((each) => ({ state: each, timestamp: now })),
    ...(step > 0 && { startTime: now }),
    ...(step > 1 && { progress: { current: 1n, total: 1n } }),
    ...(step > 2 && { endTime: now }),
  });
  return toBinary(TaskStatusSchema, status);
}

type Put = { type: "put"; key: Buffer; value: Buffer };

/** Bare LevelDB in a layout. */
export async function openBare(directory: string, layout: Layout): Promise<Subject> {
  const db = new Level<Buffer, Buffer>(directory, {
    keyEncoding: "buffer",
    valueEncoding: "buffer",
    writeBufferSize: 16 << 20,
  });
  await db.open();
  let queue: Change[] = [];
  let pump: Promise<void> | undefined;
  let behind: Promise<void> | undefined;
  let revision = 0;
  let newest = new Map<number, Newest>();

  const pumpAll = async (): Promise<void> => {
    while (queue.length > 0) {
      await new Promise(setImmediate);
      const group = queue;
      queue = [];
      const puts = layout.journal ? [journalPut(revision + 1, group)] : [];
      for (const { task, value: own } of group) {
        revision += 1;
        if (!layout.journal) puts.push(...entryPuts(task, { revision, value: own }, layout.index));
        else if (layout.behind) newest.set(task, { revision, value: own });
      }
      await db.batch(puts, { sync: true });
      for (const { done } of group) done();
      if (newest.size >= roundKeys) behind ??= materialize();
    }
    pump = undefined;
  };
  const materialize = async (): Promise<void> => {
    const puts = [...newest].flatMap(([task, at]) => entryPuts(task, at, layout.index));
    newest = new Map();
    await db.batch(puts);
    behind = undefined;
  };
  return subjectOf({
    step: (task, step) =>
      new Promise((done) => {
        queue.push({ task, step, value: layout.protobuf ? statusAt(step) : value, done });
        pump ??= pumpAll();
      }),
    async close() {
      await behind;
      await db.close();
    },
  });
}

function journalPut(first: number, group: readonly Change[]): Put {
  const block = Buffer.allocUnsafe(group.reduce((bytes, change) => bytes + 64 + change.value.length, 0));
  let at = 0;
  for (const change of group) {
    block.write(`/tasks/bench/task-${change.task}/${change.step}`.padEnd(64), at, "latin1");
    block.set(change.value, at + 64);
    at += 64 + change.value.length;
  }
  return { type: "put", key: bareKey("J", "", first), value: block };
}

function entryPuts(task: number, { revision, value: own }: Newest, index: boolean): Put[] {
  const bytes = Buffer.from(own.buffer, own.byteOffset, own.byteLength);
  const puts: Put[] = [{ type: "put", key: bareKey("V", `/tasks/bench/task-${task}`, revision), value: bytes }];
  if (index) puts.push({ type: "put", key: bareKey("V", stateKey(task, 0), revision), value: Buffer.alloc(0) });
  return puts;
}

function bareKey(space: string, key: string, revision: number): Buffer {
  const bytes = Buffer.alloc(9 + key.length);
  bytes.write(space + key, 0, "latin1");
  bytes.writeBigUInt64BE(BigInt(revision), 1 + key.length);
  return bytes;
}
