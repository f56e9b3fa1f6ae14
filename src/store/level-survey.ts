/**
 * Looks at all that is in a store, without opening it: each record and cell by its checksum and its place, the journal as a chain, and tasks
 * by what else is about them.
 *
 * 1. Nothing is changed, and nothing is passed over: what a server would refuse to open is looked at all the same.
 */
import { createHash } from "node:crypto";
import type { LevelFiles } from "./level-files.ts";
import { decodeCell, decodeKeyList, keyNumber, sameStem, spaceOf } from "./level-keys.ts";
import { decodeVersion } from "./level-version.ts";
import {
  decodeBlock,
  isLive,
  isVersioned,
  recordBytes,
  recordTypes,
  recordValue,
  type StoredRecord,
} from "./record.ts";
import { compareKeys } from "./store.ts";
import type { DamagedEntry, Survey } from "./store-report.ts";
import { TaskLedger } from "./task-ledger.ts";

const listedMax = 1_000;

export async function survey(files: LevelFiles): Promise<Survey> {
  const surveyor = new Surveyor(files);
  for await (const { key, value } of files.entries()) surveyor.see(key, value);
  return surveyor.finish();
}

class Surveyor {
  readonly #materialized: number;
  readonly #isFollowed: boolean;
  /** Where nothing else tells of a table that is missing: the newest revisions by the journal, of keys that must have versions. */
  readonly #inJournal = new Map<string, number>();
  #missing = 0;
  readonly #overlay = new Map<string, StoredRecord>();
  #pending: StoredRecord[] | undefined;
  readonly #ledger = new TaskLedger();
  readonly #hash = createHash("sha256");
  readonly #refusals: string[] = [];
  readonly #damages: DamagedEntry[] = [];
  #damageCount = 0;
  readonly #counts = { keys: 0, indexEntries: 0, counters: 0, journalBlocks: 0 };
  readonly #cellIsSound = { floor: true, watermark: true };
  #floor = 0;
  #watermark = 0;
  /** The revision that the next block begins with; undefined before the first above the floor. */
  #nextBlock: number | "unknown" | undefined;
  /** Where the newest block at or below the watermark ends. */
  #materializedEnd: number | undefined = 0;
  #revision = 0;
  #lastVersion: Buffer | undefined;

  constructor({ materialized, isFollowed }: Pick<LevelFiles, "materialized" | "isFollowed">) {
    this.#materialized = materialized;
    this.#revision = materialized;
    this.#isFollowed = isFollowed;
  }

  /** Takes the entries in the order of their keys: the filter of keys, checkpoints, the floor, garbage lists, journal, values, watermarks. */
  see(key: Buffer, value: Buffer): void {
    const space = spaceOf(key);
    if (space === "value") this.#seeVersion(key, value);
    else if (space === "journal") this.#seeBlock(keyNumber(key), value);
    else if (space === "garbage") {
      if (decodeKeyList(value) === undefined)
        this.#note({ revision: keyNumber(key), reason: "a garbage list is damaged" });
    } else if (space === undefined)
      this.#note({ revision: 0, reason: `a foreign entry (${key.toString("hex", 0, 40)})` });
    else if (space !== "filter") this.#seeCell(space, key, value);
  }

  finish(): Survey {
    this.#mergeOverlay(undefined);
    const missing = this.#missing + this.#inJournal.size;
    if (missing > 0) this.#refusals.push(`${missing} versions that the journal has are missing`);
    for (const name of ["floor", "watermark"] as const) {
      if (!this.#cellIsSound[name]) this.#refusals.push(`the ${name} is damaged`);
    }
    if (
      this.#watermark > this.#floor &&
      this.#materializedEnd !== undefined &&
      this.#materializedEnd !== this.#watermark
    ) {
      this.#refusals.push(`the journal does not reach revision ${this.#watermark}, which it should`);
    }
    return {
      revision: Math.max(this.#revision, this.#floor),
      firstRevision: this.#floor,
      ...this.#counts,
      tasks: [...this.#ledger.tasks()].length,
      stateHash: this.#hash.digest("hex"),
      refusals: this.#refusals,
      damagedEntries: this.#damages,
      damagedEntryCount: this.#damageCount,
      damagedTasks: [...this.#ledger.damaged()],
    };
  }

  #note(damage: DamagedEntry): void {
    this.#damageCount += 1;
    if (this.#damages.length < listedMax) this.#damages.push(damage);
  }

  #seeCell(space: "floor" | "watermark" | "checkpoint", key: Buffer, value: Buffer): void {
    const number = keyNumber(key);
    const isSound = decodeCell(key, value) !== undefined;
    if (space === "checkpoint") {
      // Of those below the floor nobody asks; that is not known yet.
      if (!isSound) this.#refusals.push("a checkpoint is damaged");
      return;
    }
    this.#cellIsSound[space] = isSound;
    if (space === "floor") this.#floor = number;
    else this.#watermark = number;
  }

  #seeBlock(first: number, bytes: Buffer): void {
    this.#counts.journalBlocks += 1;
    if (first <= this.#floor) return;
    const isMaterialized = first <= this.#materialized;
    const known = this.#nextBlock ?? this.#floor + 1;
    // Where a block that cannot be read ends is not known; but the watermark is the end of one.
    const expected = known !== "unknown" ? known : isMaterialized ? undefined : this.#materialized + 1;
    if (expected !== undefined && first !== expected) {
      const reason = `the journal has a gap: revision ${expected} is followed by ${first}`;
      if (isMaterialized) this.#note({ revision: expected, reason });
      else this.#refusals.push(reason);
    }
    const block = decodeBlock(bytes, first);
    this.#nextBlock = block === undefined ? "unknown" : block.last + 1;
    if (isMaterialized) this.#materializedEnd = block?.last;
    if (block === undefined) {
      const reason = `the journal block of revision ${first} is damaged`;
      if (isMaterialized) this.#note({ revision: first, reason });
      else this.#refusals.push(reason);
      return;
    }
    this.#revision = Math.max(this.#revision, block.last);
    for (const record of block.records) this.#seeRecord(record, first, isMaterialized);
  }

  #seeRecord(record: StoredRecord, first: number, isMaterialized: boolean): void {
    if (!isMaterialized) {
      if (record.damage === "head") {
        this.#refusals.push(
          `a record in the journal block of revision ${first} is damaged, and whose it is cannot be told`,
        );
      } else this.#overlay.set(record.key, record);
      return;
    }
    if (!this.#isFollowed && record.damage === undefined) {
      if (isLive(record.type)) this.#inJournal.set(record.key, record.revision);
      else this.#inJournal.delete(record.key);
    }
    if (record.damage !== undefined) {
      const key = record.damage === "head" ? undefined : record.key;
      this.#note({ key, revision: record.revision || first, reason: "a record of history is damaged" });
    }
  }

  #seeVersion(levelKey: Buffer, bytes: Buffer): void {
    const record = decodeVersion(levelKey, bytes);
    if (this.#lastVersion !== undefined && sameStem(this.#lastVersion, levelKey)) {
      const { key, revision } = record;
      if (record.damage !== undefined) this.#note({ key, revision, reason: "a version of history is damaged" });
      return;
    }
    this.#lastVersion = levelKey;
    if (!this.#mergeOverlay(record.key)) this.#seeNewest(record);
  }

  /** Takes what is only in the journal and comes before the key; whether the key itself is in it. */
  #mergeOverlay(key: string | undefined): boolean {
    this.#pending ??= [...this.#overlay.values()].sort((a, b) => compareKeys(b.key, a.key));
    const pending = this.#pending;
    for (let next = pending.at(-1); next !== undefined; next = pending.at(-1)) {
      const order = key === undefined ? -1 : compareKeys(next.key, key);
      if (order > 0) return false;
      pending.pop();
      this.#seeNewest(next);
      if (order === 0) return true;
    }
    return false;
  }

  #seeNewest(record: StoredRecord): void {
    const { type, key, revision, damage } = record;
    if ((this.#inJournal.get(key) ?? 0) > revision) this.#missing += 1;
    this.#inJournal.delete(key);
    if (damage !== undefined) this.#note({ key, revision, reason: "its record is damaged" });
    if (!isLive(type)) {
      this.#ledger.seeEnd(key, revision);
      return;
    }
    if (damage === "head" || isVersioned(type)) this.#counts.keys += 1;
    else if (type === recordTypes.counter) this.#counts.counters += 1;
    else this.#counts.indexEntries += 1;
    this.#hash.update(recordBytes(record));
    this.#ledger.see({ key, revision, value: damage === undefined ? recordValue(record) : undefined });
  }
}
