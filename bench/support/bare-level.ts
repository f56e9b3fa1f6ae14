/**
 * Group commit over bare LevelDB, and nothing else: no conditions, no reads, no history. A task is `stepsOfTask` commits
 * one after the other; each changes one value of 200 bytes.
 */
import { Level } from "level";
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
}

interface Change {
  readonly task: number;
  readonly step: number;
  readonly done: () => void;
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
  let newest = new Map<number, number>();

  const pumpAll = async (): Promise<void> => {
    while (queue.length > 0) {
      await new Promise(setImmediate);
      const group = queue;
      queue = [];
      const puts = layout.journal ? [journalPut(revision + 1, group)] : [];
      for (const { task } of group) {
        revision += 1;
        if (!layout.journal) puts.push(...entryPuts(task, revision, layout.index));
        else if (layout.behind) newest.set(task, revision);
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
        queue.push({ task, step, done });
        pump ??= pumpAll();
      }),
    async close() {
      await behind;
      await db.close();
    },
  });
}

function journalPut(first: number, group: readonly Change[]): Put {
  const recordBytes = 64 + value.length;
  const block = Buffer.allocUnsafe(group.length * recordBytes);
  group.forEach(({ task, step }, i) => {
    block.write(`/tasks/bench/task-${task}/${step}`.padEnd(64), i * recordBytes, "latin1");
    value.copy(block, i * recordBytes + 64);
  });
  return { type: "put", key: bareKey("J", "", first), value: block };
}

function entryPuts(task: number, revision: number, index: boolean): Put[] {
  const puts: Put[] = [{ type: "put", key: bareKey("V", `/tasks/bench/task-${task}`, revision), value }];
  if (index) puts.push({ type: "put", key: bareKey("V", stateKey(task, 0), revision), value: Buffer.alloc(0) });
  return puts;
}

function bareKey(space: string, key: string, revision: number): Buffer {
  const bytes = Buffer.alloc(9 + key.length);
  bytes.write(space + key, 0, "latin1");
  bytes.writeBigUInt64BE(BigInt(revision), 1 + key.length);
  return bytes;
}
