/**
 * What remote runners said under fences that are void, as their tasks show it: a count, and a log entry for the
 * first hundred.
 *
 * 1. The count and the entry are in one commit, at most one a second a task, which has all that was refused until then.
 * 2. It changes nothing else of the task, whatever its state; a task that is not there gets nothing.
 * 3. What waits is bounded in tasks: while there are too many the next has to wait for room.
 */
import { sleep } from "../clock.ts";
import { apply, type TaskEvent } from "../task/apply.ts";
import { checkTaskId } from "../task/ids.ts";
import { cutText } from "../task/limits.ts";
import type { Task } from "../task/task.ts";
import type { Actors } from "./actors.ts";
import { appendLogs } from "./append-logs.ts";
import { isConflict } from "./commit.ts";
import type { Core } from "./core.ts";
import type { RefusedMessage } from "./remote-holder.ts";
import { describeSaid } from "./remote-words.ts";
import { createLogEntry } from "./run-writes.ts";
import type { TaskActor } from "./task-actor.ts";

/** The writes of one task that wait for a commit. */
interface Gathered {
  count: number;
  /** The last of them, for people. */
  text: string;
}

const everyMs = 1_000;
const tasksMax = 1_024;
const entriesMax = 100n;
const textMaxBytes = 1_024;
/** slog's WARN. */
const warnLevel = 4;

export class RejectedWrites {
  readonly #core: Core;
  readonly #actors: Actors;
  /** Of each task of which something waits or is being written. */
  readonly #gathered = new Map<string, Gathered>();
  /** Those whose task found no room, oldest first. */
  readonly #whenRoom: Array<() => void> = [];

  constructor(core: Core, actors: Actors) {
    this.#core = core;
    this.#actors = actors;
  }

  /** Counts a write that was refused. The promise is open while there is no room for another task's; it never rejects. */
  note(refused: RefusedMessage, runner: string): Promise<void> | undefined {
    const { taskId } = refused;
    if (this.#core.closing.aborted || checkTaskId(taskId) !== undefined) return undefined;
    const gathered = this.#gathered.get(taskId);
    if (gathered === undefined && this.#gathered.size >= tasksMax) {
      return new Promise<void>((resolve) =>
        this.#whenRoom.push(() => {
          void this.note(refused, runner);
          resolve();
        }),
      );
    }
    const text = textOf(refused, runner);
    if (gathered !== undefined) {
      gathered.count += 1;
      gathered.text = text;
      return undefined;
    }
    const first = { count: 1, text };
    this.#gathered.set(taskId, first);
    // The actor is held from now on, so that a controller that closes waits for the commit.
    void this.#actors.use(taskId, (actor) => this.#writeAll(actor, first));
    return undefined;
  }

  async #writeAll(actor: TaskActor, gathered: Gathered): Promise<void> {
    const { clock, closing, log } = this.#core;
    const { taskId } = actor;
    try {
      while (gathered.count > 0) {
        await sleep(clock, everyMs, closing);
        const taken = { ...gathered };
        gathered.count = 0;
        await actor.serialize(() => this.#write(actor, taken));
      }
    } catch (error) {
      log.warn({ err: error, taskId }, "writes of a runner that were refused could not be counted");
    }
    this.#gathered.delete(taskId);
    // As many as there is room for: several that wait may be of one task. Where the controller closes they are let go.
    while (closing.aborted || this.#gathered.size < tasksMax) {
      const placeOldest = this.#whenRoom.shift();
      if (placeOldest === undefined) return;
      placeOldest();
    }
  }

  async #write(actor: TaskActor, gathered: Gathered): Promise<void> {
    for (;;) {
      const { task } = await actor.load("until-done");
      if (task === undefined) return;
      const appended =
        task.status.rejectedWrites < entriesMax ? await this.#entry(actor.taskId, task, gathered) : undefined;
      const event: TaskEvent = { type: "reject-writes", count: gathered.count, log: appended?.counts };
      const outcome = apply(task, event, this.#core.clock.wall(), this.#core.limits);
      if (outcome.kind === "rejected") return;
      try {
        await actor.write(outcome.task, { waits: actor.waits, extra: appended?.changes ?? [], mode: "until-done" });
        return;
      } catch (error) {
        // Somebody else wrote the task: counted on what it is then.
        if (!isConflict(error)) throw error;
      }
    }
  }

  #entry(taskId: string, task: Task, { count, text }: Gathered): ReturnType<typeof appendLogs> {
    const msg = count === 1 ? text : `${text} (and ${count - 1} more before it)`;
    return appendLogs(this.#core, taskId, task, [createLogEntry(warnLevel, msg, this.#core.clock.wall())]);
  }
}

function textOf({ fence, attempt, said }: RefusedMessage, runner: string): string {
  const of = attempt === 0 ? "" : `, attempt ${attempt}`;
  const what = said === undefined ? "" : describeSaid(said);
  return cutText(
    `refused of runner ${runner} (fence ${fence}${of}), which has the task no more: ${what}`,
    textMaxBytes,
  );
}
