/**
 * What went wrong, or was refused, since the process began to serve: a count for each kind, and a line in the log for each time.
 *
 * 1. Each time is counted. A kind that others can bring about as often as they like has one or ten lines in 10 s at most; the `count` of
 *    the next line has those that were left out.
 * 2. A line names its kind in `fault`, and nothing in it is what a task was given.
 */
import { type Clock, systemClock } from "./clock.ts";
import { type Log, silentLog } from "./log.ts";

interface FaultRule {
  readonly level: "info" | "warn" | "error";
  /** Lines in 10 s. */
  readonly linesMax: number;
}

const each = (level: FaultRule["level"]): FaultRule => ({ level, linesMax: Infinity });
const one = (level: FaultRule["level"]): FaultRule => ({ level, linesMax: 1 });
const some = (level: FaultRule["level"]): FaultRule => ({ level, linesMax: 10 });

/** The kinds; docs/operating.md says what each means, and what to do. */
const rules = {
  // The store.
  storage_errors: each("warn"),
  store_reopens: each("warn"),
  files_damaged: each("error"),
  log_tails_cut: each("warn"),
  tasks_quarantined: each("error"),
  changes_left_out: some("warn"),
  disk_reserves_reached: each("warn"),
  // Tasks, and who runs them.
  runs_interrupted: some("info"),
  crash_loops: each("warn"),
  leases_expired: some("warn"),
  fences_lost: each("warn"),
  stale_writes_refused: some("warn"),
  phases_timed_out: some("warn"),
  completions_failed: some("warn"),
  background_errors: each("error"),
  // Calls and connections.
  calls_refused: some("warn"),
  internal_errors: each("error"),
  watchers_dropped: some("warn"),
  peers_lost: each("info"),
  connections_refused: one("warn"),
  floods_cut_off: some("warn"),
  // The process.
  loop_stalls: some("warn"),
  stray_errors: some("error"),
  renewals_failed: each("error"),
} as const satisfies Readonly<Record<string, FaultRule>>;

/** A kind of fault, as GetServerInfo names it. */
export type FaultKind = keyof typeof rules;

/** All kinds. */
export const faultKinds = Object.keys(rules) as readonly FaultKind[];

const windowMs = 10_000;

interface Kept {
  count: number;
  /** Of the window. */
  lines: number;
  windowEndMs: number;
}

/** Counts and logs faults. One for all that belongs together: a server has one, and a program one for its store and controllers. */
export class Faults {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #kept = Object.fromEntries(
    faultKinds.map((kind) => [kind, { count: 0, lines: 0, windowEndMs: Number.NEGATIVE_INFINITY }]),
  ) as Record<FaultKind, Kept>;

  /** By default it counts only. */
  constructor({ clock = systemClock, log = silentLog }: { readonly clock?: Clock; readonly log?: Log } = {}) {
    this.#clock = clock;
    this.#log = log;
  }

  /** How often each kind has come; all kinds are there. */
  counts(): Record<FaultKind, number> {
    return Object.fromEntries(faultKinds.map((kind) => [kind, this.#kept[kind].count])) as Record<FaultKind, number>;
  }

  /** Counts one, and says it; `isSaid` false: only counts it, as it is one of many of which some are said. */
  note(kind: FaultKind, fields: object, message: string, isSaid = true): void {
    const kept = this.#kept[kind];
    const { level, linesMax } = rules[kind];
    kept.count += 1;
    if (!isSaid) return;
    if (linesMax !== Infinity) {
      const nowMs = this.#clock.mono();
      if (nowMs >= kept.windowEndMs) {
        kept.windowEndMs = nowMs + windowMs;
        kept.lines = 0;
      }
      kept.lines += 1;
      if (kept.lines > linesMax) return;
    }
    this.#log[level]({ ...fields, fault: kind, count: kept.count }, message);
  }

  /** Counts one that comes of what a line says already. */
  count(kind: FaultKind): void {
    this.#kept[kind].count += 1;
  }
}
