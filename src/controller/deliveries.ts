/**
 * Tells the runner of each end, and then whoever launched the task.
 *
 * 1. It is told after the end is on disk. The commit of the end has an entry that says "not told yet"; it
 *    is removed after onTaskCompleted has returned, thrown, or taken 30 s. So it is told at least once, over crashes too.
 *    One that stopped because the controller closes was not told, and neither was one that went on longer than that.
 * 2. Until then the task is neither cleaned, deleted nor launched again (TaskActor.delivery); watchers do not wait.
 * 3. Where there is no runner, an end of a run that was offered to one before is kept to be told, until the task is deleted
 *    or launched again: nobody is there to wait for.
 */
import { sleep } from "../clock.ts";
import { onAbort } from "../async/signals.ts";
import { deliveryKey } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import { AbortReason, isAbortThrow } from "../task/abort.ts";
import type { Task } from "../task/task.ts";
import { createActiveTask } from "./active-task.ts";
import type { Callbacks, EndCallbacks } from "./callbacks.ts";
import { commit, untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import { loggable } from "./describe-error.ts";
import { ControllerError } from "./error.ts";
import { foldAll, foldStatus, loadPayload } from "./task-reader.ts";
import type { TaskContext } from "./task-runner.ts";

/** How long onTaskCompleted may take. */
export const completedTimeoutMs = 30_000;

const noBytes = new Uint8Array(0);

/** The task at its end, and the revision of that. */
export interface EndedTask {
  readonly task: Task;
  readonly revision: bigint;
}

export class Deliveries {
  readonly #core: Core;
  readonly #callbacks: Callbacks;

  constructor(core: Core, callbacks: Callbacks) {
    this.#core = core;
    this.#callbacks = callbacks;
  }

  /** What belongs to the commit of an end. */
  changesAtEnd(taskId: string, { runId, attempt }: { runId: string; attempt: number }): Change[] {
    const { runner, tellsEnds } = this.#core;
    // A run that was never offered is in its first attempt still.
    const isToTell = runner === undefined ? attempt > 1 : tellsEnds;
    if (!isToTell) return [];
    return [{ type: "index", key: deliveryKey(this.#core.name, taskId, runId), value: noBytes }];
  }

  /** What belongs to the commit that deletes a task, or gives its id a new run: what nobody is there to be told is dropped. */
  changesInPlace(taskId: string, { runId }: { runId: string }): Change[] {
    if (this.#core.runner !== undefined) return [];
    return [{ type: "unindex", key: deliveryKey(this.#core.name, taskId, runId) }];
  }

  /** Tells of the end of `task`, which is on disk. Never rejects. */
  async deliver(taskId: string, ended: EndedTask, fence: bigint): Promise<void> {
    if (this.#core.lifetime.isOver) return;
    const { task } = ended;
    // Taken now: callbacks that come in while the runner is told are for the next end.
    const callbacks = this.#callbacks.take(taskId);
    try {
      if (this.#core.tellsEnds) {
        if (!(await this.#tellRunner(taskId, task, fence))) return;
        const change: Change = { type: "unindex", key: deliveryKey(this.#core.name, taskId, task.status.runId) };
        await commit(this.#core, [change], [], "until-done");
      }
      await this.#callBack(taskId, ended, callbacks);
    } catch (error) {
      // Only a controller that closes while the store fails comes here: the next opening tells again.
      this.#core.log.warn({ err: error, taskId }, "that the runner was told of an end could not be recorded");
    }
  }

  /** Whether the runner was told: false where it stopped because the controller closes. */
  async #tellRunner(taskId: string, task: Task, fence: bigint): Promise<boolean> {
    const core = this.#core;
    const told = new AbortController();
    const context: TaskContext = {
      signal: told.signal,
      attempt: task.status.attempt,
      runId: task.status.runId,
      fence,
    };
    const offClosing = onAbort(core.closing, () => told.abort(new AbortReason("SHUTDOWN")));
    const isDone = new AbortController();
    const active = createActiveTask(taskId, endedTaskPort(core, taskId, task), core.limits);
    const args = task.status.error === undefined ? [] : [task.status.error];
    // An async function, so that what a runner throws at once is a rejection too.
    const call = async (): Promise<unknown> =>
      core.runner?.onTaskCompleted?.(active, task.status.state, context, ...args);
    const telling = call().then(
      () => true,
      (error: unknown) => {
        if (core.closing.aborted && isAbortThrow(error, told.signal)) return false;
        core.log.warn({ err: loggable(error), taskId }, "onTaskCompleted threw");
        return true;
      },
    );
    const timeout = sleep(core.clock, completedTimeoutMs, isDone.signal).then(() => undefined);
    try {
      const isTold = await core.lifetime.within(Promise.race([telling, timeout]));
      if (isTold !== undefined) return isTold;
      told.abort(new AbortReason("TIMEOUT"));
      core.log.warn({ taskId }, `onTaskCompleted took more than ${completedTimeoutMs} ms; it counts as told`);
      return true;
    } finally {
      isDone.abort();
      offClosing();
    }
  }

  async #callBack(taskId: string, ended: EndedTask, callbacks: readonly EndCallbacks[]): Promise<void> {
    if (callbacks.length === 0) return;
    const needsWhole = callbacks.some((each) => each.onStatus !== undefined);
    const status = needsWhole
      ? await untilDone(this.#core, () => foldStatus(this.#core, taskId, ended, foldAll))
      : ended.task.status;
    this.#callbacks.call(taskId, callbacks, status ?? ended.task.status);
  }
}

/** An ended task in onTaskCompleted: it can be read, and writes nothing. */
function endedTaskPort(core: Core, taskId: string, task: Task): Parameters<typeof createActiveTask>[1] {
  const refuse = (): Promise<never> =>
    Promise.reject(
      new ControllerError(
        "FAILED_PRECONDITION",
        `the run of task "${taskId}" has ended; nothing more is written to it`,
      ),
    );
  return {
    loadMetadata: async () => {
      core.lifetime.check();
      if (task.record.metadataBytes === 0) return task.status.metadata;
      return (await untilDone(core, () => loadPayload(core, taskId, "metadata"))) ?? "";
    },
    getProgress: async () => {
      core.lifetime.check();
      return task.status.progress;
    },
    setProgress: refuse,
    addLogEntry: refuse,
  };
}
