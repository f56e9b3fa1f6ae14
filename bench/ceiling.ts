/**
 * What does the store cost over LevelDB itself? The same changes, synced, with
 * the same number in flight, written to bare `level` in the layouts that come into question and through the
 * store's own commit(). A task is four commits one after the other; each changes one value of 200 bytes.
 *
 * entries      a value and an index entry for each change, all of a group in one batch
 * values       the same without the index entries
 * journal      all changes of a group in one entry: the most that can be had
 * journal+     the journal, and behind it the newest values and index entries, unsynced: what the store does
 * store        commit() of one put, conditional on the revision before
 * store+index  the same, moving one index entry with it
 *
 * CEILING_TASKS, CEILING_ROUNDS and CEILING_IN_FLIGHT change the dose.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import { openLevelStore } from "../src/store/level-store.ts";

/** Writes the step of a task and resolves when it is durable. */
type Step = (task: number, step: number) => Promise<void>;

interface Subject {
  readonly step: Step;
  close(): Promise<void>;
}

const stepsOfTask = 4;
const value = Buffer.alloc(200, 7);
const roundKeys = 2_048;

/** Prints tasks a second of each layout: the median of the rounds, and their spread. */
export async function run(): Promise<void> {
  const tasks = dose("CEILING_TASKS", 8_000);
  const rounds = dose("CEILING_ROUNDS", 5);
  const inFlight = dose("CEILING_IN_FLIGHT", 64);
  const results = new Map(Object.keys(subjects).map((name) => [name, [] as number[]]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, open] of Object.entries(subjects)) results.get(name)!.push(await measure(open, tasks, inFlight));
  }
  console.log(`ceiling: tasks/s, ${stepsOfTask} synced commits a task, ${inFlight} in flight, ${tasks} tasks`);
  console.log(`Node ${process.version}, ${rounds} rounds in turn\n`);
  console.log("layout          median      low     high");
  for (const [name, rates] of results) {
    rates.sort((a, b) => a - b);
    const columns = [rates[rates.length >> 1]!, rates[0]!, rates.at(-1)!];
    console.log(name.padEnd(13) + columns.map((rate) => Math.round(rate).toString().padStart(9)).join(""));
  }
}

function dose(name: string, byDefault: number): number {
  return Number(process.env[name] ?? byDefault);
}

async function measure(
  open: (directory: string) => Promise<Subject>,
  tasks: number,
  inFlight: number,
): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "stint-ceiling-"));
  try {
    const subject = await open(directory);
    let next = 0;
    const runTasks = async (): Promise<void> => {
      while (next < tasks) {
        const task = next++;
        for (let step = 0; step < stepsOfTask; step += 1) await subject.step(task, step);
      }
    };
    const since = performance.now();
    await Promise.all(Array.from({ length: inFlight }, runTasks));
    const seconds = (performance.now() - since) / 1_000;
    await subject.close();
    return tasks / seconds;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const subjects: Record<string, (directory: string) => Promise<Subject>> = {
  entries: (directory) => openBare(directory, { journal: false, index: true }),
  values: (directory) => openBare(directory, { journal: false, index: false }),
  journal: (directory) => openBare(directory, { journal: true, index: false, behind: false }),
  "journal+": (directory) => openBare(directory, { journal: true, index: true, behind: true }),
  store: (directory) => openStint(directory, false),
  "store+index": (directory) => openStint(directory, true),
};

async function openStint(directory: string, index: boolean): Promise<Subject> {
  const store = await openLevelStore(directory);
  const revisions = new Map<number, bigint>();
  return {
    async step(task, step) {
      const key = `/tasks/bench/task-${task}`;
      const revision = await store.commit(
        [
          { type: "put", key, value },
          ...(index && step > 0 ? [{ type: "unindex", key: stateKey(task, step - 1) } as const] : []),
          ...(index ? [{ type: "index", key: stateKey(task, step), value: noValue } as const] : []),
        ],
        [{ key, revision: revisions.get(task) ?? 0n }],
      );
      if (step === stepsOfTask - 1) revisions.delete(task);
      else revisions.set(task, revision);
    },
    close: () => store.close(),
  };
}

const noValue = new Uint8Array(0);

function stateKey(task: number, state: number): string {
  return `/index/state/bench/${state}/task-${task}`;
}

interface Layout {
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

/** Group commit over bare LevelDB, and nothing else: no conditions, no reads, no history. */
async function openBare(directory: string, layout: Layout): Promise<Subject> {
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
  return {
    step: (task, step) =>
      new Promise((done) => {
        queue.push({ task, step, done });
        pump ??= pumpAll();
      }),
    async close() {
      await behind;
      await db.close();
    },
  };
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
