/**
 * A world for the fault tests: one store that fails as planned, a controller that may be closed, crash
 * and be opened again on it, clients that repeat what failed as documented, and a clock that
 * everything waits for.
 *
 * It writes down what was acknowledged and what the runner was given to do, and looks at the inner store,
 * which never fails, to see whether that is so (faults-check.ts).
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { sleep } from "../../src/clock.ts";
import type { Controller, LaunchedTask, LaunchOptions } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { Faults } from "../../src/faults.ts";
import { type ControllerOptions, openController } from "../../src/controller/open-controller.ts";
import type { ActiveTask, TaskContext, TaskRunner } from "../../src/controller/task-runner.ts";
import { decodeTask } from "../../src/store/codec.ts";
import { taskKey } from "../../src/store/keys.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Store } from "../../src/store/store.ts";
import { isActive, isEnded, stateName } from "../../src/task/state.ts";
import { createFakeClock, type FakeClock } from "../support/fake-clock.ts";
import { type Fault, FaultPlan, FaultStore } from "../support/fault-store.ts";
import { Follow, followList, type ListFollow, followStore, type StoreFollow } from "./faults-follow.ts";
import { controllerName, Incarnation } from "./faults-process.ts";

const stepMs = 50;
const healAfterMs = 3_000;
const recoveryMaxMs = 5_000;
const stuckAfterMs = 10 * 60_000;

/** What the scripted runner is to do, as the task's metadata. */
export interface Work {
  /** Progress and a log entry for each; kept progress counts. */
  readonly steps?: number;
  /** Then wait for the gate. */
  readonly gate?: boolean;
  /** Wait for the gate in onTaskPending. */
  readonly pendingGate?: boolean;
  readonly fail?: boolean;
  /** The bytes of the result. */
  readonly resultBytes?: number;
  /** How long onTaskCompleted takes. */
  readonly completedMs?: number;
  /** Makes the metadata a record of its own. */
  readonly filler?: string;
}

export interface Acknowledged {
  readonly taskId: string;
  readonly runId: string;
  /** The inner store's revision when it was acknowledged. */
  readonly at: bigint;
}

export class World {
  readonly clock: FakeClock = createFakeClock();
  readonly plan: FaultPlan;
  /** Broken promises; empty in a good world. */
  readonly broken: string[] = [];
  readonly acknowledged = {
    launches: [] as Acknowledged[],
    logs: [] as Array<Acknowledged & { msg: string }>,
    deleted: new Set<string>(),
  };
  readonly told: Array<{ taskId: string; runId: string; state: string }> = [];
  readonly fences = new Map<string, bigint>();
  readonly follows: Follow[] = [];
  readonly storeFollows: StoreFollow[] = [];
  readonly gates = new Set<string>();
  /** How long it took until it answered after the store was healed. */
  readonly recoveriesMs: number[] = [];
  /** Of all its processes. */
  readonly faults = new Faults();
  runs = 0;
  inner!: Store;
  controller!: Controller;
  /** The death of the process that has `controller`, as a connection to it shows that. */
  died!: Promise<undefined>;
  #store!: FaultStore;
  #incarnation!: Incarnation;
  #opening: Promise<void> | undefined;
  #options: Partial<ControllerOptions> = {};
  #ids = 0;
  #failingSinceMs: number | undefined;
  readonly #pending: Array<Promise<unknown>> = [];
  readonly #prepares: boolean;

  /** `prepares`: the runner has a pending phase. */
  constructor(faults: readonly Fault[] = [], prepares = true) {
    this.#prepares = prepares;
    this.plan = new FaultPlan(faults);
    this.plan.onCrash = () => this.#incarnation.end();
  }

  /** Opens the world's first controller. */
  async open(options: Partial<ControllerOptions> = {}): Promise<void> {
    this.inner = await openMemoryStore({ clock: this.clock });
    this.#options = options;
    await this.reopen();
  }

  /** Opens a controller on what is in the store; one at a time, whoever asks for it. */
  reopen(): Promise<void> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /** Again, where the process dies meanwhile. */
  async #open(): Promise<void> {
    for (;;) {
      // What a process that died had sent to the disk is there, or not, before the next one looks.
      await nextTurn();
      const incarnation = new Incarnation(this.clock);
      this.#incarnation = incarnation;
      this.#store = new FaultStore(this.inner, this.plan);
      const opening = openController({
        name: controllerName,
        store: this.#store,
        clock: incarnation,
        faults: this.faults,
        random: { id: () => `id-${(this.#ids += 1)}`, fraction: () => 0.5 },
        retention: { afterEndMs: 24 * 3_600_000 },
        runner: this.#runner(incarnation),
        ...this.#options,
      });
      const controller = await Promise.race([opening, incarnation.died]);
      if (controller === undefined) continue;
      // In the same tick: who crashes it from now on opens it anew.
      this.#opening = undefined;
      this.controller = controller;
      this.died = incarnation.died;
      void incarnation.died.then(() => {
        if (!incarnation.isExpectedToEnd) this.#pending.push(this.reopen());
      });
      return;
    }
  }

  async close(): Promise<void> {
    const incarnation = this.#incarnation;
    incarnation.isExpectedToEnd = true;
    await Promise.race([this.controller.close(), incarnation.died]);
    if (incarnation.pending > 0)
      this.broken.push(`${incarnation.pending} timers are left after the controller was closed`);
    incarnation.end();
  }

  /** The process dies as it is, and another takes its place. */
  async crash(): Promise<void> {
    this.#incarnation.isExpectedToEnd = true;
    this.#store.crash();
    this.#incarnation.end();
    await this.reopen();
  }

  /** Lets time pass, and heals what fails for too long, until `work` is done. */
  async drive<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    const untilMs = this.clock.mono() + stuckAfterMs;
    for (await this.clock.advance(0); !isOver; await this.clock.advance(stepMs)) {
      this.#healInTime();
      if (this.clock.mono() > untilMs) throw new Error("stuck: nothing more happens");
    }
    return work;
  }

  #healInTime(): void {
    if (!this.plan.isFailing) this.#failingSinceMs = undefined;
    else if (this.#failingSinceMs === undefined) this.#failingSinceMs = this.clock.mono();
    else if (this.clock.mono() - this.#failingSinceMs >= healAfterMs) {
      this.plan.heal();
      this.#pending.push(this.#recover());
    }
  }

  /** What failed is mended: in time the controller answers again, and nobody does anything for that. */
  async #recover(): Promise<void> {
    const sinceMs = this.clock.mono();
    // Where it failed in being opened, that goes on first.
    await this.#opening;
    await this.call((controller) => controller.countTasks());
    const tookMs = this.clock.mono() - sinceMs;
    this.recoveriesMs.push(tookMs);
    if (tookMs > recoveryMaxMs) this.broken.push(`it answered again ${tookMs} ms after the store worked`);
  }

  /** A client's call: repeated while the answer is UNAVAILABLE. */
  async call<T>(use: (controller: Controller) => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries += 1) {
      try {
        const answer = await Promise.race([use(this.controller).then((value) => ({ value })), this.died]);
        if (answer !== undefined) return answer.value;
        await sleep(this.clock, 500);
      } catch (error) {
        if (!(error instanceof ControllerError) || error.code !== "UNAVAILABLE" || tries > 500) throw error;
        await sleep(this.clock, 500);
      }
    }
  }

  /** Launches with a request id, until it is known what became of it. */
  async launch(taskId: string, work: Work, options: LaunchOptions = {}): Promise<LaunchedTask> {
    const requestId = options.requestId ?? `request-${(this.#ids += 1)}`;
    const launched = await this.call((controller) =>
      controller.launchTask(taskId, { metadata: { ...work } as Record<string, never>, ...options, requestId }),
    );
    this.acknowledged.launches.push({ taskId, runId: launched.runId, at: this.inner.revision() });
    this.seen(taskId, launched.status, launched.revision);
    return launched;
  }

  /** The same, of several in one call; those that it did not launch are launched by another. */
  async launchMany(taskIds: readonly string[], work: Work): Promise<void> {
    const metadata = { ...work } as Record<string, never>;
    let due = taskIds.map((taskId) => ({ taskId, metadata, requestId: `request-${(this.#ids += 1)}` }));
    while (due.length > 0) {
      const launches = due;
      const results = await this.call((controller) => controller.launchTasks(launches));
      const at = this.inner.revision();
      due = [];
      for (const [i, launch] of launches.entries()) {
        const result = results[i];
        if (result?.status === "fulfilled") {
          this.acknowledged.launches.push({ taskId: launch.taskId, runId: result.value.runId, at });
        } else {
          const { reason } = result as PromiseRejectedResult;
          if (!(reason instanceof ControllerError) || reason.code !== "UNAVAILABLE") throw reason;
          due.push(launch);
        }
      }
      if (due.length > 0) await sleep(this.clock, 500);
    }
  }

  async cancel(taskId: string): Promise<void> {
    const canceled = await this.call((controller) => controller.cancelTask(taskId, { reason: "not wanted" }));
    this.seen(taskId, canceled.status, canceled.revision);
  }

  /** Deletes; a repetition may find that the first time did it. */
  async delete(taskId: string): Promise<void> {
    await this.call(async (controller) => {
      try {
        await controller.deleteTask(taskId);
      } catch (error) {
        if (!(error instanceof ControllerError) || error.code !== "NOT_FOUND") throw error;
      }
    });
    this.acknowledged.deleted.add(taskId);
    if ((await this.stored(taskId)) !== undefined)
      this.broken.push(`task ${taskId} is there after its deletion was acknowledged`);
  }

  async status(taskId: string): Promise<TaskStatus> {
    const { status, revision } = await this.call((controller) => controller.readTask(taskId));
    this.seen(taskId, status, revision);
    return status;
  }

  /** Until the task is in a state, as a client sees that. */
  async until(taskId: string, isThere: (status: TaskStatus) => boolean): Promise<TaskStatus> {
    for (;;) {
      const status = await this.status(taskId);
      if (isThere(status)) return status;
      await sleep(this.clock, 100);
    }
  }

  untilEnded(taskId: string): Promise<TaskStatus> {
    return this.until(taskId, ({ state }) => isEnded(state));
  }

  untilRunning(taskId: string): Promise<TaskStatus> {
    return this.until(taskId, ({ state }) => stateName(state) === "Running");
  }

  /** Lets the runner go on. */
  openGate(taskId: string): void {
    this.gates.add(taskId);
  }

  /** Follows a task to its end, over every failure. */
  follow(taskId: string): Follow {
    const follow = new Follow(this, taskId);
    this.follows.push(follow);
    return follow;
  }

  /** Watches the tasks through the store itself, over every failure, until the world's end. */
  followStore(): StoreFollow {
    const follow = followStore(this);
    this.storeFollows.push(follow);
    return follow;
  }

  /** Watches all tasks, over every failure, until it is left. */
  followList(): ListFollow {
    return followList(this);
  }

  /** Of the task's last change that is durable. */
  async lastRevision(taskId: string): Promise<bigint> {
    return (await this.stored(taskId))?.revision ?? 0n;
  }

  /** The handle on the store of the process that is alive. */
  get store(): Store {
    return this.#store;
  }

  /** What a client was shown must be what is durable at that revision. */
  seen(taskId: string, status: TaskStatus, revision: bigint): void {
    const check = this.stored(taskId, revision).then((stored) => {
      if (stored?.revision === revision && stored.status.state === status.state && stored.status.runId === status.runId)
        return;
      this.broken.push(
        `${stateName(status.state)} of ${taskId} was shown at revision ${revision}, where it is not on disk`,
      );
    });
    this.#pending.push(check.catch((error: unknown) => this.broken.push(`${taskId} at ${revision}: ${String(error)}`)));
  }

  async stored(taskId: string, revision?: bigint) {
    const entry = await this.inner.get(taskKey(controllerName, taskId), { revision });
    return entry && { ...decodeTask(entry.value), revision: entry.revision };
  }

  /** All checks that were begun, and an opening that is under way. */
  async settled(): Promise<void> {
    while (this.#pending.length > 0) await Promise.all(this.#pending.splice(0));
  }

  #runner(incarnation: Incarnation): TaskRunner {
    const waitForGate = async (taskId: string, signal: AbortSignal): Promise<void> => {
      while (!this.gates.has(taskId)) {
        signal.throwIfAborted();
        await sleep(incarnation, stepMs, signal);
      }
    };
    const onTaskPending: TaskRunner["onTaskPending"] = async (task, context) => {
      await this.#checkStart(incarnation, task, context, "Pending");
      const work = ((await task.loadTaskMetadata()) ?? {}) as Work;
      if (work.pendingGate) await waitForGate(task.taskId, context.signal);
    };
    return {
      ...(this.#prepares ? { onTaskPending } : {}),
      onTaskRunning: async (task, context) => {
        // In a process that is dead nothing begins any more.
        if (incarnation.isOver) await new Promise(() => {});
        await this.#checkStart(incarnation, task, context, "Running");
        incarnation.running.add(task.taskId);
        try {
          return await this.#work(task, context, incarnation, waitForGate);
        } finally {
          incarnation.running.delete(task.taskId);
        }
      },
      onTaskCompleted: async (task, state, context) => {
        const work = ((await task.loadTaskMetadata()) ?? {}) as Work;
        if (work.completedMs !== undefined) await sleep(incarnation, work.completedMs);
        if (incarnation.isOver) return;
        this.told.push({ taskId: task.taskId, runId: context.runId, state: stateName(state) });
      },
    };
  }

  async #work(
    task: ActiveTask,
    { signal, runId, attempt }: TaskContext,
    incarnation: Incarnation,
    waitForGate: (taskId: string, signal: AbortSignal) => Promise<void>,
  ): Promise<{ filler: string }> {
    const work = ((await task.loadTaskMetadata()) ?? {}) as Work;
    const { taskId } = task;
    const kept = Number((await task.getProgress())?.current ?? 0n);
    for (let step = kept + 1; step <= (work.steps ?? 0); step += 1) {
      const msg = `${runId} attempt ${attempt} step ${step}`;
      await Promise.all([
        task
          .addLogEntry("info", msg)
          .then(() => this.acknowledged.logs.push({ taskId, runId, msg, at: this.inner.revision() })),
        task
          .setProgress({ current: step, total: work.steps ?? 0 })
          .then(() => this.#checkProgress(taskId, runId, step)),
      ]);
      await sleep(incarnation, 20, signal);
      signal.throwIfAborted();
    }
    if (work.gate) await waitForGate(taskId, signal);
    if (work.fail) throw new Error("as it was told to");
    return { filler: "x".repeat(work.resultBytes ?? 0) };
  }

  async #checkProgress(taskId: string, runId: string, step: number): Promise<void> {
    const stored = await this.stored(taskId);
    if (stored?.status.runId === runId && Number(stored.status.progress?.current ?? 0n) < step) {
      this.broken.push(`progress ${step} of ${taskId} was acknowledged and is not on disk`);
    }
  }

  /** A phase begins only for the current run, in its state, under a fence that is newer than all before. */
  async #checkStart(incarnation: Incarnation, task: ActiveTask, context: TaskContext, state: string): Promise<void> {
    this.runs += 1;
    const { taskId } = task;
    const stored = await this.stored(taskId);
    const is = stored && `${stateName(stored.status.state)} ${stored.status.runId} ${stored.status.attempt}`;
    if (
      stored === undefined ||
      !isActive(stored.status.state) ||
      is !== `${state} ${context.runId} ${context.attempt}`
    ) {
      this.broken.push(`${taskId}: ${state} ${context.runId} ${context.attempt} began while ${is} was on disk`);
    }
    if (incarnation.running.has(taskId)) this.broken.push(`two runs of ${taskId} at one time`);
    const before = this.fences.get(taskId) ?? 0n;
    const isNew = state === "Pending" || !this.#prepares;
    if (isNew ? context.fence <= before : context.fence !== before) {
      this.broken.push(`${taskId}: fence ${context.fence} in ${state} after ${before}`);
    }
    this.fences.set(taskId, context.fence);
  }
}
