/**
 * Knows of each task that anything in a store is about whether its record is there, and is the newest: what belongs to a task is written in
 * the commit of a change, so an entry that is newer than its task's record, or has none, tells of one that is lost.
 */
import { TaskState } from "#gen/core/v1/core_pb.js";
import { decodeLogChunk, decodeTask, type StoredTask } from "./codec.ts";
import type { DamagedTask } from "./store-report.ts";
import { parseMention, payloadKey, type TaskMention } from "./keys.ts";

/** The newest version of a key. The value is undefined where it is damaged. */
export interface SeenEntry {
  readonly key: string;
  readonly revision: number;
  readonly value: Uint8Array | undefined;
}

export interface LedgerTask {
  readonly controller: string;
  readonly taskId: string;
  /** 0 where no record is there. */
  revision: number;
  /** What a repair needs to know of a task that can be read. */
  known: KnownTask | undefined;
  damage: string | undefined;
  /** The newest of the entries that are written together with the record. */
  evidence: { key: string; revision: number } | undefined;
  /** An entry that no task without a record has. */
  mention: string | undefined;
  /** The newest chunk of log entries of each generation, but for those that are to be deleted. */
  logs: Map<string, SeenLog> | undefined;
  trash: Set<string> | undefined;
  /** How many bytes its payloads have, as far as they are there. */
  payloads: Map<string, number> | undefined;
  /** The keys by which it waits in the line, or was offered. */
  places: string[] | undefined;
}

/** The newest chunk of a log, and which entries the chunks have. */
interface SeenLog {
  lastSeq: bigint;
  readonly chunks: [first: bigint, last: bigint][];
  isDamaged: boolean;
}

export type KnownTask = Pick<StoredTask["status"], "state" | "runId" | "attempt" | "logCount" | "logsDropped"> & {
  readonly hasInlineLogs: boolean;
} & Pick<StoredTask["record"], "generation" | "logLastSeq" | "queueNumber" | "metadataBytes" | "resultBytes">;

/** Of a payload that is there, and damaged: that is said of its own record. */
const damagedLength = -1;

const moved = ["newest", "state", "label", "ended"] as const;
const movedWithTheTask: ReadonlySet<TaskMention["kind"]> = new Set(moved);
const writtenWithTheTask: ReadonlySet<TaskMention["kind"]> = new Set([...moved, "waiting", "leases"]);

export class TaskLedger {
  readonly #tasks = new Map<string, LedgerTask>();

  /** Takes the newest version of a key that has one. */
  see(entry: SeenEntry): void {
    const mention = parseMention(entry.key);
    if (mention === undefined) return;
    const task = this.#take(mention);
    const { kind, generation = "", seq = 0n } = mention;
    if (kind === "task") noteRecord(task, entry);
    else if (kind === "log") {
      noteChunk(task, generation, seq, entry.value);
    } else if (kind === "trash") (task.trash ??= new Set()).add(generation);
    else {
      task.mention ??= entry.key;
      if (kind === "payload") (task.payloads ??= new Map()).set(entry.key, entry.value?.length ?? damagedLength);
      if (kind === "waiting" || kind === "leases" || kind === "released") (task.places ??= []).push(entry.key);
      if (writtenWithTheTask.has(kind)) noteEvidence(task, entry.key, entry.revision);
    }
  }

  /** Takes the end of a key, which tells of a change of its task where that is always made by one. */
  seeEnd(key: string, revision: number): void {
    const mention = parseMention(key);
    if (mention !== undefined && movedWithTheTask.has(mention.kind)) noteEvidence(this.#take(mention), key, revision);
  }

  get(controller: string, taskId: string): LedgerTask | undefined {
    return this.#tasks.get(`${controller}/${taskId}`);
  }

  /** Once all was seen: the tasks that have a record, or something else that only tasks with one have. */
  *tasks(): Generator<LedgerTask> {
    for (const task of this.#tasks.values()) if (task.revision > 0 || isMissing(task)) yield task;
  }

  /** Once all was seen: the tasks that cannot be read, and those whose record is not the newest there was. */
  *damaged(): Generator<DamagedTask> {
    for (const task of this.tasks()) {
      const { controller, taskId } = task;
      const wrong = whatIsWrong(task);
      if (wrong !== undefined) yield { controller, taskId, ...wrong };
      else
        for (const { state, reason } of [...lostPayloads(task), ...lostLogs(task)])
          yield { controller, taskId, state, reason };
    }
  }

  #take({ controller, taskId }: TaskMention): LedgerTask {
    const id = `${controller}/${taskId}`;
    let task = this.#tasks.get(id);
    if (task === undefined) {
      task = {
        controller,
        taskId,
        revision: 0,
        known: undefined,
        damage: undefined,
        evidence: undefined,
        mention: undefined,
        logs: undefined,
        trash: undefined,
        payloads: undefined,
        places: undefined,
      };
      this.#tasks.set(id, task);
    }
    return task;
  }
}

/** Why the task's record cannot be what it was last; undefined where it can. */
export function whatIsWrong(task: LedgerTask): Pick<DamagedTask, "state" | "reason"> | undefined {
  const { revision, damage, evidence, known, logs } = task;
  if (damage !== undefined) return { state: "damaged", reason: damage };
  if (revision === 0) {
    if (!isMissing(task)) return undefined;
    return { state: "missing", reason: `its record is missing, and ${task.mention ?? "its log"} is there` };
  }
  if (evidence !== undefined && evidence.revision > revision) {
    return {
      state: "old",
      reason: `its record is of revision ${revision}, and ${evidence.key} of ${evidence.revision}`,
    };
  }
  const lastSeq = known && logs?.get(known.generation)?.lastSeq;
  if (known === undefined || lastSeq === undefined || lastSeq <= known.logLastSeq) return undefined;
  return {
    state: "old",
    reason: `its record has log entries up to ${known.logLastSeq}, and there is one of ${lastSeq}`,
  };
}

/** The payloads of a task that can be read, that are missing or not those that its record is of. */
export function lostPayloads({ controller, taskId, known, payloads }: LedgerTask): LostPayload[] {
  if (known === undefined) return [];
  return (["metadata", "result"] as const).flatMap((payload) => {
    const expected = payload === "metadata" ? known.metadataBytes : known.resultBytes;
    const key = payloadKey(controller, taskId, payload);
    const bytes = payloads?.get(key);
    if (expected === 0 || bytes === expected || bytes === damagedLength) return [];
    return [
      { key, state: "incomplete" as const, reason: `its ${payload} is ${bytes === undefined ? "missing" : "another"}` },
    ];
  });
}

/** That log entries are missing which a task that can be read counts. Of a chunk that is damaged its own record tells. */
export function lostLogs({ known, logs }: LedgerTask): Pick<LostPayload, "state" | "reason">[] {
  if (known === undefined || known.hasInlineLogs) return [];
  const expected = known.logCount - known.logsDropped;
  const { chunks, isDamaged } = logs?.get(known.generation) ?? { chunks: [], isDamaged: false };
  if (expected <= 0n || isDamaged) return [];
  let there = 0n;
  for (const [first, last] of chunks) {
    const from = first > known.logLastSeq - expected ? first : known.logLastSeq - expected + 1n;
    if (last >= from) there += last - from + 1n;
  }
  if (there >= expected) return [];
  return [{ state: "incomplete", reason: `${expected - there} of its ${expected} log entries are missing` }];
}

export type LostPayload = Pick<DamagedTask, "reason"> & { readonly key: string; readonly state: "incomplete" };

function isMissing({ revision, mention, logs, trash }: LedgerTask): boolean {
  if (revision > 0) return false;
  return mention !== undefined || [...(logs?.keys() ?? [])].some((generation) => !trash?.has(generation));
}

function noteChunk(task: LedgerTask, generation: string, seq: bigint, value: Uint8Array | undefined): void {
  task.logs ??= new Map();
  const log = task.logs.get(generation) ?? { lastSeq: -1n, chunks: [], isDamaged: false };
  task.logs.set(generation, log);
  if (seq > log.lastSeq) log.lastSeq = seq;
  const count = value === undefined ? undefined : countEntries(value);
  if (count === undefined) log.isDamaged = true;
  else if (count > 0) log.chunks.push([seq - BigInt(count) + 1n, seq]);
}

function countEntries(chunk: Uint8Array): number | undefined {
  try {
    return decodeLogChunk(chunk).length;
  } catch {
    return undefined;
  }
}

function noteEvidence(task: LedgerTask, key: string, revision: number): void {
  if (revision > (task.evidence?.revision ?? 0)) task.evidence = { key, revision };
}

function noteRecord(task: LedgerTask, { revision, value }: SeenEntry): void {
  task.revision = revision;
  if (value === undefined) {
    task.damage = "its record is damaged";
    return;
  }
  try {
    const { status, record } = decodeTask(value);
    if (TaskState[status.state] === undefined) throw new Error(`state ${status.state}`);
    const { state, runId, attempt, logCount, logsDropped } = status;
    const hasInlineLogs = status.logs.length > 0;
    const { generation, logLastSeq, queueNumber, metadataBytes, resultBytes } = record;
    const ofStatus = { state, runId, attempt, logCount, logsDropped, hasInlineLogs };
    task.known = { ...ofStatus, generation, logLastSeq, queueNumber, metadataBytes, resultBytes };
  } catch {
    task.damage = "its record has other bytes than a task's";
  }
}
