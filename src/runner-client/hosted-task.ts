/**
 * A task in the hands of a remote runner, in the thread of its handlers, under one fence.
 *
 * A phase: offered -> the handler runs -> settled (the end was sent) -> answered, and then the next phase, or over. Lost: the server
 * has said that the task is not this runner's any more.
 *
 * 1. An offer is accepted in the turn in which its handler is called, so that what cannot call handlers takes no tasks.
 * 2. A phase has a signal of its own. What it was told beside that it takes too long holds for the next phase too.
 * 3. That a handler was told is answered when its signal has been aborted, and not before.
 * 4. Of a task that was lost nothing more is said, whatever its handler makes of it.
 */
import type { Progress } from "#gen/core/v1/core_pb.js";
import { AbortReason as WireReason, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { createActiveTask } from "../controller/active-task.ts";
import { loggable } from "../controller/describe-error.ts";
import { ControllerError } from "../controller/error.ts";
import type { ActiveTask, TaskContext, TaskRunner } from "../controller/task-runner.ts";
import { settledOrAborted } from "../async/signals.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { type AbortKind, AbortReason, outranks, PhaseAbort } from "../task/abort.ts";
import { copyProgress } from "../task/copy-status.ts";
import type { OfferedTask } from "./offered-task.ts";
import type { HostLimits } from "./remote-limits.ts";
import { RemoteWrites } from "./remote-writes.ts";
import { callPhase, type EndOutcome, endOutcomeOf, failed, releasedOutcome } from "./run-phase.ts";
import type { GrpcStatus, ToSession } from "./thread-messages.ts";

export interface HostedTaskPorts {
  readonly runner: TaskRunner;
  readonly log: Log;
  readonly clock: Clock;
  readonly post: (message: ToSession) => void;
  /** A handler that does the task's work is called, and has settled; it may be that of a task that was lost meanwhile. */
  readonly began: (task: HostedTask) => void;
  readonly settled: (task: HostedTask) => void;
}

type PhaseSettled = Awaited<ReturnType<typeof callPhase>>;

/** The end of a phase that was sent and not answered. */
interface SentEnd {
  readonly seq: bigint;
  readonly leadsOn: boolean;
}

/** How long a handler may take to be told of an end; then it counts as told, as at the server. */
const completedMaxMs = 30_000;

/** What the server may tell a runner, in this library's words. */
const kindOfReason: Readonly<Partial<Record<WireReason, AbortKind>>> = {
  [WireReason.CANCEL]: "CANCEL",
  [WireReason.RESTART]: "RESTART",
  [WireReason.TIMEOUT]: "TIMEOUT",
};

function shutdownReason(): AbortReason {
  return Object.assign(new AbortReason("SHUTDOWN"), {
    message: "the runner is closing; the task is offered to others",
  });
}

export class HostedTask {
  readonly taskId: string;
  readonly fence: bigint;
  readonly #ports: HostedTaskPorts;
  readonly #writes: RemoteWrites;
  #offer: OfferedTask;
  #limits: HostLimits;
  #abort = new PhaseAbort();
  /** Why the handler was told to stop; decides what its outcome means. */
  #kind: AbortKind | undefined;
  /** Why else, after its phase had taken too long. */
  #kindAfterTimeout: AbortKind | undefined;
  /** The handler of a phase was called and has not settled. */
  #isRunning = false;
  #cancelTimer: () => void = () => {};
  #end: SentEnd | undefined;

  constructor(offer: OfferedTask, limits: HostLimits, ports: HostedTaskPorts) {
    this.taskId = offer.taskId;
    this.fence = offer.fence;
    this.#offer = offer;
    this.#limits = limits;
    this.#ports = ports;
    this.#writes = new RemoteWrites({ taskId: offer.taskId, fence: offer.fence }, ports.post);
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  get #isLost(): boolean {
    return this.#kind === "LOST_FENCE";
  }

  /** Takes the offer of a phase, and runs it. One that runs already is only accepted again. */
  begin(offer: OfferedTask, limits: HostLimits): void {
    const { phase } = offer;
    this.#ports.post({ type: "accept", fence: this.fence, phase });
    if (this.#isRunning) return;
    this.#offer = offer;
    this.#limits = limits;
    this.#abort = new PhaseAbort();
    const kind = this.#kind === "TIMEOUT" ? this.#kindAfterTimeout : this.#kind;
    this.#kind = undefined;
    this.#kindAfterTimeout = undefined;
    this.#isRunning = true;
    this.#writes.beginPhase(limits);
    if (phase === RunPhase.COMPLETED) this.#writes.close(this.#overError);
    if (kind === "SHUTDOWN") {
      this.#isRunning = false;
      this.#sendEnd(releasedOutcome());
      return;
    }
    void this.#run();
    if (kind !== undefined) this.abort(kind);
  }

  /** The server has the task stopped. */
  tell(reason: WireReason): void {
    const kind = kindOfReason[reason];
    if (kind === undefined) return;
    this.abort(kind);
    if (!this.#isRunning) return;
    const { taskId, fence } = this;
    this.#ports.post({ type: "aborted", taskId, fence, reason });
  }

  /** Tells the handler to stop. */
  abort(kind: AbortKind): void {
    if (outranks(kind, this.#kind)) this.#kind = kind;
    else if (this.#kind === "TIMEOUT" && kind !== "TIMEOUT") this.#kindAfterTimeout ??= kind;
    if (!this.#isRunning) return;
    // In words that are true here: the controller goes on, and whoever has the task next.
    this.#abort.abort(kind, kind === "SHUTDOWN" ? shutdownReason() : undefined);
  }

  /** The task is not this runner's any more. */
  lose(): void {
    if (this.#isLost) return;
    this.#cancelTimer();
    this.abort("LOST_FENCE");
    this.#writes.lose(this.#overError);
  }

  /** Tells whether the task is over by that. */
  answered(seq: bigint, error?: GrpcStatus): boolean {
    this.#writes.answered(seq, error);
    const end = this.#end;
    if (end === undefined || (error === undefined ? seq < end.seq : seq !== end.seq)) return false;
    this.#end = undefined;
    if (error === undefined) return !end.leadsOn;
    // The task goes on, and would for ever: nothing of it runs any more.
    this.#sendEnd(failed(new Error(`the end was refused: ${error.message}`), this.#limits.task));
    return false;
  }

  async #run(): Promise<void> {
    const { runner, began, settled: hasSettled } = this.#ports;
    const { phase } = this.#offer;
    if (phase !== RunPhase.COMPLETED) began(this);
    const called = callPhase(runner, { offer: this.#offer, task: this.#activeTask(), context: this.#context() });
    const settled = await (phase === RunPhase.COMPLETED ? this.#inTime(called) : called);
    this.#isRunning = false;
    if (!this.#isLost) this.#settled(phase, settled);
    hasSettled(this);
  }

  #context(): TaskContext {
    const { attempt, runId } = this.#offer;
    const abort = this.#abort;
    return {
      get signal() {
        return abort.signal;
      },
      attempt,
      runId,
      fence: this.fence,
    };
  }

  async #inTime(called: Promise<PhaseSettled>): Promise<PhaseSettled> {
    const late = new AbortController();
    this.#cancelTimer = this.#ports.clock.after(completedMaxMs, () => late.abort());
    await settledOrAborted(called, late.signal);
    this.#cancelTimer();
    if (!late.signal.aborted) return called;
    this.abort("TIMEOUT");
    return { outcome: "threw", value: new Error(`it took more than ${completedMaxMs} ms, and counts as told`) };
  }

  #settled(phase: RunPhase, settled: PhaseSettled): void {
    const { log } = this.#ports;
    if (phase === RunPhase.COMPLETED && settled.outcome !== "returned") {
      log.warn({ err: loggable(settled.value), taskId: this.taskId }, "onTaskCompleted threw");
    }
    this.#sendEnd(endOutcomeOf(phase, settled, { kind: this.#kind, limits: this.#limits.task }));
  }

  #sendEnd(outcome: EndOutcome): void {
    const { phase } = this.#offer;
    const leadsOn = phase === RunPhase.PENDING && outcome.case === "done";
    const seq = this.#writes.endPhase(phase, outcome);
    this.#end = { seq, leadsOn };
    if (!leadsOn) this.#writes.close(this.#overError);
  }

  #activeTask(): ActiveTask {
    const { metadata, progress: kept } = this.#offer;
    const whileHeld = async <T>(value: () => T): Promise<T> => {
      if (this.#isLost) throw this.#overError();
      return value();
    };
    const port = {
      loadMetadata: () => whileHeld(() => metadata),
      getProgress: (): Promise<Progress | undefined> =>
        whileHeld(() => copyProgress(this.#writes.newestProgress ?? kept)),
      setProgress: (progress: Progress) => this.#writes.setProgress(progress),
      addLogEntry: (level: number, msg: string) => this.#writes.addLogEntry(level, msg),
    };
    return createActiveTask(this.taskId, port, this.#limits.task);
  }

  /** For what is still said of a run that is over. */
  readonly #overError = (): ControllerError => {
    const message = `run ${this.#offer.runId} of task "${this.taskId}" is over; nothing more is written to it`;
    return new ControllerError("FAILED_PRECONDITION", message, { reason: "STALE_FENCE" });
  };
}
