/** Makes the state of a store of the versions that are left of it: see invariant 3 of level-repair.ts. */
import { TaskState } from "#gen/core/v1/core_pb.js";
import { decodeTask, taskChanges } from "./codec.ts";
import {
  countKey,
  isCountKey,
  leaseKey,
  parseMention,
  parseStateKey,
  releasedKey,
  type TaskMention,
  taskKey,
  waitingKey,
} from "./keys.ts";
import { sameStem, valueKey } from "./level-keys.ts";
import { decodeVersion } from "./level-version.ts";
import type { DatabaseWriter } from "./level-writer.ts";
import {
  encodeRecord,
  isLive,
  noBytes,
  recordBytes,
  type RecordType,
  recordTypes,
  recordValue,
  type StoredRecord,
} from "./record.ts";
import type { DamagedTask, RepairReport } from "./store-report.ts";
import { type LedgerTask, lostLogs, lostPayloads, TaskLedger, whatIsWrong } from "./task-ledger.ts";

export interface Rebuilt {
  readonly revision: number;
  readonly damagedTasks: readonly DamagedTask[];
  readonly unendedTasks: RepairReport["unendedTasks"];
  readonly losses: readonly string[];
}

/** How far the revisions of a rebuilt store lie behind those that are known: more than can have been given away and lost. */
const revisionGap = 1_000_000;
const lostText = Buffer.from("lost");
const derivedKinds: ReadonlySet<TaskMention["kind"]> = new Set(["newest", "state", "label", "ended"]);

export async function rebuild(all: DatabaseWriter, database: DatabaseWriter, highest: number): Promise<Rebuilt> {
  const ledger = new TaskLedger();
  for await (const { key, revision, damage, ...record } of newestRecords(all)) {
    if (!isLive(record.type)) {
      ledger.seeEnd(key, revision);
      continue;
    }
    ledger.see({
      key,
      revision,
      value: damage === undefined ? recordValue({ key, revision, damage, ...record }) : undefined,
    });
  }
  const builder = new Builder(ledger, database, highest + revisionGap);
  for await (const record of newestRecords(all)) if (isLive(record.type)) await builder.take(record);
  return builder.finish();
}

/** The newest version of each key, in order; its end too. */
async function* newestRecords(all: DatabaseWriter): AsyncGenerator<StoredRecord> {
  let last: Buffer | undefined;
  for await (const [levelKey, bytes] of all.versions()) {
    if (last !== undefined && sameStem(last, levelKey)) continue;
    last = levelKey;
    yield decodeVersion(levelKey, bytes);
  }
}

class Builder {
  readonly #ledger: TaskLedger;
  readonly #database: DatabaseWriter;
  #revision: number;
  readonly #damagedTasks: DamagedTask[] = [];
  readonly #unendedTasks: { controller: string; taskId: string }[] = [];
  readonly #losses: string[] = [];
  readonly #counts = new Map<string, number>();
  readonly #countsBefore = new Map<string, bigint>();
  /** Of tasks that are lost: the newest entry of the index by state. */
  readonly #lostStates = new Map<LedgerTask, StoredRecord>();

  constructor(ledger: TaskLedger, database: DatabaseWriter, revision: number) {
    this.#ledger = ledger;
    this.#database = database;
    this.#revision = revision;
  }

  async take(record: StoredRecord): Promise<void> {
    const mention = parseMention(record.key);
    if (mention === undefined) {
      // Tasks are counted anew.
      if (!isCountKey(record.key)) await this.#keep(record);
      else if (record.damage === undefined) this.#countsBefore.set(record.key, readCount(record));
      return;
    }
    const task = this.#ledger.get(mention.controller, mention.taskId)!;
    const isLost = task.revision === 0 || whatIsWrong(task) !== undefined;
    if (mention.kind === "task") await (isLost ? this.#putLost(task, record) : this.#putTask(task, record));
    else if (mention.kind === "state" && isLost) {
      const other = this.#lostStates.get(task);
      if (other === undefined || other.revision < record.revision) this.#lostStates.set(task, record);
    } else if (mention.kind === "payload" && lostPayloads(task).some(({ key }) => key === record.key)) {
      // Another run's: #putTask says that this one's is lost.
    } else if (isLost || belongs(mention.kind, record.key, task)) await this.#keep(record);
  }

  async finish(): Promise<Rebuilt> {
    for (const task of this.#ledger.tasks()) if (task.revision === 0) await this.#putLost(task, undefined);
    for (const record of this.#lostStates.values()) {
      await this.#keep(record);
      const { controller, state } = parseStateKey(record.key);
      this.#count(countKey(controller, state));
    }
    this.#compareCounts();
    this.#revision += 1;
    for (const [key, count] of this.#counts) {
      const value = Buffer.alloc(8);
      value.writeBigInt64BE(BigInt(count));
      await this.#put(recordTypes.counter, key, this.#revision, value);
    }
    const [damagedTasks, unendedTasks, losses] = [this.#damagedTasks, this.#unendedTasks, this.#losses];
    return { revision: this.#revision, damagedTasks, unendedTasks, losses };
  }

  /** The counters tell how many tasks there were, also of those of which nothing else is left. */
  #compareCounts(): void {
    const sum = (counts: Iterable<number | bigint>): bigint =>
      [...counts].reduce<bigint>((all, each) => all + BigInt(each), 0n);
    const [before, now] = [sum(this.#countsBefore.values()), sum(this.#counts.values())];
    if (before > now)
      this.#losses.push(`there were ${before} tasks by the newest counters that are left, and ${now} are counted now`);
  }

  /** As it is, damaged or not. */
  async #keep(record: StoredRecord): Promise<void> {
    const { key, revision, damage } = record;
    if (damage !== undefined) this.#losses.push(`the value of ${JSON.stringify(key)} is damaged`);
    await this.#database.put(valueKey(key, revision), recordBytes(record));
  }

  async #put(type: RecordType, key: string, revision: number, value: Buffer): Promise<void> {
    await this.#database.put(valueKey(key, revision), encodeRecord({ type, key, revision, previous: 0, value }));
  }

  /** The record, and what of the indexes follows from it. */
  async #putTask(task: LedgerTask, record: StoredRecord): Promise<void> {
    await this.#keep(record);
    const { controller, taskId } = task;
    const payloads = lostPayloads(task);
    for (const { key } of payloads) await this.#database.put(valueKey(key, record.revision), lostText);
    for (const { state, reason } of [...payloads, ...lostLogs(task)]) {
      this.#damagedTasks.push({ controller, taskId, state, reason });
    }
    const stored = decodeTask(recordValue(record));
    if (isActive(task)) this.#unendedTasks.push({ controller, taskId });
    const waits = stored.status.state === TaskState.Pending && !isPlaced(task);
    const { changes } = taskChanges(controller, taskId, undefined, stored, { waitedBefore: false, waitsAfter: waits });
    for (const change of changes) {
      if (change.type === "index") await this.#put(recordTypes.index, change.key, record.revision, noBytes);
      if (change.type === "add") this.#count(change.key);
    }
  }

  /** Something in the place of the record that is none: who asks learns of the loss. */
  async #putLost(task: LedgerTask, record: StoredRecord | undefined): Promise<void> {
    const { controller, taskId } = task;
    this.#revision += 1;
    const left = record === undefined || record.end === record.start ? lostText : recordBytes(record);
    await this.#database.put(valueKey(taskKey(controller, taskId), this.#revision), left);
    const wrong = whatIsWrong(task);
    if (wrong !== undefined) this.#damagedTasks.push({ controller, taskId, ...wrong });
  }

  #count(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }
}

function readCount(record: StoredRecord): bigint {
  const value = recordValue(record);
  return value.length === 8 ? value.readBigInt64BE() : 0n;
}

/** Whether an entry of a task that can be read is one of its own, and of now. */
function belongs(kind: TaskMention["kind"], key: string, task: LedgerTask): boolean {
  if (derivedKinds.has(kind)) return false;
  return kind === "waiting" || kind === "leases" || kind === "released" ? isPlaceOf(key, task) : true;
}

function isActive({ known }: Pick<LedgerTask, "known">): boolean {
  return known?.state === TaskState.Pending || known?.state === TaskState.Running;
}

function isPlaced(task: LedgerTask): boolean {
  return task.places?.some((key) => isPlaceOf(key, task)) ?? false;
}

/** Whether the task, as it is now, waits or was offered by this key. */
function isPlaceOf(key: string, { controller, taskId, known }: LedgerTask): boolean {
  if (known === undefined) return false;
  const { state, queueNumber, runId, attempt } = known;
  if (!isActive({ known })) return false;
  if (state === TaskState.Pending && key === waitingKey(controller, queueNumber, taskId)) return true;
  return (
    key === leaseKey(controller, taskId, runId, attempt) || key === releasedKey(controller, taskId, runId, attempt)
  );
}
