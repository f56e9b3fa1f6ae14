/**
 * The runs that are offered in this process: starts them, takes what their
 * runners say to disk, and ends them by the rules of src/task.
 *
 * A run: offered (lease on disk) -> onTaskPending -> started -> onTaskRunning -> over.
 * Over is one of: ended (the end is on disk, the runner is told), replaced (a launch took its place), left (the
 * controller closes: resumed at the next opening), lost (its fence is void).
 *
 * 1. Every write of a run is committed under its fence (run-writer.ts).
 * 2. What the outcome of a phase means is judged in the turn that writes it, by why the run was aborted up to then.
 * 3. A run of an id starts only after the one before it has let go, however long that takes.
 * 4. A phase that takes too long is told to stop, and waited for all the same.
 * 5. Whatever a runner throws or never does stays with its task.
 */
import assert from "node:assert/strict";
import type { Progress } from "#gen/core/v1/core_pb.js";
import { releasedKey } from "../store/keys.ts";
import { type Change, type Condition, StoreError } from "../store/store.ts";
import { judge } from "../task/abort.ts";
import type { TaskEvent } from "../task/apply.ts";
import { relaunch } from "../task/relaunch.ts";
import type { Task } from "../task/task.ts";
import { createActiveTask } from "./active-task.ts";
import type { Actors } from "./actors.ts";
import { commit, type CommitMode, untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Deliveries } from "./deliveries.ts";
import { Dispatcher, leaseChange } from "./dispatcher.ts";
import type { PendingIntent } from "./intent.ts";
import { endEvent, type PhaseName, type PhaseTimeouts, settlePhase, type Settled } from "./phase.ts";
import { Run, runIsOver } from "./run.ts";
import { applyEvents, RunWriter } from "./run-writer.ts";
import { appendLogEntry, rejectBatch } from "./run-writes.ts";
import type { TaskActor } from "./task-actor.ts";
import { loadPayload } from "./task-reader.ts";
import type { ActiveTask, TaskContext } from "./task-runner.ts";
import { type Trash, trashChange } from "./trash.ts";

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
  readonly concurrency: number;
  readonly timeouts: PhaseTimeouts;
}

export class Runs {
  readonly dispatcher: Dispatcher;
  readonly deliveries: Deliveries;
  readonly #core: Core;
  readonly #actors: Actors;
  readonly #trash: Trash;
  readonly #writer: RunWriter;
  readonly #timeouts: PhaseTimeouts;

  constructor(core: Core, parts: RunsParts) {
    this.#core = core;
    this.#timeouts = parts.timeouts;
    this.#actors = parts.actors;
    this.deliveries = parts.deliveries;
    this.#trash = parts.trash;
    this.dispatcher = new Dispatcher(core, parts.actors, {
      concurrency: parts.concurrency,
      start: (actor, fence) => this.#start(actor, fence),
    });
    this.#writer = new RunWriter(core, (taskId) => this.dispatcher.progressed(taskId));
  }

  /**
   * In the actor's turn: commits a new run of the task, offered at once if there is a place, and waiting otherwise.
   * Throws StoreError CONFLICT, ControllerError UNAVAILABLE.
   */
  async launch(actor: TaskActor, launch: DecidedLaunch, options: LaunchWrite): Promise<bigint> {
    const before = (await actor.load(options.mode)).task;
    const waited = actor.waits;
    // Where the task was written past the controller a lost run may still be there: the new one waits until it has let go.
    const zombie = actor.run;
    const isReserved = zombie === undefined && this.dispatcher.tryReserve();
    try {
      const queueNumber = this.dispatcher.takeNumber();
      const nowMs = this.#core.clock.wall();
      const launched = relaunch(before, { ...launch, queueNumber }, nowMs, this.#core.limits);
      const extra: Change[] = [...options.extra];
      if (before !== undefined) extra.push(...this.deliveries.changesInPlace(actor.taskId, before.status));
      let { task } = launched;
      if (launched.logEntry !== undefined) {
        const appended = await appendLogEntry(this.#core, actor.taskId, task, launched.logEntry);
        // The launch is what this version is; the entry comes with it.
        task = { status: appended.task.status, record: { ...appended.task.record, isTransition: true } };
        extra.push(...appended.changes);
      }
      const trash =
        launched.clearsLogs && before !== undefined ? trashChange(this.#core, actor.taskId, before) : undefined;
      if (trash !== undefined) extra.push(trash);
      if (isReserved) extra.push(leaseChange(this.#core.name, actor.taskId, task, false));
      const revision = await actor.write(task, {
        waits: !isReserved,
        extra,
        conditions: options.conditions ?? [],
        mode: options.mode,
      });
      if (zombie !== undefined) this.#writer.lose(zombie);
      if (waited) this.dispatcher.forget();
      if (trash !== undefined) this.#trash.empty(trash.key);
      if (isReserved) this.#start(actor, revision);
      else this.dispatcher.enqueue({ queueNumber, taskId: actor.taskId });
      return revision;
    } catch (error) {
      if (isReserved) this.dispatcher.release(actor.taskId);
      throw error;
    }
  }

  /** In the actor's turn: ends a task that no runner has. Throws as `launch`. */
  async endWithoutRun(
    actor: TaskActor,
    task: Task,
    events: readonly TaskEvent[],
    extra: readonly Change[],
    mode: CommitMode,
  ): Promise<void> {
    const ended = applyEvents(this.#core, task, events);
    const waited = actor.waits;
    await actor.write(ended, {
      waits: false,
      extra: [...extra, ...this.deliveries.changesAtEnd(actor.taskId, ended.status)],
      mode,
    });
    if (waited) this.dispatcher.forget();
    this.deliver(actor, 0n);
  }

  /** Tells of the end that is on disk, and launches what waited for it. */
  deliver(actor: TaskActor, fence: bigint): void {
    const { task, revision } = actor.known ?? { task: undefined, revision: 0n };
    if (task === undefined) return;
    const held = this.#actors.acquire(actor.taskId);
    const delivery = this.deliveries.deliver(actor.taskId, { task, revision }, fence).then(() => {
      if (actor.delivery === delivery) actor.delivery = undefined;
    });
    actor.delivery = delivery;
    void delivery.then(() => this.#launchStored(actor, [])).finally(() => this.#actors.release(held));
  }

  /** In the actor's turn: commits that the task, which has a run, is to be canceled. Throws as `launch`. */
  async requestCancel(actor: TaskActor, task: Task, request: TaskEvent, extra: readonly Change[]): Promise<void> {
    await actor.write(applyEvents(this.#core, task, [request]), { waits: false, extra, mode: "once" });
  }

  /** In the actor's turn: commits that the runner's signal was fired because of a cancel. */
  async recordCancelDelivered(actor: TaskActor, run: Run): Promise<void> {
    if (!run.isOver) await this.#writer.writeAlone(actor, run, { type: "deliver-cancel" });
  }

  #start(actor: TaskActor, fence: bigint): void {
    // The offer got to disk after the controller had closed: the next opening takes it up.
    if (this.#core.lifetime.isOver) return;
    const task = actor.known?.task;
    if (task === undefined) throw new Error("a task that was offered is known");
    const { runId, attempt } = task.status;
    const run = new Run(this.#core.name, { taskId: actor.taskId, runId, attempt, fence });
    actor.run = run;
    this.#actors.acquire(actor.taskId);
    run.finished = this.#execute(actor, run).finally(() => this.#actors.release(actor));
    if (this.#core.closing.aborted) run.abort("SHUTDOWN");
  }

  async #execute(actor: TaskActor, run: Run): Promise<void> {
    try {
      const settled = await this.#runPhases(actor, run);
      if (settled !== undefined) await actor.serialize(() => this.#finish(actor, run, settled));
    } catch (error) {
      // The store failed until the controller was closed, or an invariant was about to break: nothing more is written.
      this.#core.log.error({ err: error, taskId: run.taskId, runId: run.runId }, "a run was left as it is on disk");
    }
    run.end();
    rejectBatch(run.writes.takeAll(), runIsOver(run));
    this.#letGo(actor, run);
    // One that was lost, or left as it is, has no end that the stored launch would take place after.
    if (actor.delivery === undefined) await this.#launchStored(actor, [{ type: "unindex", key: run.leaseKey }]);
  }

  #letGo(actor: TaskActor, run: Run): void {
    if (actor.run !== run) return;
    actor.run = undefined;
    const task = actor.known?.task;
    if (actor.waits && task !== undefined) {
      this.dispatcher.requeue({ queueNumber: task.record.queueNumber, taskId: actor.taskId });
    }
    this.dispatcher.release(actor.taskId);
  }

  /** Runs the phases; how the last one settled, or undefined when the run was lost in between. */
  async #runPhases(actor: TaskActor, run: Run): Promise<Settled | undefined> {
    const { runner } = this.#core;
    assert(runner !== undefined, "a run is offered to a runner");
    const active = this.#activeTask(actor, run);
    const pending = await this.#runPhase("pending", run, (context) => runner.onTaskPending?.(active, context));
    const goesOn = await actor.serialize(async () => {
      await this.#writer.flushDown(actor, run);
      if (pending.outcome === "returned") run.forgetTimeout();
      if (judge("pending", run.kind, pending.outcome) !== "start") return false;
      return this.#writer.writeEvent(actor, run, { type: "start" });
    });
    if (run.isOver) return undefined;
    if (!goesOn) return pending;
    return this.#runPhase("running", run, (context) => runner.onTaskRunning(active, context));
  }

  /** Runs a phase until it settles. It is told to stop when it takes too long, but not given up: a run must not overlap with the next. */
  async #runPhase(phase: PhaseName, run: Run, call: (context: TaskContext) => unknown): Promise<Settled> {
    const { clock, log } = this.#core;
    const { signal, taskId, attempt, runId, fence } = run;
    const timeoutMs = this.#timeouts[phase];
    run.beginPhase(clock, timeoutMs, () => {
      if (signal.aborted) return;
      log.warn({ taskId, runId, phase, timeoutMs }, "a phase takes too long, and is told to stop");
      run.abort("TIMEOUT");
    });
    try {
      const settled = await settlePhase(signal, () => call({ signal, attempt, runId, fence }));
      return { phase, timeoutMs, ...settled };
    } finally {
      run.endPhase();
    }
  }

  #activeTask(actor: TaskActor, run: Run): ActiveTask {
    const write = (say: () => Promise<void>): Promise<void> => {
      if (run.isOver) return Promise.reject(runIsOver(run));
      const said = say();
      this.#writer.arrangeFlush(actor, run);
      return said;
    };
    const port = {
      loadMetadata: async () => {
        this.#core.lifetime.check();
        const task = actor.known?.task ?? (await actor.serialize(() => actor.load("until-done"))).task;
        if (task === undefined) throw runIsOver(run);
        return task.record.metadataBytes > 0
          ? ((await untilDone(this.#core, () => loadPayload(this.#core, actor.taskId, "metadata"))) ?? "")
          : task.status.metadata;
      },
      getProgress: async (): Promise<Progress | undefined> => {
        this.#core.lifetime.check();
        return run.writes.newestProgress ?? actor.known?.task?.status.progress;
      },
      setProgress: (progress: Progress) => write(() => run.writes.setProgress(progress)),
      addLogEntry: (level: number, msg: string) =>
        write(() => run.writes.addLogEntry(level, msg, this.#core.clock.wall())),
    };
    return createActiveTask(actor.taskId, port, this.#core.limits);
  }

  /** In the actor's turn: does what the outcome of the last phase means. */
  async #finish(actor: TaskActor, run: Run, settled: Settled): Promise<void> {
    await this.#writer.flushDown(actor, run);
    const verdict = judge(settled.phase, run.kind, settled.outcome);
    if (verdict === "discard" || verdict === "leave") return this.#giveUp(actor, run, verdict);
    const event = endEvent(verdict, settled, this.#core.limits);
    const isEnded = await this.#writer.writeEvent(actor, run, event, [
      { type: "unindex", key: run.leaseKey },
      ...this.deliveries.changesAtEnd(actor.taskId, run),
    ]);
    if (!isEnded) return;
    run.end();
    this.#letGo(actor, run);
    this.deliver(actor, run.fence);
  }

  /** The run stops without an end: a launch takes its place, or it is left to the next opening, or it was lost. */
  async #giveUp(actor: TaskActor, run: Run, verdict: "discard" | "leave"): Promise<void> {
    if (run.isOver || run.kind === "LOST_FENCE") return;
    await this.#writer.flush(actor, run);
    if (run.isOver) return;
    run.end();
    const { intent } = actor;
    if (verdict === "discard" && intent !== undefined && !this.#core.closing.aborted) {
      this.#letGo(actor, run);
      return this.launchIntent(actor, intent, [{ type: "unindex", key: run.leaseKey }]);
    }
    await actor.writeBeside(this.#releaseChanges(run), {
      conditions: [{ key: run.leaseKey, revision: run.fence }],
      mode: "until-done",
    });
  }

  /** When the controller closes: gives up a run that does not stop, so that the next opening takes it for no death. */
  async abandon(run: Run): Promise<void> {
    if (run.isOver) return;
    run.end();
    if (!this.#core.guard.healthy) return;
    try {
      await commit(this.#core, this.#releaseChanges(run), [{ key: run.leaseKey, revision: run.fence }], "once");
    } catch (error) {
      this.#core.log.warn({ err: error, taskId: run.taskId }, "a run that did not stop is left as it is on disk");
    }
  }

  #releaseChanges({ taskId, runId, attempt, leaseKey }: Run): Change[] {
    const key = releasedKey(this.#core.name, taskId, runId, attempt);
    return [
      { type: "unindex", key: leaseKey },
      { type: "index", key, value: new Uint8Array(0) },
    ];
  }

  /** In the actor's turn: commits the stored launch, together with `changes`. Throws ControllerError UNAVAILABLE when the controller closes. */
  async launchIntent(actor: TaskActor, intent: PendingIntent, changes: readonly Change[]): Promise<void> {
    const extra: Change[] = [...changes, { type: "unindex", key: intent.key }];
    for (;;) {
      try {
        await this.launch(actor, intent, { extra, mode: "until-done" });
        actor.intent = undefined;
        return;
      } catch (error) {
        // Somebody else wrote the task: it is launched as it is now.
        if (!(error instanceof StoreError) || error.code !== "CONFLICT") throw error;
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
      const message =
        "a stored launch could not take place; it is left to the next launch of the task, or to the next opening";
      this.#core.log.error({ err: error, taskId: actor.taskId }, message);
    }
  }
}
