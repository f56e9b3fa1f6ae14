/**
 * Brings what is committed into LevelDB's ordered entries, in rounds behind
 * the commits, has history let go of what is too old (level-history.ts), and
 * has the filter of keys kept (level-filter-kept.ts).
 *
 * States: idle -> working (a round, or a piece of collecting or of the filter, at a time) -> idle; stopped once closed or fenced.
 *
 * 1. A round writes the newest version of every key that changed up to its watermark, and the watermark, in one batch.
 * 2. A version that a floor to come may need is not deleted before that floor has passed
 *    (docs/storage.md, "Versions and history").
 * 3. Each step is bounded: a round by the overlay's bounds, a piece of collecting by `pieceEntries`.
 */
import type { FilterKeeper } from "./level-filter-kept.ts";
import { LevelHistory, pieceEntries } from "./level-history.ts";
import { encodeKeyList, garbageKey, numberedKey, putCell, valueKey, versionsRange } from "./level-keys.ts";
import type { LevelOperation } from "./level-database.ts";
import { noBase, type OverlayEntry, unknownBase } from "./level-overlay.ts";
import type { LevelSession } from "./level-session.ts";
import { isVersioned, recordTypes, type StoredRecord } from "./record.ts";
import { compareKeys } from "./store.ts";

const seeksAtOnce = 64;
const looksAtOnce = 512;
const garbagePartKeys = 1_000;

interface SupposedIndex {
  readonly key: string;
  /** The LevelDB key of the version that it is supposed to have. */
  readonly own: Buffer;
}

export class Materializer {
  readonly #session: LevelSession;
  #working: Promise<void> | undefined;
  #roundWanted = false;
  #collecting = true;
  readonly #history: LevelHistory;
  readonly #keeper: FilterKeeper;
  #stopped = false;
  #cancelRoundTimer: (() => void) | undefined;
  #cancelHistoryTimer: (() => void) | undefined;
  #waitingForRoom: (() => void)[] = [];

  constructor(session: LevelSession, keeper: FilterKeeper) {
    this.#session = session;
    this.#history = new LevelHistory(session);
    this.#keeper = keeper;
  }

  /** Begins: what an opening left to collect is collected. */
  start(): void {
    this.changed();
    this.#work();
    void this.#workOnceFilled();
  }

  /** The filter may be one that can be kept then, or what was kept of no use. */
  async #workOnceFilled(): Promise<void> {
    await this.#session.filter.filled();
    this.#work();
  }

  /** Looks at what has changed: starts a round now, or by its timer. */
  changed(): void {
    const { overlay, options, revision, lastCheckpoint } = this.#session;
    if (this.#stopped || this.#session.failure !== undefined) return;
    if (overlay.activeKeys >= options.roundKeys || overlay.activeBytes * 4 >= options.unmaterializedMaxBytes) {
      this.#roundWanted = true;
      this.#work();
    } else if (overlay.activeKeys > 0 || this.#session.materialized < revision) {
      this.#cancelRoundTimer ??= options.clock.after(options.roundDelayMs, () => {
        this.#cancelRoundTimer = undefined;
        this.#roundWanted = true;
        this.#work();
      });
    }
    // Without commits time passes all the same, and history with it.
    if (revision > lastCheckpoint || this.#session.checkpoints.length > 0) {
      this.#cancelHistoryTimer ??= options.clock.after(this.#history.checkpointEveryMs, () => {
        this.#cancelHistoryTimer = undefined;
        this.#roundWanted = true;
        this.#work();
      });
    }
  }

  /** Resolves when there may be room for commits again. */
  room(): Promise<void> {
    if (this.#stopped || this.#session.failure !== undefined) return Promise.resolve();
    this.#roundWanted = true;
    this.#work();
    return new Promise((resolve) => this.#waitingForRoom.push(resolve));
  }

  /** Materializes everything, if the session is sound, and stops. */
  async finish(): Promise<void> {
    this.#cancelTimers();
    this.#collecting = false;
    await this.#idle();
    const session = this.#session;
    if (session.failure === undefined) {
      this.#keeper.hurry();
      this.#roundWanted = session.materialized < session.revision;
      this.#work();
      await this.#idle();
    }
    await this.stop();
  }

  /** Stops after the step under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimers();
    await this.#idle();
    this.#cancelTimers();
  }

  /** Until nothing is under way; what ends may begin the next. */
  async #idle(): Promise<void> {
    while (this.#working !== undefined) await this.#working;
  }

  #cancelTimers(): void {
    this.#cancelRoundTimer?.();
    this.#cancelHistoryTimer?.();
    this.#cancelRoundTimer = undefined;
    this.#cancelHistoryTimer = undefined;
  }

  #work(): void {
    this.#working ??= this.#steps().finally(() => {
      this.#working = undefined;
      this.#tellRoom();
      this.changed();
      if (this.#roundWanted && !this.#stopped && this.#session.failure === undefined) this.#work();
    });
  }

  async #steps(): Promise<void> {
    const session = this.#session;
    // After the tick that asked: the caller's own state is settled then.
    await Promise.resolve();
    try {
      while (!this.#stopped && session.failure === undefined) {
        if (session.filter.fillIfStale(session)) void this.#workOnceFilled();
        if (this.#roundWanted) {
          this.#roundWanted = false;
          await this.#round();
          this.#tellRoom();
          if (await this.#history.advanceFloor()) this.#collecting = true;
        } else if (this.#collecting) {
          this.#collecting = await this.#history.collectPiece();
        } else if (this.#keeper.isDue) {
          await this.#keeper.keepPiece();
        } else {
          return;
        }
      }
    } catch (cause) {
      // A failed write has fenced the session already; a failed read must not let a round go missing.
      session.fence("materializing failed; the store has to be reopened", cause);
    }
  }

  #tellRoom(): void {
    const waiting = this.#waitingForRoom;
    this.#waitingForRoom = [];
    for (const resolve of waiting) resolve();
  }

  async #round(): Promise<void> {
    const session = this.#session;
    this.#cancelRoundTimer?.();
    this.#cancelRoundTimer = undefined;
    const watermark = session.revision;
    const journalBytes = session.journalBytes;
    const isCheckpoint = this.#history.isCheckpointDue(watermark);
    const operations: LevelOperation[] = [];
    let versions: readonly StoredRecord[] = [];
    if (watermark > session.materialized) {
      const entries = session.overlay.freeze();
      const put = await this.#putVersions(entries, operations);
      const { garbage } = put;
      versions = put.versions;
      for (let part = 0; part * garbagePartKeys < garbage.length; part += 1) {
        const keys = garbage.slice(part * garbagePartKeys, (part + 1) * garbagePartKeys);
        operations.push({ type: "put", key: garbageKey(watermark, part), value: encodeKeyList(keys) });
      }
      const cell = [watermark, isCheckpoint ? 0 : journalBytes];
      operations.push(putCell(numberedKey("watermark", watermark), cell));
      if (session.materialized > 0) {
        operations.push({ type: "del", key: numberedKey("watermark", session.materialized) });
      }
    }
    const wallMs = session.options.clock.wall();
    if (isCheckpoint) operations.push(putCell(numberedKey("checkpoint", watermark), [wallMs, journalBytes]));
    if (operations.length === 0) return;
    await session.writeAlone(operations);

    session.materialized = watermark;
    session.rounds += 1;
    for (const record of versions) {
      if (record.type === recordTypes.unindex) session.uncacheNewest(record.key);
      else session.cacheNewest(record.key, record);
    }
    session.overlay.thaw();
    if (isCheckpoint) this.#history.addCheckpoint({ watermark, wallMs, journalBytes });
  }

  /**
   * Adds what materializes the entries. Returns the versions that LevelDB then has, the ends of index
   * entries it had, and the LevelDB keys that go once history starts at the watermark.
   */
  async #putVersions(
    entries: ReadonlyMap<string, OverlayEntry>,
    operations: LevelOperation[],
  ): Promise<{ versions: StoredRecord[]; garbage: Buffer[] }> {
    const { lastCheckpoint } = this.#session;
    const versions: StoredRecord[] = [];
    const garbage: Buffer[] = [];
    const supposed: SupposedIndex[] = [];
    const unknown: string[] = [];
    for (const { record, base, isSupposed } of entries.values()) {
      const { type, key, revision } = record;
      if (type === recordTypes.unindex) {
        if (base === noBase) continue;
        versions.push(record);
        this.#session.filter.forget();
      } else {
        const own = valueKey(key, revision);
        operations.push({ type: "put", key: own, value: record.bytes.subarray(record.start, record.end) });
        versions.push(record);
        if (type === recordTypes.delete) {
          garbage.push(own);
          this.#session.filter.forget();
        }
        // Also where the key had a version before: that may have been collected before this session's filter saw it.
        this.#session.filter.add(key, base === noBase);
      }
      if (isSupposed) supposed.push({ key, own: valueKey(key, base) });
      else if (base === unknownBase) unknown.push(key);
      else if (base !== noBase) {
        const superseded = valueKey(key, base);
        if (isVersioned(type) && base <= lastCheckpoint) garbage.push(superseded);
        else operations.push({ type: "del", key: superseded });
      }
    }
    for (const key of await this.#supersededIndexes(supposed, unknown)) operations.push({ type: "del", key });
    return { versions, garbage };
  }

  /**
   * The LevelDB keys of index entries: those that are where they are supposed to be, and those that have to be sought. Both in order, in which
   * neighbours are in one table: few tables are open at one time, and opening one costs more than a look into it.
   */
  async #supersededIndexes(supposed: readonly SupposedIndex[], unknown: readonly string[]): Promise<Buffer[]> {
    const found: Buffer[] = [];
    const sought = [...unknown];
    const sorted = supposed.toSorted((a, b) => a.own.compare(b.own));
    for (let i = 0; i < sorted.length; i += looksAtOnce) {
      const some = sorted.slice(i, i + looksAtOnce);
      const there = await this.#session.has(some.map(({ own }) => own));
      for (const [j, { key, own }] of some.entries()) {
        if (there[j] === true) found.push(own);
        else sought.push(key);
      }
    }
    sought.sort(compareKeys);
    for (let i = 0; i < sought.length; i += seeksAtOnce) {
      const some = sought.slice(i, i + seeksAtOnce).map((key) => this.#versionsOf(key));
      found.push(...(await Promise.all(some)).flat());
    }
    return found;
  }

  #versionsOf(key: string): Promise<Buffer[]> {
    return this.#session.iterate({ ...versionsRange(key), values: false }, async (iterator) => {
      const entries = await iterator.nextv(pieceEntries);
      return entries.map(([levelKey]) => levelKey);
    });
  }
}
