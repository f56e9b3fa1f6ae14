/**
 * Tells the runner of each end, and then whoever launched the task.
 *
 * 1. It is told after the end is on disk. The commit of the end has an entry that says "not told yet"; it
 *    is removed after onTaskCompleted has returned, thrown, or taken 30 s. So it is told at least once, over crashes too.
 *    One that stopped because the controller closes was not told, and neither was one that went on longer than that.
 * 2. Until then the task is neither cleaned, deleted nor launched again (TaskActor.delivery); watchers do not wait.
 * 3. Where nobody is there to be told, an end is kept to be told, if its run was offered to somebody before, until the task is deleted
 *    or launched again: there is nobody to wait for.
 */
import { deliveryKey } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import type { Callbacks, EndCallbacks } from "./callbacks.ts";
import { commit, untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import type { EndToTell, Seat } from "./host.ts";
import { createEndedTask } from "./hosted-task.ts";
import { foldAll, foldStatus } from "./task-reader.ts";

const noBytes = new Uint8Array(0);

/** An end that is on disk. */
export interface End extends Pick<EndToTell, "fence" | "seat"> {
  /** Its commit says that it is to be told. */
  readonly isKept: boolean;
  /** The revision of that commit; undefined: the task's, as it is the end that was just made. */
  readonly revision?: bigint;
}

/** The task at its end, and the revision of that. */
export interface EndedTask extends Omit<End, "revision"> {
  readonly task: Task;
  readonly revision: bigint;
  readonly endRevision: bigint;
}

export class Deliveries {
  readonly #core: Core;
  readonly #callbacks: Callbacks;

  constructor(core: Core, callbacks: Callbacks) {
    this.#core = core;
    this.#callbacks = callbacks;
  }

  /** What belongs to the commit of an end; nothing where it is not to be told. */
  changesAtEnd(taskId: string, end: { runId: string; attempt: number; seat?: Seat | undefined }): Change[] {
    if (!this.#core.host.keepsEnd({ attempt: end.attempt, seat: end.seat })) return [];
    return [{ type: "index", key: deliveryKey(this.#core.name, taskId, end.runId), value: noBytes }];
  }

  /** What belongs to the commit that deletes a task, or gives its id a new run: what nobody is there to be told is dropped. */
  changesInPlace(taskId: string, { runId }: { runId: string }): Change[] {
    if (this.#core.host.kind === "local") return [];
    return [{ type: "unindex", key: deliveryKey(this.#core.name, taskId, runId) }];
  }

  /** Tells of the end of `task`, which is on disk. Never rejects. */
  async deliver(taskId: string, ended: EndedTask): Promise<void> {
    if (this.#core.lifetime.isOver) return;
    // Taken now: callbacks that come in while the runner is told are for the next end.
    const callbacks = this.#callbacks.take(taskId);
    try {
      if (ended.isKept && !(await this.#tell(taskId, ended)) && this.#core.closing.aborted) return;
      await this.#callBack(taskId, ended, callbacks);
    } catch (error) {
      // Only a controller that closes while the store fails comes here: the next opening tells again.
      this.#core.faults.note(
        "background_errors",
        { err: error, taskId },
        "that the runner was told of an end could not be recorded",
      );
    }
  }

  /** Whether the runner was told. */
  async #tell(taskId: string, ended: EndedTask): Promise<boolean> {
    const { host, name } = this.#core;
    const { status } = ended.task;
    const { fence, endRevision, seat } = ended;
    const task = createEndedTask(this.#core, taskId, ended);
    if ((await host.tellEnd({ task, status, fence, endRevision, seat })) === "kept") return false;
    const change: Change = { type: "unindex", key: deliveryKey(name, taskId, status.runId) };
    await commit(this.#core, [change], [], "until-done");
    return true;
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
