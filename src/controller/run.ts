import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import type { Clock } from "../clock.ts";
import { leaseKey, releasedKey } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import { type AbortKind, outranks, PhaseAbort } from "../task/abort.ts";
import type { EndSaid } from "../task/apply.ts";
import { StateRunning } from "../task/state.ts";
import { ControllerError } from "./error.ts";
import type { Release, Seat } from "./host.ts";
import type { PhaseName } from "./phase.ts";
import { RunWrites } from "./run-writes.ts";

const noBytes = new Uint8Array(0);

/** What an attempt of a run is offered under. */
export interface Offer {
  /** The revision of the offer's commit. */
  readonly fence: bigint;
  readonly seat: Seat;
}

/** One attempt of a run, on a seat of the controller's host: from the offer's commit until the runner has let go. */
export class Run {
  readonly taskId: string;
  readonly runId: string;
  readonly attempt: number;
  /** The revision of the offer's commit. */
  readonly fence: bigint;
  readonly seat: Seat;
  /** The phase that it begins with: one that is taken up, or was started by its offer, is in its second. */
  readonly firstPhase: PhaseName;
  readonly leaseKey: string;
  readonly writes = new RunWrites();
  /** A turn that writes `writes` is arranged. */
  isFlushArranged = false;
  /** How long the next commit of progress alone has to wait, in ms; undefined before the first. */
  progressPace: (() => number) | undefined;
  /** The phase that settled last was ended by its runner after that was told of a cancel. */
  answersCancel = false;

  readonly #controller: string;
  #abort = new PhaseAbort();
  #kind: AbortKind | undefined;
  /** Why else it was told to stop after its phase had taken too long. */
  #kindAfterTimeout: AbortKind | undefined;
  #endTimer: () => void = () => {};
  #endPause: (() => void) | undefined;
  #isOver = false;
  #isReleased = false;

  /** `status` is that of the task, which has been offered. */
  constructor(controller: string, taskId: string, offer: Offer, status: TaskStatus) {
    const { runId, attempt, state } = status;
    this.taskId = taskId;
    this.runId = runId;
    this.attempt = attempt;
    this.fence = offer.fence;
    this.seat = offer.seat;
    this.firstPhase = state === StateRunning ? "running" : "pending";
    this.leaseKey = leaseKey(controller, taskId, runId, attempt);
    this.#controller = controller;
  }

  /** What leaves the run to the next opening, which then knows that it did not die with the process. */
  get releaseChanges(): readonly Change[] {
    const { taskId, runId, attempt } = this;
    return [
      { type: "unindex", key: this.leaseKey },
      { type: "index", key: releasedKey(this.#controller, taskId, runId, attempt), value: noBytes },
    ];
  }

  /** The runner is another process, which goes on when this one closes the controller. */
  get isRemote(): boolean {
    return this.seat.instanceId !== "";
  }

  /** What the record of the attempt's end has of who said it: the newest phase has ended by that. */
  get endSaid(): EndSaid {
    const { answersCancel } = this;
    const { endSeq } = this.seat;
    const fence = this.isRemote ? this.fence : undefined;
    return { answersCancel, seq: endSeq === 0n ? undefined : endSeq, fence };
  }

  /** The signal of the phase that it is in. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** What fires that, and no later one. */
  get phaseAbort(): PhaseAbort {
    return this.#abort;
  }

  /** Why the runner was told to stop; decides what its outcome means. */
  get kind(): AbortKind | undefined {
    return this.#kind;
  }

  /** The run writes no more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Tells the runner to stop; the run ends by the rule of the highest kind that it was told. */
  abort(kind: AbortKind): void {
    const isNews = outranks(kind, this.#kind);
    if (isNews) this.#kind = kind;
    else if (this.#kind === "TIMEOUT" && kind !== "TIMEOUT") this.#kindAfterTimeout ??= kind;
    this.#abort.abort(kind);
    if (isNews) this.seat.stopFor(kind);
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
    if (this.#kind !== "TIMEOUT") return;
    const kind = this.#kindAfterTimeout;
    this.#abort = new PhaseAbort();
    this.#kind = undefined;
    this.#kindAfterTimeout = undefined;
    if (kind !== undefined) this.abort(kind);
  }

  /** Progress waits for its commit: whatever else is written meanwhile takes it along. */
  get isPaused(): boolean {
    return this.#endPause !== undefined;
  }

  /** Calls `over` after the pause, unless the run ends before. */
  pause(clock: Clock, ms: number, over: () => void): void {
    this.#endPause = clock.after(ms, () => {
      this.#endPause = undefined;
      over();
    });
  }

  end(): void {
    this.#isOver = true;
    this.#endPause?.();
    this.#endPause = undefined;
    this.endPhase();
  }

  /** Gives the seat back. Only the first call counts. */
  releaseSeat(how: Release): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.seat.release(how);
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
