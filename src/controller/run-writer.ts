/**
 * Takes to disk what a runner says of its run, and what becomes of the run, each time in the task's turn.
 *
 * 1. Every write is committed under the condition that the run's lease is still there with its fence. A run that
 *    has lost it is over, and writes nothing.
 * 2. What the runner has said before an event is in the event's commit, or on disk before it.
 * 3. Where somebody else wrote the task meanwhile, the write is made anew from the task as it is then.
 */
import { createRateLimit } from "../async/rate-limit.ts";
import type { Change } from "../store/store.ts";
import { apply, type TaskEvent } from "../task/apply.ts";
import { isActive } from "../task/state.ts";
import type { Task } from "../task/task.ts";
import { isConflict } from "./commit.ts";
import type { Core } from "./core.ts";
import { type Run, runIsOver } from "./run.ts";
import { applyBatch, type Batch, rejectBatch, resolveBatch } from "./run-writes.ts";
import type { TaskActor } from "./task-actor.ts";

interface BuiltWrite {
  readonly task: Task;
  readonly changes: readonly Change[];
  /** The runner's writes that are in it. */
  readonly batch?: Batch;
  /** The run waits for a runner after it. */
  readonly waits?: boolean;
}

/** What else belongs to the commit of an event. */
export interface EventOptions {
  readonly changes?: readonly Change[];
  /** The run waits for a runner after it. */
  readonly waits?: boolean;
}

/** As many as all the entries that may wait need. */
const flushesMax = 2_000;

export class RunWriter {
  readonly #core: Core;
  readonly #onProgress: (taskId: string) => void;

  /** `onProgress` is told of each task whose progress has got to disk. */
  constructor(core: Core, onProgress: (taskId: string) => void) {
    this.#core = core;
    this.#onProgress = onProgress;
  }

  /** Commits what the runner has said, in a turn to come: all that gathers until then. Progress alone waits for its pace. */
  arrangeFlush(actor: TaskActor, run: Run): void {
    if (run.isFlushArranged) return;
    if (run.writes.hasOnlyProgress) {
      if (run.isPaused) return;
      const { clock, limits } = this.#core;
      run.progressPace ??= createRateLimit(limits.progressPerSecondMax, clock);
      const pauseMs = run.progressPace();
      if (pauseMs > 0) return run.pause(clock, pauseMs, () => this.#arrange(actor, run));
    }
    this.#arrange(actor, run);
  }

  #arrange(actor: TaskActor, run: Run): void {
    if (run.isFlushArranged || run.writes.isEmpty) return;
    run.isFlushArranged = true;
    void actor.serialize(async () => {
      // After the tick that asked: what else the runner says in it goes along.
      await Promise.resolve();
      run.isFlushArranged = false;
      await this.flush(actor, run);
    });
  }

  /** In the actor's turn: commits what the runner has said. */
  async flush(actor: TaskActor, run: Run): Promise<void> {
    if (run.writes.isEmpty) return;
    const batch = run.writes.take();
    try {
      const isWritten = await this.#write(actor, run, (task) => applyBatch(this.#core, actor.taskId, task, batch));
      if (isWritten) resolveBatch(batch);
      else rejectBatch(batch, runIsOver(run));
      if (isWritten && batch.progress !== undefined) this.#onProgress(actor.taskId);
    } catch (error) {
      rejectBatch(batch, error);
    }
    if (!run.writes.isEmpty && !run.isOver) this.arrangeFlush(actor, run);
  }

  /** In the actor's turn: commits what the runner has said, down to what the next commit takes. */
  async flushDown(actor: TaskActor, run: Run): Promise<void> {
    // What a runner goes on to say after its phase has settled is not waited for without end.
    for (let i = 0; i < flushesMax && run.writes.isOverfull && !run.isOver; i += 1) await this.flush(actor, run);
  }

  /** In the actor's turn: commits what the event makes of the task, without what the runner has said. False when the run is lost. */
  writeAlone(actor: TaskActor, run: Run, event: TaskEvent): Promise<boolean> {
    return this.#write(actor, run, (task) => ({ task: applyEvents(this.#core, task, [event]), changes: [] }));
  }

  /** In the actor's turn: commits what the runner has said, then the event, and `changes` with them. False when the run is lost. */
  writeEvent(actor: TaskActor, run: Run, event: TaskEvent, options: EventOptions = {}): Promise<boolean> {
    const { changes = [], waits = false } = options;
    return this.#write(actor, run, (task) => {
      if (run.writes.isEmpty) return { task: applyEvents(this.#core, task, [event]), changes, waits };
      return this.#withWrites(actor, run, task, event).then((built) => ({
        ...built,
        changes: [...built.changes, ...changes],
        waits,
      }));
    });
  }

  /** The run's fence is void: its runner is told, and nothing it says counts any more. */
  lose(run: Run): void {
    run.abort("LOST_FENCE");
    run.end();
    // Its signal may have been fired before: the seat of a runner that does not stop must not hold the task.
    if (run.isRemote) run.releaseSeat("void");
    const { taskId, runId, attempt } = run;
    this.#core.faults.note("fences_lost", { taskId, runId, attempt }, "a run lost its fence");
  }

  async #withWrites(actor: TaskActor, run: Run, task: Task, event: TaskEvent): Promise<BuiltWrite> {
    const batch = run.writes.take();
    try {
      const written = await applyBatch(this.#core, actor.taskId, task, batch);
      return { task: applyEvents(this.#core, written.task, [event]), changes: written.changes, batch };
    } catch (error) {
      rejectBatch(batch, error);
      throw error;
    }
  }

  /** Commits the version that `build` makes of the task. False when the run is lost. */
  async #write(actor: TaskActor, run: Run, build: (task: Task) => BuiltWrite | Promise<BuiltWrite>): Promise<boolean> {
    for (;;) {
      if (run.isOver) return false;
      const { task } = actor.known ?? (await actor.load("until-done"));
      if (task?.status.runId !== run.runId || task.status.attempt !== run.attempt || !isActive(task.status.state)) {
        this.lose(run);
        return false;
      }
      const building = build(task);
      const built = building instanceof Promise ? await building : building;
      if (built.task === task && built.changes.length === 0) return true;
      try {
        await actor.write(built.task, {
          waits: built.waits ?? false,
          extra: built.changes,
          conditions: [{ key: run.leaseKey, revision: run.fence }],
          mode: "until-done",
        });
        if (built.batch !== undefined) resolveBatch(built.batch);
        if (built.batch?.progress !== undefined) this.#onProgress(actor.taskId);
        return true;
      } catch (error) {
        const isLost = isConflict(error) && error.key === run.leaseKey;
        if (isConflict(error) && !isLost) {
          // Somebody else wrote the task: what the runner has said goes into the next try.
          if (built.batch !== undefined) run.writes.putBack(built.batch);
          continue;
        }
        if (built.batch !== undefined) rejectBatch(built.batch, isLost ? runIsOver(run) : error);
        if (!isLost) throw error;
        this.lose(run);
        return false;
      }
    }
  }
}

/** What the events make of the task. One that does not apply is a bug, and throws. */
export function applyEvents(core: Core, task: Task, events: readonly TaskEvent[]): Task {
  let after = task;
  for (const event of events) {
    const outcome = apply(after, event, core.clock.wall(), core.limits);
    if (outcome.kind === "rejected") throw new Error(outcome.reason);
    after = outcome.task;
  }
  return after;
}
