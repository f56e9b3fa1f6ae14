/**
 * A run on a seat of a remote runner.
 *
 *   reserved -> offered -> accepted -> settled -> over       (settled -> offered, for the next phase)
 *   recalled -> accepted ...                                 after a restart: what the runner had before
 *
 * `settled`: how the phase ended is known, and is being committed. From each state it may be lost, and released.
 *
 * 1. It is offered after its lease is on disk: `runPhase` is called after that.
 * 2. An offer is accepted by `accept`, `write` or `end`; before, it is not the runner's, and it is given up after a time.
 * 3. Each seq counts once. What was said under one is answered when it is on disk whole, and a repeat of it then, too.
 * 4. An abort is told until it is answered, by `aborted` with its reason or by the end. One that outranks another is told in its place.
 * 5. An end is answered when what it led to is on disk: by then comes the next phase, or the release.
 * 6. A lost one takes nothing more from its runner, who is told so when it is released.
 */
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { type AbortReason, type PhaseEnd, RunPhase, type TaskOffer, type TaskWrite } from "#gen/stint/v1/runner_pb.js";
import type { AbortKind } from "../task/abort.ts";
import { ControllerError } from "./error.ts";
import type { HostedTask, Release, Seat, SeatContext } from "./host.ts";
import { type PhaseName, SeatLost } from "./phase.ts";
import { RemoteAbort } from "./remote-abort.ts";
import { outcomeOf } from "./remote-end.ts";
import { Countdown, type Tick } from "./remote-lease.ts";
import type { RunHolder } from "./remote-holder.ts";
import type { LoadOffer } from "./remote-link.ts";
import { RemoteSeqs } from "./remote-seqs.ts";
import { abortMessage, afterEnd, emptyWrite, offerOf, staleFence, writtenOf, wrongPhase } from "./remote-words.ts";

type RunState = "reserved" | "recalled" | "offered" | "accepted" | "settled" | "over";

const wirePhases = { pending: RunPhase.PENDING, running: RunPhase.RUNNING } as const;

export class RemoteRun implements Seat {
  readonly skipsPending = false;
  endSeq = 0n;
  readonly #holder: RunHolder<RemoteRun>;
  #state: RunState;
  /** Why its runner has it no more. */
  #lost: SeatLost | undefined;
  #phase: PhaseName = "pending";
  #task: HostedTask | undefined;
  #context: SeatContext | undefined;
  #settle: { resolve: (value: unknown) => void; reject: (why: unknown) => void } | undefined;
  #seqs = new RemoteSeqs(0n);
  #end: PhaseEnd | undefined;
  #onEndAnswered: () => void = () => {};
  #offerTime: Countdown | undefined;
  #abort: RemoteAbort | undefined;
  /** For who waits for that. */
  #released: Promise<void> | undefined;
  #tellReleased: () => void = () => {};

  constructor(holder: RunHolder<RemoteRun>, state: "reserved" | "recalled") {
    this.#holder = holder;
    this.#state = state;
  }

  get runner(): string {
    return this.#holder.runner;
  }

  get instanceId(): string {
    return this.#holder.instanceId;
  }

  get isTaken(): boolean {
    return this.#state !== "offered" || this.#phase === "running";
  }

  get taskId(): string {
    return this.#task?.taskId ?? "";
  }

  get attempt(): number {
    return this.#context?.attempt ?? 0;
  }

  get phase(): RunPhase {
    return wirePhases[this.#phase];
  }

  /** Up to where what was said is on disk, or was refused. */
  get answeredSeq(): bigint {
    return this.#seqs.answered;
  }

  runPhase(phase: PhaseName, task: HostedTask, context: SeatContext): Promise<unknown> {
    const isFirst = this.#context === undefined;
    this.#phase = phase;
    this.#task = task;
    this.#context = context;
    if (isFirst) this.#seqs = new RemoteSeqs(task.writtenSeq);
    this.#answerEnd();
    this.endSeq = 0n;
    if (this.#lost !== undefined) {
      this.#state = "accepted";
      return Promise.reject(this.#lost);
    }
    if (isFirst) this.#holder.hold(this, context.fence);
    const settled = new Promise<unknown>((resolve, reject) => (this.#settle = { resolve, reject }));
    if (this.#state === "recalled") this.#state = "accepted";
    else this.#offer();
    if (context.kind !== undefined) this.stopFor(context.kind);
    return settled;
  }

  stopFor(kind: AbortKind): void {
    // Before its phase, which knows of it, and after its release there is nobody to tell.
    if (kind === "SHUTDOWN" || this.#context === undefined || this.#state === "over") return;
    // The runner does nothing that it could stop; and it was told nothing of this.
    if (this.#state === "settled") return void (this.#abort = undefined);
    if (kind === "LOST_FENCE") return this.lose("lost", "the run was lost");
    this.#abort = new RemoteAbort(kind, {
      nowMs: this.#holder.nowMs(),
      everyMs: this.#holder.keepaliveMs,
      send: (each) => this.#sendAbort(each),
    });
  }

  told(): Promise<void> {
    // What came while an end was being committed went out to nobody.
    if (this.#abort !== undefined) return this.#abort.told;
    if (this.#state === "over") return Promise.resolve();
    this.#released ??= new Promise((resolve) => (this.#tellReleased = resolve));
    return this.#released;
  }

  release(how: Release): void {
    if (this.#state === "over") return;
    const before = this.#state;
    this.#state = "over";
    const isEnded = before === "settled" && (how === "ended" || how === "again");
    if (this.#context !== undefined) this.#holder.drop(this, this.#context.fence, isEnded ? this.endSeq : 0n);
    if (how === "left") this.#settle?.reject(new SeatLost("left", "the controller closes"));
    else if (isEnded) this.#answerEnd();
    else if (this.#context !== undefined && how !== "unused") {
      if (this.#end !== undefined)
        void this.#refuse(this.endSeq, staleFence(this.taskId, this.#context.fence), this.#end);
      this.#sendAbort("LOST_FENCE");
      this.#settle?.reject(new SeatLost("lost", "the run was lost"));
    }
    this.#onEndAnswered();
    this.#abort?.answered();
    this.#tellReleased();
    this.#holder.released(this, how);
  }

  /** Its runner has it no more, or the controller closes. An end that is being committed stands; then it is the next phase that is lost. */
  lose(kind: "lost" | "left", why: string): void {
    if (this.#state === "over" || this.#lost !== undefined) return;
    this.#lost = new SeatLost(kind, why);
    if (this.#context === undefined || this.#state === "settled") return;
    this.#holder.drop(this, this.#context.fence, 0n);
    this.#settle?.reject(this.#lost);
  }

  /** Its runner has a new stream, and says that it has the run in `phase`; undefined: it does not say that it has it. */
  reattached(phase: RunPhase | undefined): void {
    if (this.#context === undefined) return;
    if (phase === undefined) return this.lose("lost", "resumed: the runner came back without the task");
    if (phase !== RunPhase.PENDING && phase !== this.phase) {
      return this.lose("lost", "resumed: the runner came back with another phase of the task");
    }
    if (phase !== this.phase && this.#state !== "settled") this.#offer();
    else this.#accept();
    this.#abort?.sendAgain(this.#holder.nowMs());
  }

  tick(tick: Tick): void {
    this.#abort?.tick(tick.nowMs);
    if (this.#state !== "offered" || this.#lost !== undefined) return;
    // The runner has accepted the task already when its second phase is offered; while it has no stream its lease is what counts.
    if (this.#phase === "running" && this.#holder.link === undefined) return;
    if (this.#offerTime?.count(tick) !== true) return;
    this.#holder.offerLapsed(this.#context?.fence ?? 0n);
    this.lose("lost", "resumed: the offer was not accepted in time");
  }

  /** Time in which its runner could not be heard counts for nothing. */
  spare(): void {
    this.#offerTime?.spare();
  }

  accept(phase: RunPhase): void {
    if (phase === this.phase) this.#accept();
    else if (phase !== RunPhase.PENDING) void this.#refuse(0n, wrongPhase("accept", this.phase));
  }

  aborted(reason: AbortReason): void {
    this.#abort?.answeredWith(reason);
  }

  /** A promise is open until what was said is on disk, or refused. */
  write(said: TaskWrite): Promise<void> | undefined {
    if (!this.#begin(said.seq)) return undefined;
    const { seq, progress, entries } = said;
    if (this.#state === "settled") return this.#refuse(seq, afterEnd());
    this.#accept();
    if (progress === undefined && entries.length === 0) return this.#refuse(seq, emptyWrite());
    return this.#task?.write({ seq, progress, entries }).then(
      () => this.#answer(seq),
      (error: unknown) => this.#refuse(seq, error, said),
    );
  }

  /** As `write`. */
  end(said: PhaseEnd): Promise<void> | undefined {
    if (!this.#begin(said.seq)) return undefined;
    if (this.#state === "settled") return this.#refuse(said.seq, afterEnd());
    if (said.phase !== this.phase) return this.#refuse(said.seq, wrongPhase("end", this.phase));
    this.#holder.phaseEnds(said, this.#abort !== undefined);
    this.#accept();
    this.#state = "settled";
    this.endSeq = said.seq;
    this.#end = said;
    this.#abort?.answered();
    try {
      this.#settle?.resolve(outcomeOf(said, this.#context));
    } catch (thrown) {
      this.#settle?.reject(thrown);
    }
    return new Promise((resolve) => (this.#onEndAnswered = resolve));
  }

  #offer(): void {
    const phase = this.#phase;
    this.#state = "offered";
    this.#offerTime = new Countdown(this.#holder.offerTimeoutMs, this.#holder.nowMs());
    this.#holder.link?.offer(() => this.#loadOffer(phase));
  }

  /** The offer, when it is about to be sent; by then it may have lapsed. */
  #loadOffer(phase: PhaseName): ReturnType<LoadOffer> {
    if (!this.#isOffered(phase) || this.#task === undefined) return undefined;
    const status = this.#task.loadStatus();
    return status instanceof Promise ? status.then((read) => this.#offerOf(phase, read)) : this.#offerOf(phase, status);
  }

  #offerOf(phase: PhaseName, status: TaskStatus): TaskOffer | undefined {
    if (!this.#isOffered(phase) || this.#context === undefined) return undefined;
    const { taskId } = this;
    const { runId, attempt, fence } = this.#context;
    return offerOf({ taskId, runId, phase: wirePhases[phase], attempt, fence }, status);
  }

  #isOffered(phase: PhaseName): boolean {
    return this.#state === "offered" && this.#phase === phase && this.#lost === undefined;
  }

  #accept(): void {
    if (this.#state !== "offered") return;
    this.#state = "accepted";
    this.#holder.accepted(this);
    // An abort that went out before the offer told the runner nothing.
    this.#abort?.sendAgain(this.#holder.nowMs());
  }

  #sendAbort(kind: AbortKind): void {
    if (this.#task === undefined || this.#context === undefined) return;
    this.#holder.link?.abort(abortMessage(this.#task, this.#context.fence, kind));
  }

  /** False for a repeat: it is answered as the first was, or when that will be. */
  #begin(seq: bigint): boolean {
    if (this.#seqs.begin(seq)) return true;
    if (seq <= this.#seqs.answered) this.#sendWritten();
    return false;
  }

  #answer(seq: bigint): void {
    this.#seqs.end(seq);
    this.#sendWritten();
  }

  #answerEnd(): void {
    if (this.#end === undefined) return;
    this.#end = undefined;
    this.#answer(this.endSeq);
    this.#onEndAnswered();
  }

  #sendWritten(): void {
    if (this.#context === undefined) return;
    this.#holder.link?.written(writtenOf(this.taskId, this.#context.fence, this.#seqs.answered));
  }

  /** The promise is open while there is no room for more that was refused. */
  #refuse(seq: bigint, error: unknown, said?: TaskWrite | PhaseEnd): Promise<void> | undefined {
    // Whatever else it is, such as a controller that closes: the runner says it again.
    if (!(error instanceof ControllerError) || error.code === "UNAVAILABLE" || this.#context === undefined)
      return undefined;
    this.#seqs.end(seq);
    const { fence, attempt } = this.#context;
    const named = { taskId: this.taskId, fence, attempt, seq };
    if (error.details.reason !== "STALE_FENCE") return this.#holder.refuse({ ...named, error });
    return this.#holder.refuse({ ...named, error: staleFence(this.taskId, fence), said });
  }
}
