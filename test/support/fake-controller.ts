/** A Controller in memory for tests of the network side: tasks stay as they are put, and watches show what is put. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type TaskState, type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import type {
  CanceledTask,
  CancelOptions,
  Controller,
  LaunchedRun,
  LaunchedTask,
  LaunchOptions,
  LogPage,
  LogsOptions,
  QueryOptions,
  ReadOptions,
  TaskChange,
  TaskLaunch,
  TaskPage,
  TaskSnapshot,
  TasksChange,
  WaitedTask,
  WaitOptions,
  WatchTaskOptions,
} from "../../src/controller/controller.ts";
import { taskNotFound } from "../../src/controller/error.ts";
import { isEnded, StatePending } from "../../src/task/state.ts";

export class FakeController implements Controller {
  readonly name: string;
  /** What was asked for, newest last. */
  readonly launches: LaunchOptions[] = [];
  readonly batches: { size: number; signal: AbortSignal | undefined }[] = [];
  readonly cancels: CancelOptions[] = [];
  readonly logReads: LogsOptions[] = [];
  readonly waits: WaitOptions[] = [];
  readonly deletions: { ifRevision?: bigint | undefined }[] = [];
  readonly queries: QueryOptions[] = [];
  readonly reads: ReadOptions[] = [];
  /** How many calls have come. */
  callCount = 0;
  /** How many watches are open. */
  openWatches = 0;
  /** Thrown by every call, when set. */
  failure: Error | undefined;
  /** Every call waits for it first. */
  gate: Promise<void> = Promise.resolve();
  readonly #tasks = new Map<string, TaskSnapshot>();
  readonly #wakes = new Set<() => void>();
  #revision = 0n;

  constructor(name: string) {
    this.name = name;
  }

  /** Puts a task as it is to be; watches show it. */
  put(taskId: string, status: MessageInitShape<typeof TaskStatusSchema>): bigint {
    this.#revision += 1n;
    this.#tasks.set(taskId, { status: create(TaskStatusSchema, status), revision: this.#revision });
    for (const wake of Array.from(this.#wakes)) wake();
    return this.#revision;
  }

  quarantinedTasks(): string[] {
    return [];
  }

  async launchTask(taskId: string, options: LaunchOptions = {}): Promise<LaunchedTask> {
    await this.#begin();
    this.launches.push(options);
    const revision = this.put(taskId, {
      state: StatePending,
      runId: `run-${taskId}`,
      metadata: options.jsonMetadata ?? "",
      labels: { ...options.labels },
    });
    return { taskId, runId: `run-${taskId}`, outcome: "launched", revision, status: this.#read(taskId).status };
  }

  async launchTasks(
    launches: readonly TaskLaunch[],
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<PromiseSettledResult<LaunchedRun>[]> {
    this.batches.push({ size: launches.length, signal: options.signal });
    const aborted = new Promise<never>((_, reject) => {
      options.signal?.addEventListener("abort", () => reject(options.signal?.reason as Error));
    });
    return Promise.allSettled(
      launches.map(async ({ taskId, ...launch }) => Promise.race([this.launchTask(taskId, launch), aborted])),
    );
  }

  async cancelTask(taskId: string, options: CancelOptions = {}): Promise<CanceledTask> {
    await this.#begin();
    this.cancels.push(options);
    const snapshot = this.#read(taskId);
    await waitOut(options.waitMs ?? 0, options.signal);
    return { ...snapshot, stage: "requested" };
  }

  async taskLogs(taskId: string, options: LogsOptions = {}): Promise<LogPage> {
    await this.#begin();
    this.logReads.push(options);
    const { logs } = this.#read(taskId).status;
    return { entries: logs, nextPageToken: logs.length > 0 ? "more" : "" };
  }

  async waitTask(taskId: string, options: WaitOptions = {}): Promise<WaitedTask> {
    await this.#begin();
    this.waits.push(options);
    const snapshot = this.#read(taskId);
    const done = isEnded(snapshot.status.state);
    if (!done) await waitOut(options.timeoutMs ?? 1_000_000, options.signal);
    return { ...snapshot, done };
  }

  async listTasks(): Promise<string[]> {
    return [...this.#tasks.keys()].sort();
  }

  async queryTasks(options: QueryOptions = {}): Promise<TaskPage> {
    await this.#begin();
    this.queries.push(options);
    const tasks = [...this.#tasks].map(([taskId, snapshot]) => ({ taskId, ...snapshot }));
    return { tasks, nextPageToken: "", totalSize: BigInt(tasks.length), revision: this.#revision };
  }

  async taskStatus(taskId: string, options?: ReadOptions): Promise<TaskStatus> {
    return (await this.readTask(taskId, options)).status;
  }

  async readTask(taskId: string, options: ReadOptions = {}): Promise<TaskSnapshot> {
    await this.#begin();
    this.reads.push(options);
    return this.#read(taskId);
  }

  async *watchTasks(): AsyncGenerator<TasksChange> {}

  /** As of a controller, a watch is let go of as soon as its iterator is told to return, whatever it waits for. */
  watchTask(taskId: string, options: WatchTaskOptions = {}): AsyncIterable<TaskChange> {
    return {
      [Symbol.asyncIterator]: () => {
        const leaving = new AbortController();
        options.signal?.addEventListener("abort", () => leaving.abort(), { once: true });
        const watch = this.#watchTask(taskId, { ...options, signal: leaving.signal });
        return {
          next: () => watch.next(),
          return: () => {
            leaving.abort();
            return watch.return(undefined);
          },
        };
      },
    };
  }

  async *#watchTask(taskId: string, options: WatchTaskOptions): AsyncGenerator<TaskChange> {
    const { signal } = options;
    let wake = (): void => {};
    const onWake = (): void => wake();
    this.openWatches += 1;
    this.#wakes.add(onWake);
    // Frees itself when the signal is aborted, whether it is asked for more or not.
    let open = true;
    const free = (): void => {
      if (!open) return;
      open = false;
      this.openWatches -= 1;
      this.#wakes.delete(onWake);
      wake();
    };
    signal?.addEventListener("abort", free, { once: true });
    try {
      let sent = options.sinceRevision ?? 0n;
      if (options.waitForLaunch !== true) this.#read(taskId);
      for (;;) {
        await this.#begin();
        if (signal?.aborted) return;
        const snapshot = this.#tasks.get(taskId);
        if (snapshot !== undefined && snapshot.revision > sent) {
          sent = snapshot.revision;
          yield { revision: sent, status: snapshot.status, logs: [] };
          if (isEnded(snapshot.status.state)) return;
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      free();
      signal?.removeEventListener("abort", free);
    }
  }

  async deleteTask(taskId: string, options: { ifRevision?: bigint | undefined } = {}): Promise<void> {
    await this.#begin();
    this.deletions.push(options);
    this.#read(taskId);
    this.#tasks.delete(taskId);
  }

  async countTasks(): Promise<Map<TaskState, bigint>> {
    await this.#begin();
    const counts = new Map<TaskState, bigint>();
    for (const { status } of this.#tasks.values()) counts.set(status.state, (counts.get(status.state) ?? 0n) + 1n);
    return counts;
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  async #begin(): Promise<void> {
    this.callCount += 1;
    await this.gate;
    if (this.failure !== undefined) throw this.failure;
  }

  #read(taskId: string): TaskSnapshot {
    const snapshot = this.#tasks.get(taskId);
    if (snapshot === undefined) throw taskNotFound(this.name, taskId);
    return snapshot;
  }
}

function waitOut(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (ms === 0 || signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
