import type { LogEntry, TaskState, TaskStatus } from "#gen/core/v1/core_pb.js";
import type { JsonObject } from "./task-runner.ts";

/** A named group of tasks with one runner. Failures are ControllerErrors. */
export interface Controller {
  readonly name: string;

  /**
   * Launches a task; see LaunchOptions for what happens when the id is there
   * already. Resolved: the launch is on disk. Rejects with INVALID_ARGUMENT, ABORTED,
   * ALREADY_EXISTS, DATA_LOSS, RESOURCE_EXHAUSTED, UNAVAILABLE.
   */
  launchTask(taskId: string, options?: LaunchOptions): Promise<LaunchedTask>;

  /**
   * Launches many tasks, side by side; those of the same task id in their order. Resolves to one result for each
   * launch, in order: each is done or refused for itself. Once the signal is aborted no more are
   * begun, and what is not done is rejected with its reason; one that is under way may be done still.
   */
  launchTasks(
    launches: readonly TaskLaunch[],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<PromiseSettledResult<LaunchedRun>[]>;

  /** Stores that the task is to be canceled, then fires its runner's signal. Nothing changes when the task has ended. Rejects with NOT_FOUND, ABORTED, FAILED_PRECONDITION, DATA_LOSS, UNAVAILABLE. */
  cancelTask(taskId: string, options?: CancelOptions): Promise<CanceledTask>;

  /** The ids of all tasks, in byte order. */
  listTasks(): Promise<string[]>;

  /** One page of tasks. Rejects with INVALID_ARGUMENT for a page token that is not one of this query. */
  queryTasks(options?: QueryOptions): Promise<TaskPage>;

  /** The status of a task, with its newest log entries. Rejects with NOT_FOUND, DATA_LOSS. */
  taskStatus(taskId: string, options?: ReadOptions): Promise<TaskStatus>;

  /** The same with its revision. */
  readTask(taskId: string, options?: ReadOptions): Promise<TaskSnapshot>;

  /**
   * One page of the log entries of a task, oldest first. Rejects with NOT_FOUND, DATA_LOSS, and INVALID_ARGUMENT for
   * a page token that is not one of these pages.
   */
  taskLogs(taskId: string, options?: LogsOptions): Promise<LogPage>;

  /**
   * The task's status as it is (or a bookmark, when nothing is newer than
   * sinceRevision), then each transition in order, once, with the newest progress in between;
   * ends after the first end state. Holds nothing but a position: a slow reader skips progress, never a transition.
   */
  watchTask(taskId: string, options?: WatchTaskOptions): AsyncIterable<TaskChange>;

  /**
   * The tasks that there are (the snapshot), a bookmark that ends it, then every change, once and ordered by
   * revision. Ends only with its signal, the controller, or an error: OUT_OF_RANGE for a revision that lies ahead or whose history
   * is gone, UNAVAILABLE, RESOURCE_EXHAUSTED. Holds nothing but a position: a slow reader slows nobody.
   */
  watchTasks(options?: WatchTasksOptions): AsyncIterable<TasksChange>;

  /**
   * Waits for the task to end: resolves to it as it is when it has ended, or when the time that was asked for is over.
   * Rejects with NOT_FOUND, FAILED_PRECONDITION when the run of `runId` is not, or no longer, the current
   * one, DATA_LOSS, RESOURCE_EXHAUSTED, and UNAVAILABLE when the controller closes.
   */
  waitTask(taskId: string, options?: WaitOptions): Promise<WaitedTask>;

  /** Deletes a task that has ended, with all that belongs to it. Rejects with FAILED_PRECONDITION while it is active, NOT_FOUND, ABORTED. */
  deleteTask(taskId: string, options?: { ifRevision?: bigint | undefined }): Promise<void>;

  /** How many tasks are in each state; costs one read. */
  countTasks(): Promise<Map<TaskState, bigint>>;

  /** The ids of the tasks of which something was found damaged since the opening, and that were not deleted; at most 10,000. They answer DATA_LOSS. */
  quarantinedTasks(): string[];

  /** Stops the runners, whose tasks resume at the next opening, and waits for what is under way. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** When the id's run is alive: a new run in its place, a refusal, or no change. */
export type IfActive = "restart" | "fail" | "use-existing";
/** When the id's run has ended: a new run, a new run unless it Completed, no change, or a refusal. */
export type IfEnded = "relaunch" | "relaunch-unless-completed" | "use-existing" | "fail";

/** What is launched, and what happens where the id is there already. */
export interface LaunchOptions {
  /** What the runner is to work on: an object that JSON can encode. */
  readonly metadata?: JsonObject | undefined;
  /** The same as JSON text, kept byte for byte; blank is none. Not together with `metadata`. */
  readonly jsonMetadata?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Default "restart". */
  readonly ifActive?: IfActive | undefined;
  /** Default "relaunch". */
  readonly ifEnded?: IfEnded | undefined;
  /** A name for this very launch: the same again within 24 h has no further effect. */
  readonly requestId?: string | undefined;
  /** Launch only if this is the revision of the task's last change. */
  readonly ifRevision?: bigint | undefined;
  /** Who launches it. */
  readonly owner?: string | undefined;
  /** For request_id: the server made the task id, so it is no part of the payload. */
  readonly generatedTaskId?: boolean | undefined;
  /**
   * Called once, at the id's next end, after onTaskCompleted; where the launch used a run that has ended already, that
   * is the end of the next run. Lives in the process only, until then.
   */
  readonly onState?: ((state: TaskState) => void) | undefined;
  /** The same with the whole status, after onState. */
  readonly onStatus?: ((status: TaskStatus) => void) | undefined;
}

/** What a launch did: made a run, replaced one that was alive, or left the task as it was. */
export type LaunchOutcome = "launched" | "restarted" | "used-existing";

/** One launch of many. */
export interface TaskLaunch extends LaunchOptions {
  readonly taskId: string;
}

/** What a launch did. */
export interface LaunchedRun {
  readonly taskId: string;
  /** The run that was launched or used. */
  readonly runId: string;
  readonly outcome: LaunchOutcome;
  /** The revision of the task's last change. */
  readonly revision: bigint;
}

/** The same with the task's status. While a live run is being replaced, that is still that run's. */
export interface LaunchedTask extends TaskSnapshot, LaunchedRun {}

/** Which run is to be canceled, and how long the answer may wait for its end. */
export interface CancelOptions {
  readonly reason?: string | undefined;
  readonly requestedBy?: string | undefined;
  /**
   * Cancel only this run: a launch that waits for it to stop takes place all the same. With the id of that launch's run, or
   * without one, both are canceled.
   */
  readonly runId?: string | undefined;
  readonly ifRevision?: bigint | undefined;
  /** Wait so long for the end of the task, in ms; default 0. */
  readonly waitMs?: number | undefined;
  /** Stops the waiting, not the cancel. */
  readonly signal?: AbortSignal | undefined;
}

/** How far a cancel has come: stored, told to the runner, heeded by it, or over, as the task has ended. */
export type CancelStage = "requested" | "delivered" | "acknowledged" | "ended";

/** The answer to a cancel. */
export interface CanceledTask extends TaskSnapshot {
  readonly stage: CancelStage;
}

/** Which version of a task is read, and how much of its log. */
export interface ReadOptions {
  /** As it was at this revision; 0n or undefined: as it is. */
  readonly revision?: bigint | undefined;
  /** At most so many of the newest log entries, and 256 KiB; default 100. */
  readonly logLimit?: number | undefined;
  /** Leave these out of the status, which saves reading them; both are in it by default. */
  readonly without?: ReadonlyArray<"metadata" | "result"> | undefined;
}

/** A task at one moment. */
export interface TaskSnapshot {
  readonly status: TaskStatus;
  /** The revision of the task's last change. */
  readonly revision: bigint;
}

/** Which tasks: all conditions that are given must hold. */
export interface TaskFilter {
  readonly states?: readonly TaskState[] | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly idPrefix?: string | undefined;
}

/** Which tasks a list has, in which order, and what of each. */
export interface QueryOptions extends TaskFilter {
  /** Default 100, at most 1,000. */
  readonly pageSize?: number | undefined;
  /** `nextPageToken` of the page before, with the same filters and order. */
  readonly pageToken?: string | undefined;
  /** Default "id". */
  readonly order?: "id" | "newest" | undefined;
  /** Fold these into the statuses; they are left out otherwise. */
  readonly include?: { readonly metadata?: boolean; readonly result?: boolean; readonly logs?: boolean } | undefined;
}

/** One page of a list. It may be short, or empty, and not the last. */
export interface TaskPage {
  readonly tasks: ReadonlyArray<TaskSnapshot & { readonly taskId: string }>;
  /** Empty on the last page. */
  readonly nextPageToken: string;
  /** Set when filtered by states only, or not at all. */
  readonly totalSize: bigint | undefined;
  /** The store's revision when the first page was made. */
  readonly revision: bigint;
}

/** Which entries of a log, from where on. */
export interface LogsOptions {
  /** Default 100, at most 1,000. */
  readonly pageSize?: number | undefined;
  /** `nextPageToken` of the page before, of the same task and with the same minLevel. */
  readonly pageToken?: string | undefined;
  /** Only entries of at least this level (slog's numbers). */
  readonly minLevel?: number | undefined;
  /** Only entries after this seq. Not looked at with a page token. */
  readonly afterSeq?: bigint | undefined;
}

/** One page of a log, oldest first. */
export interface LogPage {
  /** May be fewer than asked for, or none, on any page. */
  readonly entries: readonly LogEntry[];
  /** Empty on the last page. */
  readonly nextPageToken: string;
}

/** Where a watch begins, what it has, and what ends it. */
export interface WatchTaskOptions {
  /** Only what came after; 0n or undefined: begin with the status as it is. */
  readonly sinceRevision?: bigint | undefined;
  readonly includeLogs?: boolean | undefined;
  readonly waitForLaunch?: boolean | undefined;
  /** Watch only this run. */
  readonly runId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * A change that many watchers of a task are sent may be the same object to all of them, made once; so none of them
   * must change it. Default false: each has one of its own.
   */
  readonly shareChanges?: boolean | undefined;
}

/** What a watch yields: the task after a change, log entries that were added, or only how far the watch has come (a bookmark). */
export interface TaskChange {
  readonly revision: bigint;
  /** Without logs; undefined in a bookmark. */
  readonly status: TaskStatus | undefined;
  readonly logs: readonly LogEntry[];
}

/** Which tasks a watch shows, and from when. All filters must match. */
export interface WatchTasksOptions extends TaskFilter {
  /** Only what came after, without a snapshot; 0n or undefined: begin with the snapshot. */
  readonly sinceRevision?: bigint | undefined;
  /** Begin with the next change. */
  readonly skipSnapshot?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A task of the snapshot, a change, or a bookmark. */
export interface TasksChange {
  /** Empty in a bookmark, as is `taskId`. */
  readonly controller: string;
  readonly taskId: string;
  /** Of the task's change; in a bookmark, up to which everything was sent. */
  readonly revision: bigint;
  /** Without metadata, result and logs, and without waitingFor, which is of now; undefined where the task was deleted, and in a bookmark. */
  readonly status: TaskStatus | undefined;
  readonly deleted: boolean;
  /** It matched before, and does no longer. */
  readonly left: boolean;
  readonly bookmark: boolean;
}

/** What is waited for, and how long. */
export interface WaitOptions {
  /** Wait so long for the end, in ms; undefined: as long as it takes. */
  readonly timeoutMs?: number | undefined;
  /** Wait for this run only. */
  readonly runId?: string | undefined;
  /** Ends the wait: the task is answered as it is then. */
  readonly signal?: AbortSignal | undefined;
}

/** The task when the wait was over. */
export interface WaitedTask extends TaskSnapshot {
  /** The task has ended. */
  readonly done: boolean;
}
