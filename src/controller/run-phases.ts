import { nextTurn } from "../async/next-turn.ts";
import { settledOrAborted } from "../async/signals.ts";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import type { Store } from "../store/store.ts";
import { judge } from "../task/abort.ts";
import { Executing } from "./executing.ts";
import type { HostedTask, Seat } from "./host.ts";
import { type PhaseName, type PhaseTimeouts, settlePhase, type Settled } from "./phase.ts";
import type { Run } from "./run.ts";
import type { RunWriter } from "./run-writer.ts";
import type { TaskActor } from "./task-actor.ts";

interface PhaseCore {
  readonly name: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly faults: Faults;
}

/** An answer of gRPC is written in one turn, its trailers in the next; a stream of HTTP/2 that goes through Node's compatibility layer takes one more. */
const answerTurns = 3;

/** Runs the phases of runs, on the seats that they have. */
export class RunPhases {
  readonly #core: PhaseCore;
  readonly #writer: RunWriter;
  readonly #timeouts: PhaseTimeouts;
  readonly #executing: Executing;
  /** Of this turn of the event loop. */
  #goingOut: Promise<void> | undefined;

  constructor(core: PhaseCore, writer: RunWriter, timeouts: PhaseTimeouts) {
    this.#core = core;
    this.#writer = writer;
    this.#timeouts = timeouts;
    this.#executing = new Executing(core.store, core.name);
  }

  /** How the last phase of the run settled, or undefined when the run was lost in between. */
  async run(actor: TaskActor, run: Run, task: HostedTask): Promise<Settled | undefined> {
    if (run.firstPhase === "running")
      return run.isRemote ? this.#runPhase("running", run, task) : this.#begin(actor, run, task);
    const pending = await this.#runPhase("pending", run, task);
    const goesOn = await actor.serialize(async () => {
      if (run.writes.isOverfull) await this.#writer.flushDown(actor, run);
      if (pending.outcome === "returned") run.forgetTimeout();
      if (judge("pending", run.kind, pending.outcome) !== "start") return false;
      return this.#writer.writeEvent(actor, run, { type: "start", seq: run.endSaid.seq });
    });
    if (run.isOver) return undefined;
    return goesOn ? this.#runPhase("running", run, task) : pending;
  }

  /** Whether a run of the task on that seat starts as soon as it is offered. */
  skipsPending(taskId: string, seat: Seat | undefined): boolean {
    return seat?.skipsPending === true && this.#executing.get(taskId) === undefined;
  }

  /**
   * Resolves some turns of the event loop later: as many as it takes until who is answered in this one, such as a caller over gRPC of its launch, has got
   * that. A runner may keep the thread. An answer that comes later, as it reads or is of a batch, may wait for that.
   */
  #answersGoOut(): Promise<void> {
    this.#goingOut ??= this.#turns();
    return this.#goingOut;
  }

  async #turns(): Promise<void> {
    await nextTurn();
    this.#goingOut = undefined;
    for (let i = 1; i < answerTurns; i += 1) await nextTurn();
  }

  /** The running phase of a run that was started by its offer. */
  async #begin(actor: TaskActor, run: Run, task: HostedTask): Promise<Settled> {
    await this.#answersGoOut();
    // In a turn: whatever else is on disk by then, such as a cancel, the run was told.
    const { settled } = await actor.serialize(() => {
      // There is none to tell.
      run.answersCancel = run.kind === "CANCEL";
      const begun = run.kind === undefined ? this.#runPhase("running", run, task) : this.#unbegun("running", run);
      return Promise.resolve({ settled: begun });
    });
    return settled;
  }

  /** Runs a phase until it settles. It is told to stop when it takes too long, but not given up: a run must not overlap with the next. */
  async #runPhase(phase: PhaseName, run: Run, task: HostedTask): Promise<Settled> {
    const { clock, log, faults } = this.#core;
    const { taskId, runId } = run;
    const timeoutMs = this.#timeouts[phase];
    const left = run.isRemote ? undefined : this.#executing.get(taskId);
    if (left !== undefined) {
      log.warn({ taskId, runId }, "a task waits for what a controller that was closed has left of it to stop");
      const { signal } = run;
      await settledOrAborted(left, signal);
      // It may be there still: the runner is not called.
      if (signal.aborted) return this.#unbegun(phase, run);
    }
    run.beginPhase(clock, timeoutMs, () => {
      if (run.kind !== undefined) return;
      const fields = { taskId, runId, phase, timeoutMs };
      faults.note("phases_timed_out", fields, "a phase takes too long, and is told to stop");
      run.abort("TIMEOUT");
    });
    try {
      const settling = settlePhase(run, () => run.seat.runPhase(phase, task, run));
      const { outcome, value } = await (run.isRemote ? settling : this.#executing.track(taskId, settling));
      // Of a remote run that was lost nobody has said an end. A cancel that comes from here on was not answered by this one.
      run.answersCancel = run.kind === "CANCEL" && (!run.isRemote || run.seat.endSeq > 0n);
      return { phase, timeoutMs, outcome, value };
    } finally {
      run.endPhase();
    }
  }

  /** The phase of a run that was told to stop before its runner was called. */
  async #unbegun(phase: PhaseName, run: Run): Promise<Settled> {
    const { outcome, value } = await settlePhase(run, () => run.signal.throwIfAborted());
    return { phase, timeoutMs: this.#timeouts[phase], outcome, value };
  }
}
