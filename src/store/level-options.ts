/** The options of the LevelDB backend. */
import { type Clock, systemClock } from "../clock.ts";
import { Faults } from "../faults.ts";
import { type Log, silentLog } from "../log.ts";
import { invalid } from "./store-input.ts";
import { type CreateLevelDatabase, createLevelDatabase } from "./level-database.ts";

export interface LevelStoreOptions {
  clock?: Clock;
  log?: Log;
  /** Default: one of its own, which logs to `log`. */
  faults?: Faults;
  /** "sync" (the default): a commit that has resolved survives a power cut; "async": the process's death. */
  durability?: "sync" | "async";
  /** How long history is kept at least, unless historyBytes comes first. Default one hour. */
  historyMs?: number;
  /** How many bytes of journal are kept, about. Default 1 GiB. */
  historyBytes?: number;
  /** Changed keys that start a round of materializing. Default 2,048: rounds of some milliseconds. */
  roundKeys?: number;
  /** How long changes wait for a round at most. Default one second. */
  roundDelayMs?: number;
  /** Keys, and bytes of their records, that may wait to be materialized before commits wait. Default 65,536 and 64 MiB. */
  unmaterializedMaxKeys?: number;
  unmaterializedMaxBytes?: number;
  /** Commits and bytes that one group takes at most. Default 1,024 and 4 MiB. */
  groupMaxCommits?: number;
  groupMaxBytes?: number;
  /** Newest entries kept in memory. Default 16,384 and 16 MiB. */
  cacheMaxEntries?: number;
  cacheMaxBytes?: number;
  /** Journal blocks kept in memory, for watches and for reads of recent revisions. Default 8 MiB. */
  blockCacheBytes?: number;
  /** From how many keys on the filter of keys outlives the process: with fewer it is as quickly made anew. Default 65,536. */
  filterKeptMinKeys?: number;
  /** How often it is written at most where it is only because the history that it needs is about to go; an opening walks over all keys then. Default 15 minutes. */
  filterKeptEveryMs?: number;
  /** LevelDB's write buffer. Default 16 MiB. */
  writeBufferBytes?: number;
  createDatabase?: CreateLevelDatabase;
}

export type ResolvedLevelStoreOptions = Required<LevelStoreOptions>;

const MiB = 1 << 20;

/** Every option with its default. Throws StoreError INVALID, naming the option, where one is. */
export function resolveLevelStoreOptions(options: LevelStoreOptions): ResolvedLevelStoreOptions {
  const durability = options.durability ?? "sync";
  if (durability !== "sync" && durability !== "async") throw invalid('durability must be "sync" or "async"');
  const { clock = systemClock, log = silentLog } = options;
  return {
    clock,
    log,
    faults: options.faults ?? new Faults({ clock, log }),
    durability,
    historyMs: positive(options, "historyMs", 3_600_000),
    historyBytes: positive(options, "historyBytes", 1024 * MiB),
    roundKeys: positive(options, "roundKeys", 2_048),
    roundDelayMs: positive(options, "roundDelayMs", 1_000),
    unmaterializedMaxKeys: positive(options, "unmaterializedMaxKeys", 65_536),
    unmaterializedMaxBytes: positive(options, "unmaterializedMaxBytes", 64 * MiB),
    groupMaxCommits: positive(options, "groupMaxCommits", 1_024),
    groupMaxBytes: positive(options, "groupMaxBytes", 4 * MiB),
    cacheMaxEntries: positive(options, "cacheMaxEntries", 16_384),
    cacheMaxBytes: positive(options, "cacheMaxBytes", 16 * MiB),
    blockCacheBytes: positive(options, "blockCacheBytes", 8 * MiB),
    filterKeptMinKeys: positive(options, "filterKeptMinKeys", 65_536),
    filterKeptEveryMs: positive(options, "filterKeptEveryMs", 900_000),
    writeBufferBytes: positive(options, "writeBufferBytes", 16 * MiB),
    createDatabase: options.createDatabase ?? createLevelDatabase,
  };
}

type NumberOption = {
  [K in keyof LevelStoreOptions]-?: number extends LevelStoreOptions[K] ? K : never;
}[keyof LevelStoreOptions];

function positive(options: LevelStoreOptions, name: NumberOption, byDefault: number): number {
  const value = options[name] ?? byDefault;
  if (!Number.isSafeInteger(value) || value <= 0) throw invalid(`${name} must be a positive integer`);
  return value;
}
