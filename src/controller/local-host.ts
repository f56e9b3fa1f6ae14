import { onAbort } from "../async/signals.ts";
import { sleep } from "../clock.ts";
import { AbortReason, isAbortThrow } from "../task/abort.ts";
import { copyError } from "../task/copy-status.ts";
import type { Core } from "./core.ts";
import { loggable } from "./describe-error.ts";
import {
  completedTimeoutMs,
  type EndToTell,
  type Host,
  type HostedTask,
  type Release,
  type Seat,
  type SeatContext,
} from "./host.ts";
import type { PhaseName } from "./phase.ts";
import type { TaskContext, TaskRunner } from "./task-runner.ts";

/** This process as a host: it runs the tasks with `runner`, at most `concurrency` of them at one time. */
export class LocalHost implements Host {
  readonly kind = "local";
  readonly #core: Pick<Core, "clock" | "faults" | "closing" | "lifetime">;
  readonly #runner: TaskRunner;
  readonly #concurrency: number;
  /** The runner has an onTaskCompleted. Looked at once: what reading it throws must not be in the way of an end. */
  readonly #tellsEnds: boolean;
  #free: number;
  #seatIsFree: () => void = () => {};

  constructor(
    core: Pick<Core, "clock" | "faults" | "closing" | "lifetime">,
    options: { runner: TaskRunner; concurrency: number },
  ) {
    this.#core = core;
    this.#runner = options.runner;
    this.#concurrency = options.concurrency;
    this.#free = options.concurrency;
    this.#tellsEnds = options.runner.onTaskCompleted !== undefined;
  }

  get isIsolated(): boolean {
    return this.#runner.isIsolated === true;
  }

  get canTell(): boolean {
    return this.#tellsEnds;
  }

  whatIsWaitedFor(): string {
    return `one of the ${this.#concurrency} places of this controller`;
  }

  takeSeat(): Seat | undefined {
    if (this.#free <= 0) return undefined;
    this.#free -= 1;
    return new LocalSeat(this.#runner, (how) => {
      this.#free += 1;
      if (how !== "unused") this.#seatIsFree();
    });
  }

  /** What ran in a process that is gone runs no more. */
  recall(): undefined {}

  onSeat(listener: () => void): void {
    this.#seatIsFree = listener;
  }

  keepsEnd(): boolean {
    return this.#tellsEnds;
  }

  /** A runner that stopped because the controller closes was not told. One that threw, or took 30 s, counts as told. */
  async tellEnd(end: EndToTell): Promise<"told" | "kept"> {
    const { clock, faults, closing, lifetime } = this.#core;
    const { taskId } = end.task;
    const told = new AbortController();
    const offClosing = onAbort(closing, () => told.abort(new AbortReason("SHUTDOWN")));
    const isDone = new AbortController();
    const timeout = sleep(clock, completedTimeoutMs, isDone.signal).then(() => undefined);
    try {
      const isTold = await lifetime.within(Promise.race([this.#callCompleted(end, told.signal), timeout]));
      if (isTold !== undefined) return isTold;
      told.abort(new AbortReason("TIMEOUT"));
      const message = `onTaskCompleted took more than ${completedTimeoutMs} ms; it counts as told`;
      faults.note("completions_failed", { taskId }, message);
      return "told";
    } finally {
      isDone.abort();
      offClosing();
    }
  }

  async #callCompleted({ task, status, fence }: EndToTell, signal: AbortSignal): Promise<"told" | "kept"> {
    const { closing, faults } = this.#core;
    const { attempt, runId, state } = status;
    const error = copyError(status.error);
    const args = error === undefined ? [] : [error];
    try {
      await this.#runner.onTaskCompleted?.(task.active, state, { signal, attempt, runId, fence }, ...args);
    } catch (thrown) {
      if (closing.aborted && isAbortThrow(thrown, signal)) return "kept";
      const fields = { err: loggable(thrown), taskId: task.taskId };
      faults.note("completions_failed", fields, "onTaskCompleted threw");
    }
    return "told";
  }

  /** Runners are told to stop by the signals of their runs, and waited for. */
  close(): void {}
}

class LocalSeat implements Seat {
  readonly runner = "";
  readonly instanceId = "";
  readonly endSeq = 0n;
  readonly isTaken = true;
  readonly #runner: TaskRunner;
  readonly release: (how: Release) => void;

  constructor(runner: TaskRunner, release: (how: Release) => void) {
    this.#runner = runner;
    this.release = release;
  }

  get skipsPending(): boolean {
    try {
      return this.#runner.onTaskPending === undefined;
    } catch {
      // What reading it throws is what the phase throws.
      return false;
    }
  }

  runPhase(phase: PhaseName, { active }: HostedTask, { phaseAbort, attempt, runId, fence }: SeatContext): unknown {
    let replaced: AbortSignal | undefined;
    const context: TaskContext = {
      // Made for who asks for it: most have no need of it. JavaScript may put another in its place.
      get signal() {
        return replaced ?? phaseAbort.signal;
      },
      set signal(signal) {
        replaced = signal;
      },
      attempt,
      runId,
      fence,
    };
    return phase === "pending"
      ? this.#runner.onTaskPending?.(active, context)
      : this.#runner.onTaskRunning(active, context);
  }

  /** Its code sees it in the reason of the signal. */
  stopFor(): void {}

  /** A signal's listeners are called when it is aborted. */
  told(): Promise<void> {
    return Promise.resolve();
  }
}
