/**
 * What is on disk, once no process has the store open: every version of every task that there ever was, every log entry,
 * also those that a launch has cleared since, and every offer. It is read from the journal's blocks themselves.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { LeaseSchema } from "#gen/stint/store/v1/record_pb.js";
import { decodeLogChunk, decodePayload, decodeTask } from "../../../src/store/codec.ts";
import { logKeySeq, parseTaskKey } from "../../../src/store/keys.ts";
import { keyNumber, numberedRange } from "../../../src/store/level-keys.ts";
import { decodeBlock, recordTypes, recordValue, type StoredRecord } from "../../../src/store/record.ts";
import { withDatabase } from "../../store/level-fixture.ts";
import type { Version } from "../../support/task-history.ts";

export interface StoredEntry {
  readonly seq: number;
  readonly msg: string;
  readonly revision: number;
}

export interface Offer {
  readonly run: string;
  readonly attempt: number;
  readonly fence: number;
  readonly alone: boolean;
}

export interface TaskTruth {
  readonly controller: string;
  readonly taskId: string;
  /** Oldest first. */
  readonly versions: Version[];
  readonly entries: StoredEntry[];
  readonly offers: Offer[];
  /** Metadata that is a record of its own: each text, and the revision it came with. */
  readonly metadata: Array<{ readonly revision: bigint; readonly text: string }>;
}

export class Truth {
  readonly tasks = new Map<string, TaskTruth>();
  readonly problems: string[] = [];
  lastRevision: number;

  constructor(since: number) {
    this.lastRevision = since;
  }

  /** The task; ids are used in one controller only. */
  task(taskId: string): TaskTruth | undefined {
    return this.tasks.get(taskId);
  }

  take(record: StoredRecord): void {
    const { type, key, revision, damage } = record;
    if (damage !== undefined) return void this.problems.push(`revision ${revision} is damaged`);
    const [, kind, controller = "", taskId = "", ...rest] = key.split("/");
    if (kind === "tasks") return this.#takeVersion(record);
    if (type !== recordTypes.index && type !== recordTypes.put) return;
    const value = recordValue(record);
    const at = (): TaskTruth => this.#at(controller, taskId);
    if (kind === "logs") {
      const entries = decodeLogChunk(value);
      at().entries.push(...entries.map(({ seq, msg }) => ({ seq: Number(seq), msg, revision })));
      if (entries.at(-1)?.seq !== logKeySeq(key)) this.problems.push(`the chunk ${key} does not end with its seq`);
    } else if (kind === "leases") {
      const { runId, attempt, alone } = fromBinary(LeaseSchema, value);
      at().offers.push({ run: runId, attempt, fence: revision, alone });
    } else if (kind === "payloads" && rest[0] === "metadata") {
      at().metadata.push({ revision: BigInt(revision), text: decodePayload(value) });
    }
  }

  #takeVersion(record: StoredRecord): void {
    const { type, key, revision } = record;
    const { controller, taskId } = parseTaskKey(key) ?? { controller: "", taskId: "" };
    if (type !== recordTypes.put) return void this.problems.push(`${key} was deleted at ${revision}`);
    const { versions } = this.#at(controller, taskId);
    const task = decodeTask(recordValue(record));
    const before = versions.at(-1);
    const isSame = before !== undefined && !task.record.isTransition;
    // What has not changed is kept once: there are many versions.
    const { transitions, labels } = isSame ? before.status : task.status;
    versions.push({ ...task, status: { ...task.status, transitions, labels }, revision: BigInt(revision) });
  }

  #at(controller: string, taskId: string): TaskTruth {
    let task = this.tasks.get(taskId);
    if (task === undefined) {
      task = { controller, taskId, versions: [], entries: [], offers: [], metadata: [] };
      this.tasks.set(taskId, task);
    }
    return task;
  }
}

/** Reads what was committed after `since`, when there was no task, in the store in `directory`, which no process has open. */
export function readTruth(directory: string, since: number): Promise<Truth> {
  return withDatabase(directory, async (db) => {
    const truth = new Truth(since);
    const blocks = db.iterator(numberedRange("journal", since + 1));
    try {
      for (let page = await blocks.nextv(500); page.length > 0; page = await blocks.nextv(500)) {
        for (const [key, bytes] of page) {
          const block = decodeBlock(bytes, keyNumber(key));
          if (block?.first !== truth.lastRevision + 1)
            truth.problems.push(`no block follows revision ${truth.lastRevision}`);
          if (block === undefined) continue;
          for (const record of block.records) truth.take(record);
          truth.lastRevision = block.last;
        }
      }
    } finally {
      await blocks.close();
    }
    return truth;
  });
}

/** The metadata of a version, wherever it lies. */
export function metadataOf(task: TaskTruth, { status, record, revision }: Version): string {
  if (record.metadataBytes === 0) return status.metadata;
  return task.metadata.findLast((each) => each.revision <= revision)?.text ?? "";
}

/** A run: its versions, and the version before it, of the run that it took the place of. */
export interface RunTruth {
  readonly task: TaskTruth;
  readonly runId: string;
  readonly before: Version | undefined;
  readonly versions: readonly Version[];
}

/** The runs of a task in their order. A run that comes back after another is there twice. */
export function runsOf(task: TaskTruth): RunTruth[] {
  const runs: Array<RunTruth & { versions: Version[] }> = [];
  let before: Version | undefined;
  for (const version of task.versions) {
    const { runId } = version.status;
    const run = runs.at(-1);
    if (run?.runId === runId) run.versions.push(version);
    else runs.push({ task, runId, before, versions: [version] });
    before = version;
  }
  return runs;
}
