/**
 * Seeks of the newest versions of keys. Those that are asked for in one tick, as the tasks of a page are, are sought in the order of their keys: where they lie
 * side by side one iterator reads a stretch of them, as an iterator for each costs what some dozen entries do.
 *
 * 1. A run reads on only while what it reads is in good part what is sought; where it is not, each key that is left has an iterator of its own.
 * 2. Each key is looked for as of the moment of the iterator that finds it, in memory first.
 */
import type { LevelIterator, LevelRange } from "./level-database.ts";
import { parseValueKey, versionsRange } from "./level-keys.ts";
import { absent, decodeVersion } from "./level-version.ts";
import type { StoredRecord } from "./record.ts";
import { compareKeys } from "./store.ts";

/** Few enough that the runs of a page are read side by side. */
const runKeys = 32;
/** The entries that a run reads first; then twice as many each time. */
const firstEntries = 8;
const mostEntries = 64;
/** One of so many entries has to be of a key that is sought. */
const entriesPerKey = 4;

/** Where keys are sought: a session. */
export interface SeekSource {
  /** Counts the rounds that are through: what was read before one may be old after it. */
  readonly rounds: number;
  known(key: string): StoredRecord | undefined;
  cacheNewest(key: string, record: StoredRecord): void;
  iterate<T>(range: LevelRange, use: (iterator: LevelIterator) => Promise<T>): Promise<T>;
}

interface Seek {
  readonly key: string;
  readonly resolve: (record: StoredRecord) => void;
  readonly reject: (error: unknown) => void;
}

export class NewestSeeks {
  readonly #source: SeekSource;
  #waiting: Seek[] = [];

  constructor(source: SeekSource) {
    this.#source = source;
  }

  /** The newest version of the key; `absent` for none. Damaged ones are returned as such. */
  seek(key: string): Promise<StoredRecord> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, resolve, reject });
      if (this.#waiting.length === 1) void Promise.resolve().then(() => this.#begin());
    });
  }

  #begin(): void {
    const seeks = this.#waiting.sort((a, b) => compareKeys(a.key, b.key));
    this.#waiting = [];
    for (let i = 0; i < seeks.length; i += runKeys) void this.#run(seeks.slice(i, i + runKeys));
  }

  /** Never rejects: those who seek are told. */
  async #run(seeks: readonly Seek[]): Promise<void> {
    const { gte } = versionsRange(seeks[0]!.key);
    const { lt } = versionsRange(seeks.at(-1)!.key);
    const isAlone = seeks.length === 1;
    const range = isAlone ? { gte, lt, limit: 1 } : { gte, lt };
    try {
      const left = await this.#source.iterate(range, (iterator) => {
        // The gate may have made this wait; now is the moment that the iterator sees.
        const unknown = seeks.filter((seek) => !this.#recall(seek));
        return isAlone ? this.#readOne(iterator, unknown[0]) : this.#readRun(iterator, unknown);
      });
      for (const seek of left) void this.#run([seek]);
    } catch (error) {
      for (const { reject } of seeks) reject(error);
    }
  }

  #recall({ key, resolve }: Seek): boolean {
    const known = this.#source.known(key);
    if (known !== undefined) resolve(known);
    return known !== undefined;
  }

  async #readOne(iterator: LevelIterator, seek: Seek | undefined): Promise<readonly Seek[]> {
    if (seek === undefined) return [];
    const { rounds } = this.#source;
    const [entry] = await iterator.nextv(1);
    this.#found(seek, entry === undefined ? absent : decodeVersion(...entry), rounds);
    return [];
  }

  /** Reads those of the seeks that lie close together; returns the others. */
  async #readRun(iterator: LevelIterator, seeks: readonly Seek[]): Promise<readonly Seek[]> {
    const { rounds } = this.#source;
    let next = 0;
    for (let size = firstEntries; next < seeks.length; size = Math.min(2 * size, mostEntries)) {
      const entries = await iterator.nextv(size);
      const before = next;
      for (const [levelKey, bytes] of entries) {
        const key = parseValueKey(levelKey)?.key;
        if (key === undefined) return seeks.slice(next);
        // Of a key's versions the newest comes first: the others are behind it.
        while (next < seeks.length && compareKeys(seeks[next]!.key, key) < 0) {
          this.#found(seeks[next++]!, absent, rounds);
        }
        // All who seek the key, before an older version of it comes.
        while (seeks[next]?.key === key) this.#found(seeks[next++]!, decodeVersion(levelKey, bytes), rounds);
      }
      if (entries.length === 0) while (next < seeks.length) this.#found(seeks[next++]!, absent, rounds);
      if ((next - before) * entriesPerKey < entries.length) break;
    }
    return seeks.slice(next);
  }

  #found({ key, resolve }: Seek, record: StoredRecord, rounds: number): void {
    // A round since then has put what it wrote into the cache: it may be newer than this.
    if (rounds === this.#source.rounds) this.#source.cacheNewest(key, record);
    resolve(record);
  }
}
