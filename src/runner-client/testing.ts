/**
 * A host for one task, to test a runner with, without a server and a store. Published as `stint/runner/testing`. It goes by the same
 * rules as a controller: what a handler returns or throws, and why it was told to stop, means the same here.
 */
import type { Progress, TaskError } from "#gen/core/v1/core_pb.js";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { createActiveTask } from "../controller/active-task.ts";
import { ControllerError } from "../controller/error.ts";
import { endEvent, type PhaseName, settlePhase } from "../controller/phase.ts";
import type {
  ActiveTask,
  JsonObject,
  JsonValue,
  ProgressInit,
  TaskContext,
  TaskRunner,
} from "../controller/task-runner.ts";
import { createGiveWay } from "../async/give-way.ts";
import { onAbort } from "../async/signals.ts";
import { systemClock } from "../clock.ts";
import { type AbortKind, abortTable, judge, outranks, PhaseAbort } from "../task/abort.ts";
import { copyProgress } from "../task/copy-status.ts";
import { defaultTaskLimits } from "../task/limits.ts";
import { isEnded } from "../task/state.ts";

export type { Progress, TaskError } from "#gen/core/v1/core_pb.js";
export { TaskState } from "#gen/core/v1/core_pb.js";
export type {
  ActiveTask,
  JsonObject,
  JsonValue,
  ProgressInit,
  TaskContext,
  TaskRunner,
} from "../controller/task-runner.ts";
export type { AbortKind } from "../task/abort.ts";

/** The task that a runner is tested with. */
export interface RunTaskOptions {
  /** What the task was launched with; none if not given. */
  readonly metadata?: JsonObject | undefined;
  /** The progress that is kept from an attempt before; none if not given. */
  readonly progress?: ProgressInit | undefined;
  /** Which execution of the run it is. Default 1. */
  readonly attempt?: number | undefined;
  /** Default "task". */
  readonly taskId?: string | undefined;
  /** Cancels the task when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** A log entry that a runner has added; levels are the numbers of Go's slog: -4 debug, 0 info, 4 warn, 8 error. */
export interface TestedLogEntry {
  readonly level: number;
  readonly msg: string;
}

/** What became of a task. */
export interface EndedTask {
  /** Completed, Failed or Canceled; Pending or Running where the attempt ended without that, such as by SHUTDOWN. */
  readonly state: TaskState;
  /** What the runner returned, if the task is Completed. */
  readonly result: JsonValue | undefined;
  /** Why the task is Failed. */
  readonly error: TaskError | undefined;
  /** Every progress that was set, in order. */
  readonly progress: readonly Progress[];
  /** Every log entry that was added, in order. */
  readonly logs: readonly TestedLogEntry[];
  /** What onTaskCompleted threw, which a controller only logs; undefined for nothing. */
  readonly completedError: unknown;
}

/** A task in the hands of the runner that is tested. */
export interface TaskUnderTest {
  /** What the runner has said so far. */
  readonly progress: readonly Progress[];
  readonly logs: readonly TestedLogEntry[];
  /** Resolves when the runner has let go of the task, and was told of its end. Never rejects. */
  readonly ended: Promise<EndedTask>;
  /** Has the runner stop because the task is canceled. */
  cancel(): void;
  /** Has it stop for another reason: TIMEOUT, SHUTDOWN, RESTART, LOST_FENCE. Throws a TypeError for what is no reason. */
  abort(kind: AbortKind): void;
}

/** Runs one task with the runner, from Pending to its end. Throws a TypeError where the runner is none. */
export function runTask(runner: TaskRunner, options: RunTaskOptions = {}): TaskUnderTest {
  if (typeof runner?.onTaskRunning !== "function")
    throw new TypeError("runTask: the runner must have a function onTaskRunning");
  const task = new TestedTask(runner, options);
  const offSignal = options.signal === undefined ? undefined : onAbort(options.signal, () => task.abort("CANCEL"));
  return {
    progress: task.progress,
    logs: task.logs,
    ended: task.run().finally(() => offSignal?.()),
    cancel: () => task.abort("CANCEL"),
    abort: (kind) => task.abort(kind),
  };
}

/** Of tests in JavaScript, which have no types to hold them to these. */
const kinds: ReadonlySet<string> = new Set(Object.keys(abortTable).filter((kind) => kind !== "none"));
const fence = 1n;
const runId = "run";

class TestedTask {
  readonly progress: Progress[] = [];
  readonly logs: TestedLogEntry[] = [];
  readonly #runner: TaskRunner;
  readonly #options: RunTaskOptions;
  readonly #active: ActiveTask;
  #kept: Progress | undefined;
  #abort = new PhaseAbort();
  #kind: AbortKind | undefined;
  #kindAfterTimeout: AbortKind | undefined;
  #state: TaskState = TaskState.Pending;
  #result: string | undefined;
  #error: TaskError | undefined;

  constructor(runner: TaskRunner, options: RunTaskOptions) {
    this.#runner = runner;
    this.#options = options;
    const { metadata, taskId = "task" } = options;
    const whileHeld = async <T>(step: () => T | Promise<T>): Promise<T> => {
      this.#checkHeld();
      return step();
    };
    const giveWay = createGiveWay(systemClock);
    const whileAlive = (step: () => void): Promise<void> =>
      whileHeld(() => {
        this.#checkAlive();
        step();
        // Where a controller waits for the disk: a runner that writes all the time must not keep a cancel from being called.
        return giveWay();
      });
    const port = {
      loadMetadata: () => whileHeld(() => (metadata === undefined ? "" : JSON.stringify(metadata))),
      getProgress: () => whileHeld(() => copyProgress(this.progress.at(-1) ?? this.#kept)),
      setProgress: (progress: Progress) => whileAlive(() => this.progress.push(progress)),
      addLogEntry: (level: number, msg: string) => whileAlive(() => this.logs.push({ level, msg })),
    };
    this.#active = createActiveTask(taskId, port, defaultTaskLimits);
  }

  abort(kind: AbortKind): void {
    if (!kinds.has(kind)) throw new TypeError(`abort: the kind must be one of ${[...kinds].join(", ")}`);
    if (outranks(kind, this.#kind)) this.#kind = kind;
    else if (this.#kind === "TIMEOUT" && kind !== "TIMEOUT") this.#kindAfterTimeout ??= kind;
    this.#abort.abort(kind);
  }

  async run(): Promise<EndedTask> {
    await this.#keepProgress();
    const runner = this.#runner;
    const goesOn = await this.#runPhase("pending", (context) => runner.onTaskPending?.(this.#active, context));
    if (goesOn) await this.#runPhase("running", (context) => runner.onTaskRunning(this.#active, context));
    const completedError = await this.#tell();
    return {
      state: this.#state,
      result: this.#result === undefined ? undefined : (JSON.parse(this.#result) as JsonValue),
      error: this.#error,
      progress: this.progress,
      logs: this.logs,
      completedError,
    };
  }

  /** What is kept is held to the same rules as what is set. */
  async #keepProgress(): Promise<void> {
    const { progress } = this.#options;
    if (progress === undefined) return;
    await this.#active.setProgress(progress);
    this.#kept = this.progress.pop();
  }

  /** Tells whether the next phase follows. */
  async #runPhase(phase: PhaseName, call: (context: TaskContext) => unknown): Promise<boolean> {
    const settled = await settlePhase(this.#abort, () => call(this.#context()));
    if (phase === "pending" && settled.outcome === "returned") this.#forgetTimeout();
    const verdict = judge(phase, this.#kind, settled.outcome);
    if (verdict === "start") {
      this.#state = TaskState.Running;
      return true;
    }
    if (verdict === "leave" || verdict === "discard") return false;
    const event = endEvent(verdict, { phase, timeoutMs: 0, ...settled }, defaultTaskLimits);
    if (event.type === "end") {
      this.#state = TaskState.Completed;
      this.#result = event.result;
    } else if (event.type === "error") {
      this.#state = TaskState.Failed;
      this.#error = event.error;
      // Nobody has set a time here that could be named.
      if (verdict === "fail-timeout")
        event.error.message = `the ${phase} phase took longer than it may, and was told to stop`;
    } else this.#state = TaskState.Canceled;
    return false;
  }

  /** That says nothing about the next phase. What else the task was told meanwhile holds. */
  #forgetTimeout(): void {
    if (this.#kind !== "TIMEOUT") return;
    const kind = this.#kindAfterTimeout;
    this.#kind = undefined;
    this.#abort = new PhaseAbort();
    if (kind !== undefined) this.abort(kind);
  }

  async #tell(): Promise<unknown> {
    if (!isEnded(this.#state)) return undefined;
    this.#abort = new PhaseAbort();
    const args = this.#error === undefined ? [] : [this.#error];
    const call = (): unknown => this.#runner.onTaskCompleted?.(this.#active, this.#state, this.#context(), ...args);
    const { outcome, value } = await settlePhase(this.#abort, call);
    return outcome === "returned" ? undefined : value;
  }

  #context(): TaskContext {
    return { signal: this.#abort.signal, attempt: this.#options.attempt ?? 1, runId, fence };
  }

  #checkHeld(): void {
    if (this.#kind === "LOST_FENCE")
      throw new ControllerError("FAILED_PRECONDITION", "the run was lost", { reason: "STALE_FENCE" });
  }

  #checkAlive(): void {
    if (isEnded(this.#state))
      throw new ControllerError("FAILED_PRECONDITION", "the run has ended; nothing more is written to it");
  }
}
