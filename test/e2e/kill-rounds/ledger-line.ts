/** What the runner of the kill rounds writes down of what it was told, and what it is asked to do. */

/** The metadata of a task of the ledger runner. */
export interface LedgerSettings {
  /** The progress at which the work is done. */
  readonly steps: number;
  /** How long each step takes. */
  readonly pauseMs: number;
  /** How long onTaskPending takes. */
  readonly pendingMs: number;
  /** How long onTaskCompleted takes. */
  readonly tellMs: number;
  /** What it does when it is told to stop; "late" makes three steps more, and then throws the reason. */
  readonly onAbort: "throw" | "return" | "fail" | "late";
  readonly end: "return" | "fail";
  /** When it kills the process, once in the life of the run. */
  readonly dieAt?: DeathMoment;
  /** How long after that moment; below 0 is in the same turn. */
  readonly dieAfterMs?: number;
  /** So many bytes more of result. */
  readonly resultBytes?: number;
}

/** In the phases, with writes under way, with a write just acknowledged, with the end under way, and while it is told of the end. */
export const deathMoments = ["pending", "running", "issued", "acknowledged", "returning", "told"] as const;
export type DeathMoment = (typeof deathMoments)[number];

export type Phase = "pending" | "running";

/** How a phase was left. */
export type Outcome = "returned" | "aborted" | "failed";

/** What happened. */
export type LedgerFact =
  /** A phase was begun. */
  | { readonly event: "begin"; readonly phase: Phase }
  /** The progress that it was given to go on from. */
  | { readonly event: "kept"; readonly current: number }
  /** A progress was acknowledged. */
  | { readonly event: "progress"; readonly current: number }
  /** The n-th log entry of the attempt was acknowledged. */
  | { readonly event: "log"; readonly n: number }
  /** A phase is left; `why` is the kind of the abort reason, if there is one. */
  | { readonly event: "out"; readonly phase: Phase; readonly how: Outcome; readonly why: string }
  /** onTaskCompleted returns. */
  | { readonly event: "told"; readonly state: number };

/** `atUs`: see nowUs. */
export type LedgerLine = LedgerFact & {
  readonly atUs: number;
  readonly task: string;
  readonly run: string;
  readonly attempt: number;
  readonly fence: number;
};

/** Microseconds of the monotonic clock that all processes of a machine share. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}
