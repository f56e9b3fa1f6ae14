/**
 * The runs that are on the seats of the host: starts them, takes what their runners say to disk, and ends them by the rules of src/task.
 *
 * A run: offered (lease on disk) -> onTaskPending -> started -> onTaskRunning -> over; offered and started at once where its runner has no onTaskPending.
 * Over is one of: ended (the end is on disk, the runner is told), replaced (a launch took its place), resumed (its runner is not
 * there any more: the task is Pending again), left (the controller closes: the next opening resumes it, or takes it up where its
 * runner goes on), lost (its fence is void).
 *
 * 1. Every write of a run is committed under its fence (run-writer.ts).
 * 2. What the outcome of a phase means is judged in the turn that writes it, by why the run was aborted up to then.
 * 3. A run of an id starts only after the one before it has let go, however long that takes.
 * 4. A phase that takes too long is told to stop, and waited for all the same.
 * 5. Whatever a runner throws or never does stays with its task.
 * 6. A seat is released once, after the commit that says what becomes of the run on it; before that of a launch that takes its place,
 *    as that may need the seat.
 */
import type { Change, Condition } from "../store/store.ts";
import { judge } from "../task/abort.ts";
import type { TaskEvent } from "../task/apply.ts";
import type { Task } from "../task/task.ts";
import type { Actors } from "./actors.ts";
import { type CommitMode, isConflict } from "./commit.ts";
import type { Core } from "./core.ts";
import { createRun } from "./create-run.ts";
import type { Deliveries, End, EndedTask } from "./deliveries.ts";
import { Dispatcher, leaseChange, type StartRun } from "./dispatcher.ts";
import type { Release } from "./host.ts";
import { createHostedTask } from "./hosted-task.ts";
import type { PendingIntent } from "./intent.ts";
import { endEvent, type PhaseTimeouts, SeatLost, type Settled } from "./phase.ts";
import { type Offer, Run, runIsOver } from "./run.ts";
import { RunPhases } from "./run-phases.ts";
import { applyEvents, RunWriter } from "./run-writer.ts";
import { rejectBatch } from "./run-writes.ts";
import type { ActorEntry, TaskActor } from "./task-actor.ts";
import type { Trash } from "./trash.ts";

/** A launch that has been decided on. */
export type DecidedLaunch = Omit<PendingIntent, "key">;

/** What else belongs to the commit of a launch. */
export interface LaunchWrite {
  readonly extra: readonly Change[];
  readonly conditions?: readonly Condition[];
  readonly mode: CommitMode;
}

export interface RunsParts {
  readonly actors: Actors;
  readonly deliveries: Deliveries;
  readonly trash: Trash;
  readonly timeouts: PhaseTimeouts;
}

export class Runs {
  readonly dispatcher: Dispatcher;
  readonly deliveries: Deliveries;
  readonly #core: Core;
  readonly #actors: Actors;
  readonly #trash: Trash;
  readonly #writer: RunWriter;
  readonly #phases: RunPhases;

  constructor(core: Core, parts: RunsParts) {
    this.#core = core;
    this.#actors = parts.actors;
    this.deliveries = parts.deliveries;
    this.#trash = parts.trash;
    this.#writer = new RunWriter(core, (taskId) => this.dispatcher.progressed(taskId));
    this.#phases = new RunPhases(core, this.#writer, parts.timeouts);
    const start: StartRun = (actor, offer) => void this.#start(actor, offer);
    this.dispatcher = new Dispatcher(core, parts.actors, { phases: this.#phases, start });
  }

  /**
   * In the actor's turn: commits a new run of the task, offered at once if there is a seat, and started with that where the pending phase is skipped, and waiting
   * otherwise. Resolves to the run as it was launched. Throws StoreError CONFLICT, ControllerError UNAVAILABLE.
   */
  async launch(actor: TaskActor, launch: DecidedLaunch, options: LaunchWrite): Promise<ActorEntry> {
    const before = (actor.known ?? (await actor.load(options.mode))).task;
    const waited = actor.waits;
    // A run that was offered and not accepted, or, where the task was written past the controller, was lost: the new one waits until it has let go.
    const zombie = actor.run;
    const seat = zombie === undefined ? this.dispatcher.tryReserve() : undefined;
    try {
      const queueNumber = this.dispatcher.takeNumber();
      const creating = createRun(this.#core, actor.taskId, before, { ...launch, queueNumber, runner: seat?.runner });
      const { task, changes, trash } = creating instanceof Promise ? await creating : creating;
      const extra: Change[] = [...options.extra, ...changes];
      if (zombie !== undefined) extra.push({ type: "unindex", key: zombie.leaseKey });
      if (before !== undefined) extra.push(...this.deliveries.changesInPlace(actor.taskId, before.status));
      if (seat !== undefined) extra.push(leaseChange(this.#core.name, actor.taskId, task, { alone: false, seat }));
      let launched: Task | undefined;
      const startAtOnce = (stored: Task): Task => applyEvents(this.#core, (launched = stored), [{ type: "start" }]);
      const next = this.#phases.skipsPending(actor.taskId, seat) ? startAtOnce : undefined;
      const revision = await actor.write(task, { ...options, waits: seat === undefined, extra, next });
      if (zombie?.seat.isTaken === false) this.#withdraw(actor, zombie);
      else if (zombie !== undefined) this.#writer.lose(zombie);
      if (waited) this.dispatcher.forget();
      if (trash !== undefined) this.#trash.empty(trash.key);
      if (seat !== undefined) this.#start(actor, { fence: revision, seat });
      else this.dispatcher.enqueue({ queueNumber, taskId: actor.taskId });
      return { task: launched ?? actor.known?.task, revision };
    } catch (error) {
      if (seat !== undefined) this.dispatcher.giveBack(seat);
      throw error;
    }
  }

  /** In the actor's turn: ends a task that no runner has; one that was offered to a runner is so no more. Throws as `launch`. */
  async endWithoutRun(
    actor: TaskActor,
    task: Task,
    events: readonly TaskEvent[],
    extra: readonly Change[],
    mode: CommitMode,
  ): Promise<void> {
    const ended = applyEvents(this.#core, task, events);
    const waited = actor.waits;
    const { ownRun } = actor;
    const { seat, fence = 0n } = ownRun ?? {};
    const { runId, attempt } = ended.status;
    const kept = this.deliveries.changesAtEnd(actor.taskId, { runId, attempt, seat });
    const unleased: Change[] = ownRun === undefined ? [] : [{ type: "unindex", key: ownRun.leaseKey }];
    await actor.write(ended, { waits: false, extra: [...extra, ...kept, ...unleased], mode });
    if (waited) this.dispatcher.forget();
    if (ownRun !== undefined) this.#withdraw(actor, ownRun);
    this.deliver(actor, { fence, seat, isKept: kept.length > 0 });
  }

  /** The offer of the run, which was not accepted, is void on disk: a runner that accepts it by now is told that it has lost it. */
  #withdraw(actor: TaskActor, run: Run): void {
    run.end();
    this.#letGo(actor, run, "void");
  }

  /** Tells of the end that is on disk, and launches what waited for it. */
  deliver(actor: TaskActor, end: End): void {
    const { task, revision } = actor.known ?? { task: undefined, revision: 0n };
    if (task === undefined) return;
    const held = this.#actors.acquire(actor.taskId);
    const { fence, seat, isKept } = end;
    const ended: EndedTask = { fence, seat, isKept, task, revision, endRevision: end.revision ?? revision };
    const delivery = this.deliveries.deliver(actor.taskId, ended).then(() => {
      if (actor.delivery === delivery) actor.delivery = undefined;
    });
    actor.delivery = delivery;
    void delivery.then(() => this.#launchStored(actor, [])).finally(() => this.#actors.release(held));
  }

  /** In the actor's turn: commits that the task, which has a run, is to be canceled. Throws as `launch`. */
  async requestCancel(actor: TaskActor, task: Task, request: TaskEvent, extra: readonly Change[]): Promise<void> {
    await actor.write(applyEvents(this.#core, task, [request]), { waits: false, extra, mode: "once" });
  }

  /** Tells the runner of a cancel that is on disk. What the status shows of that follows by itself, when the runner was told. */
  cancel(actor: TaskActor, run: Run): void {
    if (run.kind === "CANCEL") return;
    run.abort("CANCEL");
    const record = async (): Promise<void> => {
      if (!run.isOver) await this.#writer.writeAlone(actor, run, { type: "deliver-cancel" });
    };
    void run.seat
      .told()
      .then(() => actor.serialize(record))
      .catch((error: unknown) => this.#noteError(error, actor, "a cancel's delivery was not recorded"));
  }

  /** In the actor's turn, at the opening: goes on with the run of the task, which was offered before and may still be with its runner. */
  takeUp(actor: TaskActor, offer: Offer): void {
    const run = this.#start(actor, offer);
    if (run === undefined) return;
    if (actor.known?.task?.status.cancel !== undefined) this.cancel(actor, run);
    else if (actor.intent !== undefined) run.abort("RESTART");
  }

  #start(actor: TaskActor, offer: Offer): Run | undefined {
    // The offer got to disk after the controller had closed: the next opening takes it up.
    if (this.#core.lifetime.isOver) {
      offer.seat.release("left");
      return undefined;
    }
    const task = actor.known?.task;
    if (task === undefined) throw new Error("a task that was offered is known");
    const run = new Run(this.#core.name, actor.taskId, offer, task.status);
    actor.run = run;
    this.#actors.acquire(actor.taskId);
    void this.#execute(actor, run).finally(() => this.#actors.release(actor));
    if (this.#core.closing.aborted && !run.isRemote) run.abort("SHUTDOWN");
    return run;
  }

  async #execute(actor: TaskActor, run: Run): Promise<void> {
    try {
      const hosted = createHostedTask(this.#core, this.#writer, actor, run);
      const settled = await this.#phases.run(actor, run, hosted);
      if (settled !== undefined) await actor.serialize(() => this.#finish(actor, run, settled));
    } catch (error) {
      // The store failed until the controller was closed, or an invariant was about to break: nothing more is written.
      this.#noteError(error, actor, "a run was left as it is on disk");
    }
    run.end();
    if (!run.writes.isEmpty) rejectBatch(run.writes.takeAll(), runIsOver(run));
    this.#letGo(actor, run, this.#core.closing.aborted ? "left" : "void");
    run.releaseSeat("left");
    // One that was lost, or left as it is, has no end that the stored launch would take place after.
    if (actor.delivery === undefined) await this.#launchStored(actor, [{ type: "unindex", key: run.leaseKey }]);
  }

  /** The run's seat is free, the first time that it is called. */
  #letGo(actor: TaskActor, run: Run, how: Release): void {
    if (actor.run !== run) return;
    actor.run = undefined;
    const task = actor.known?.task;
    if (actor.waits && task !== undefined) {
      const waiting = { queueNumber: task.record.queueNumber, taskId: actor.taskId };
      // One that was lost waits, and is counted, since somebody else has made it wait.
      if (how === "again") this.dispatcher.enqueue(waiting);
      else this.dispatcher.requeue(waiting);
    }
    this.dispatcher.release(run, how);
  }

  /** In the actor's turn: does what the outcome of the last phase means. */
  async #finish(actor: TaskActor, run: Run, settled: Settled): Promise<void> {
    if (run.writes.isOverfull) await this.#writer.flushDown(actor, run);
    const verdict = judge(settled.phase, run.kind, settled.outcome);
    if (verdict === "discard" || verdict === "leave") return this.#giveUp(actor, run, settled, verdict);
    const unleased: Change = { type: "unindex", key: run.leaseKey };
    if (verdict === "resume") return this.#resume(actor, run, settled, unleased);
    const event = endEvent(verdict, settled, this.#core.limits, run.endSaid);
    const kept = this.deliveries.changesAtEnd(actor.taskId, run);
    if (!(await this.#writer.writeEvent(actor, run, event, { changes: [unleased, ...kept] }))) return;
    run.end();
    this.#letGo(actor, run, "ended");
    this.deliver(actor, { fence: run.fence, seat: run.seat, isKept: kept.length > 0 });
  }

  /** The run's runner is not there any more: the task waits for another, in its old place. */
  async #resume(actor: TaskActor, run: Run, { value }: Settled, unleased: Change): Promise<void> {
    const reason = SeatLost.is(value) ? value.message : "";
    const event: TaskEvent = { ...run.endSaid, type: "resume", reason, died: false };
    if (!(await this.#writer.writeEvent(actor, run, event, { changes: [unleased], waits: true }))) return;
    run.end();
    this.#letGo(actor, run, "again");
  }

  /** The run stops without an end: a launch takes its place, or it is left to the next opening, or it was lost. */
  async #giveUp(actor: TaskActor, run: Run, settled: Settled, verdict: "discard" | "leave"): Promise<void> {
    if (run.isOver || run.kind === "LOST_FENCE") return;
    await this.#writer.flush(actor, run);
    if (run.isOver) return;
    run.end();
    const { intent } = actor;
    if (verdict === "discard" && intent !== undefined && !this.#core.closing.aborted) {
      // What a remote runner has said last is answered by the release: the launch in its place has to be on disk by then.
      if (run.isRemote) actor.run = undefined;
      else this.#letGo(actor, run, "ended");
      await this.launchIntent(actor, intent, [{ type: "unindex", key: run.leaseKey }]);
      return this.dispatcher.release(run, settled.outcome === "lost" ? "void" : "ended");
    }
    // Its runner goes on with it, and the next opening takes it up: the lease stays.
    if (run.isRemote) return;
    await actor.writeBeside(run.releaseChanges, {
      conditions: [{ key: run.leaseKey, revision: run.fence }],
      mode: "until-done",
    });
  }

  /** In the actor's turn: commits the stored launch, together with `changes`. Throws ControllerError UNAVAILABLE when the controller closes. */
  async launchIntent(actor: TaskActor, intent: PendingIntent, changes: readonly Change[]): Promise<void> {
    const extra: Change[] = [...changes, { type: "unindex", key: intent.key }];
    for (;;) {
      try {
        await this.launch(actor, intent, { extra, mode: "until-done" });
        return;
      } catch (error) {
        // Somebody else wrote the task: it is launched as it is now.
        if (!isConflict(error)) throw error;
      }
    }
  }

  /** Launches what waited for the run before, which has let go and whose end was told. */
  async #launchStored(actor: TaskActor, changes: readonly Change[]): Promise<void> {
    if (actor.intent === undefined || this.#core.closing.aborted) return;
    try {
      await actor.serialize(async () => {
        const { intent } = actor;
        if (intent !== undefined && actor.run === undefined) await this.launchIntent(actor, intent, changes);
      });
    } catch (error) {
      this.#noteError(error, actor, "a stored launch could not take place; it is left to the next launch, or opening");
    }
  }

  #noteError(err: unknown, { taskId }: TaskActor, message: string): void {
    this.#core.faults.note("background_errors", { err, taskId }, message);
  }
}
