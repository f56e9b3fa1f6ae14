import type { Clock } from "../clock.ts";
import { leaseKey } from "../store/keys.ts";
import { type AbortKind, AbortReason } from "../task/abort.ts";
import { ControllerError } from "./error.ts";
import { RunWrites } from "./run-writes.ts";

/** One attempt of a run, offered to the runner in this process: from the offer's commit until the runner has let go. */
export class Run {
  readonly taskId: string;
  readonly runId: string;
  readonly attempt: number;
  /** The revision of the offer's commit. */
  readonly fence: bigint;
  readonly leaseKey: string;
  readonly writes = new RunWrites();
  /** A turn that writes `writes` is arranged. */
  isFlushArranged = false;
  /** Settles when the runner has let go and what follows from that is on disk. */
  finished: Promise<void> = Promise.resolve();

  #abort = new AbortController();
  #kind: AbortKind | undefined;
  /** Why else it was told to stop after its phase had taken too long. */
  #kindAfterTimeout: AbortKind | undefined;
  #endTimer: () => void = () => {};
  #isOver = false;

  constructor(controller: string, options: { taskId: string; runId: string; attempt: number; fence: bigint }) {
    this.taskId = options.taskId;
    this.runId = options.runId;
    this.attempt = options.attempt;
    this.fence = options.fence;
    this.leaseKey = leaseKey(controller, options.taskId, options.runId, options.attempt);
  }

  /** The signal of the phase that it is in. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Why the runner was told to stop; decides what its outcome means. */
  get kind(): AbortKind | undefined {
    return this.#kind;
  }

  /** The run writes no more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * Tells the runner to stop. A run that lost its fence stays lost. A cancel outranks the rest, and is not
   * outranked: it was acknowledged, so the run ends by its rule.
   */
  abort(kind: AbortKind): void {
    const outranked =
      this.#kind === undefined || kind === "LOST_FENCE" || (kind === "CANCEL" && this.#kind !== "LOST_FENCE");
    if (outranked) this.#kind = kind;
    else if (this.#kind === "TIMEOUT") this.#kindAfterTimeout ??= kind;
    this.#abort.abort(new AbortReason(kind));
  }

  /** A phase begins: `onTimeout` is called when it takes longer than `timeoutMs`, unless endPhase or end is called before. */
  beginPhase(clock: Clock, timeoutMs: number, onTimeout: () => void): void {
    if (timeoutMs !== Infinity) this.#endTimer = clock.after(timeoutMs, onTimeout);
  }

  /** The phase has settled: it takes no longer. */
  endPhase(): void {
    this.#endTimer();
    this.#endTimer = () => {};
  }

  /**
   * The phase is done in spite of its timeout, which says nothing about the next one: that has a signal of its own. What
   * else the run was told meanwhile holds.
   */
  forgetTimeout(): void {
    if (!this.#isTimedOut) return;
    const kind = this.#kind === "TIMEOUT" ? this.#kindAfterTimeout : this.#kind;
    this.#abort = new AbortController();
    this.#kind = undefined;
    this.#kindAfterTimeout = undefined;
    if (kind !== undefined) this.abort(kind);
  }

  get #isTimedOut(): boolean {
    const reason: unknown = this.#abort.signal.reason;
    return reason instanceof AbortReason && reason.kind === "TIMEOUT";
  }

  end(): void {
    this.#isOver = true;
    this.endPhase();
  }
}

/** For what a run that is over still says. */
export function runIsOver(run: Run): ControllerError {
  return new ControllerError(
    "FAILED_PRECONDITION",
    `run ${run.runId} of task "${run.taskId}" is over; nothing more is written to it`,
    {
      reason: "STALE_FENCE",
    },
  );
}
