import { setImmediate as nextTurn } from "node:timers/promises";
import type { TaskError, TaskState } from "#gen/core/v1/core_pb.js";
import type { ActiveTask, TaskContext, TaskRunner } from "../../src/controller/task-runner.ts";

export type PhaseName = "pending" | "running" | "completed";

/** One call of the runner, in the hands of the test. */
export class Phase {
  readonly name: PhaseName;
  readonly task: ActiveTask;
  readonly context: TaskContext;
  /** Of onTaskCompleted. */
  readonly state: TaskState | undefined;
  readonly args: readonly TaskError[];
  readonly settled: Promise<unknown>;
  isSettled = false;
  /** Its process is dead: whatever it does, nobody minds. */
  isAbandoned = false;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: unknown) => void;

  constructor(name: PhaseName, call: Pick<Phase, "task" | "context" | "state" | "args">) {
    this.name = name;
    this.task = call.task;
    this.context = call.context;
    this.state = call.state;
    this.args = call.args;
    const { promise, resolve, reject } = withResolvers();
    this.settled = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  get taskId(): string {
    return this.task.taskId;
  }

  get signal(): AbortSignal {
    return this.context.signal;
  }

  /** Why the phase was told to stop. */
  get abortKind(): string | undefined {
    return (this.signal.reason as { kind?: string } | undefined)?.kind;
  }

  return(value?: unknown): void {
    this.isSettled = true;
    this.#resolve(value);
  }

  throw(error?: unknown): void {
    this.isSettled = true;
    this.#reject(error);
  }

  /** Stops because it was told to. */
  stop(): void {
    this.throw(this.signal.reason);
  }
}

/** What a phase does by itself: "hold" leaves it to the test, a function does something at once, or returns `phase.settled` to hold. */
export type PhaseScript = "hold" | ((phase: Phase) => unknown);

/** A runner whose phases are settled by the test. By default onTaskPending and onTaskCompleted return at once. */
export class ScriptedRunner implements TaskRunner {
  /** Every call, oldest first. */
  readonly phases: Phase[] = [];
  readonly scripts: Record<PhaseName, PhaseScript> = {
    pending: () => undefined,
    running: "hold",
    completed: () => undefined,
  };

  /** It has nothing to do in the pending phase: its runs start with their launches. */
  skipPending(): this {
    Object.defineProperty(this, "onTaskPending", { value: undefined });
    return this;
  }

  /** As one process has it: once that is dead, nothing begins in it any more. */
  inProcess(isDead: () => boolean): TaskRunner {
    const { onTaskPending } = this as TaskRunner;
    const living = (call: () => unknown): unknown => (isDead() ? new Promise(() => {}) : call());
    return {
      ...(onTaskPending && { onTaskPending: (...call) => living(() => this.onTaskPending(...call)) }),
      onTaskRunning: (...call) => living(() => this.onTaskRunning(...call)),
      onTaskCompleted: (...call) => living(() => this.onTaskCompleted(...call)),
    };
  }

  onTaskPending(task: ActiveTask, context: TaskContext): unknown {
    return this.#begin(new Phase("pending", { task, context, state: undefined, args: [] }));
  }

  onTaskRunning(task: ActiveTask, context: TaskContext): unknown {
    return this.#begin(new Phase("running", { task, context, state: undefined, args: [] }));
  }

  onTaskCompleted(task: ActiveTask, state: TaskState, context: TaskContext, ...args: TaskError[]): unknown {
    return this.#begin(new Phase("completed", { task, context, state, args }));
  }

  /** The calls of a task, as "running 2" for the second attempt in onTaskRunning. */
  calls(taskId: string): string[] {
    return this.phases
      .filter((phase) => phase.taskId === taskId)
      .map(({ name, context }) => `${name} ${context.attempt}`);
  }

  all(taskId: string, name: PhaseName): Phase[] {
    return this.phases.filter((phase) => phase.taskId === taskId && phase.name === name);
  }

  /** The newest call of a task in a phase that is not settled; waits for it as long as anything happens. */
  async phase(taskId: string, name: PhaseName = "running"): Promise<Phase> {
    for (let turns = 0; turns < 50; turns += 1) {
      const found = this.held(taskId, name);
      if (found !== undefined) return found;
      await nextTurn();
    }
    throw new Error(`task ${taskId} is not in ${name}; its calls were: ${this.calls(taskId).join(", ")}`);
  }

  /** The same, if there is one now. */
  held(taskId: string, name: PhaseName = "running"): Phase | undefined {
    return this.all(taskId, name).findLast((phase) => !phase.isSettled && !phase.isAbandoned);
  }

  /** The process dies, with all phases in it. */
  abandon(): void {
    for (const phase of this.phases) phase.isAbandoned = true;
  }

  #begin(phase: Phase): unknown {
    this.phases.push(phase);
    const script = this.scripts[phase.name];
    if (script === "hold") return phase.settled;
    phase.isSettled = true;
    const does = script(phase);
    if (does === phase.settled) phase.isSettled = false;
    return does;
  }
}

function withResolvers(): {
  promise: Promise<unknown>;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
} {
  let resolve: (value: unknown) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<unknown>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}
