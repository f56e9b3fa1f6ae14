import type { Progress, TaskError, TaskState } from "#gen/core/v1/core_pb.js";

/** A JSON value. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };
/** A JSON object. */
export type JsonObject = { [key: string]: JsonValue };

/**
 * The code that does the work of a controller's tasks. The task stays in its
 * phase until the promise settles; a throw makes it Failed. What is thrown when
 * `context.signal` was aborted is judged by why it was aborted, see AbortReason.
 * An error with a property `taskError`, a TaskError, makes that the task's: its code, its message, its
 * details, and its reason if that is RUNNER_ERROR or EXIT_CODE.
 */
export interface TaskRunner {
  /**
   * The work is done in a process of its own. That this process dies then says nothing about the task: it is resumed each time, and
   * never given up as CRASH_LOOP.
   */
  readonly isIsolated?: boolean | undefined;
  /** Prepares the task, while it is Pending. Called again in each attempt. */
  onTaskPending?(task: ActiveTask, context: TaskContext): unknown;
  /** Does the work, while the task is Running. What it returns, if not undefined, is the result: a JSON value of at most 256 KiB. */
  onTaskRunning(task: ActiveTask, context: TaskContext): unknown;
  /**
   * Told, after it is on disk, that the run ended: at least once for each end, over
   * crashes too. `args` has the TaskError when the state is Failed. A throw, or
   * 30 s, is logged and counts as told.
   */
  onTaskCompleted?(task: ActiveTask, state: TaskState, context: TaskContext, ...args: TaskError[]): unknown;
}

/** What one execution of a phase is told about itself. */
export interface TaskContext {
  /** Aborted when the phase should stop; its reason is an AbortReason. */
  readonly signal: AbortSignal;
  /** 1 for the first execution of the run. */
  readonly attempt: number;
  readonly runId: string;
  /** Rises with each offer of the task; for systems outside that fence off stale writers. */
  readonly fence: bigint;
}

/** Validates and types a value: the part of https://standardschema.dev (version 1) that is used here; zod, valibot and others have it. */
export interface StandardSchema<T> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    validate(value: unknown): StandardResult<T> | Promise<StandardResult<T>>;
    readonly types?: { readonly input: unknown; readonly output: T } | undefined;
  };
}

/** What a schema says of a value. */
export type StandardResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: ReadonlyArray<{ readonly message: string }> };

/** A progress to set; `current` and `total` may be numbers or bigints. */
export interface ProgressInit {
  readonly current: bigint | number;
  readonly total?: bigint | number;
  readonly message?: string;
  readonly unit?: string;
}

/** slog's levels by name, or any other whole number. */
export type LogLevel = "debug" | "info" | "warn" | "error" | number;

/**
 * A task in the hands of its runner. All but `taskId` wait while the store fails, and
 * reject once the controller is closed or the run was lost.
 */
export interface ActiveTask {
  readonly taskId: string;
  /** The object the task was launched with; undefined when there is none. */
  loadTaskMetadata(): Promise<JsonObject | undefined>;
  /** The same, validated and typed; rejects with what the schema objects to. */
  loadTaskMetadata<T>(schema: StandardSchema<T>): Promise<T>;
  /** The same as it was given, byte for byte; empty when there is none. */
  loadJsonMetadata(): Promise<string>;
  /** Resolves when this progress, or a later one, is on disk. */
  setProgress(progress: ProgressInit): Promise<void>;
  /** The progress last set, in this attempt or kept from one before; undefined when none was. */
  getProgress(): Promise<Progress | undefined>;
  /** Resolves when the entry is on disk. Entries keep their order. */
  addLogEntry(level: LogLevel, msg: string): Promise<void>;
}
