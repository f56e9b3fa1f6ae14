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

  readonly #abort = new AbortController();
  #kind: AbortKind | undefined;
  #isOver = false;

  constructor(controller: string, options: { taskId: string; runId: string; attempt: number; fence: bigint }) {
    this.taskId = options.taskId;
    this.runId = options.runId;
    this.attempt = options.attempt;
    this.fence = options.fence;
    this.leaseKey = leaseKey(controller, options.taskId, options.runId, options.attempt);
  }

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
    this.#abort.abort(new AbortReason(kind));
  }

  end(): void {
    this.#isOver = true;
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
