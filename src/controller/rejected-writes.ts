/**
 * What remote runners said under fences that are void, as their tasks show it: a count, and a log entry for the
 * first hundred.
 *
 * 1. The count and the entry are in one commit, at most one a second a task, which has all that was refused until then.
 * 2. It changes nothing else of the task, whatever its state; a task that is not there gets nothing.
 * 3. What waits is bounded in tasks: while there are too many the next has to wait for room.
 */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { LogEntrySchema } from "#gen/core/v1/core_pb.js";
import { sleep } from "../clock.ts";
import { StoreError } from "../store/store.ts";
import { apply, type TaskEvent } from "../task/apply.ts";
import { checkTaskId } from "../task/ids.ts";
import { cutText } from "../task/limits.ts";
import type { Task } from "../task/task.ts";
import type { Actors } from "./actors.ts";
import { appendLogs } from "./append-logs.ts";
import type { Core } from "./core.ts";
import type { RefusedMessage } from "./remote-holder.ts";
import { describeSaid } from "./remote-words.ts";
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
  /** Those whose task found no room. */
  readonly #whenRoom: Array<() => void> = [];

  constructor(core: Core, actors: Actors) {
    this.#core = core;
    this.#actors = actors;
  }

  /** Counts a write that was refused. The promise is open while there is no room for another task's; it never rejects. */
  note(refused: RefusedMessage, runner: string): Promise<void> | undefined {
    const { taskId } = refused;
    if (this.#core.closing.aborted || checkTaskId(taskId) !== undefined) return undefined;
    const text = textOf(refused, runner);
    const gathered = this.#gathered.get(taskId);
    if (gathered !== undefined) {
      gathered.count += 1;
      gathered.text = text;
      return undefined;
    }
    if (this.#gathered.size >= tasksMax) {
      return new Promise<void>((resolve) => this.#whenRoom.push(resolve)).then(() => this.note(refused, runner));
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
    // All look again: several may wait with the same task, or the controller closes.
    for (const lookAgain of this.#whenRoom.splice(0)) lookAgain();
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
        if (!(error instanceof StoreError) || error.code !== "CONFLICT") throw error;
      }
    }
  }

  #entry(taskId: string, task: Task, { count, text }: Gathered): ReturnType<typeof appendLogs> {
    const msg = count === 1 ? text : `${text} (and ${count - 1} more before it)`;
    const timestamp = timestampFromMs(this.#core.clock.wall());
    return appendLogs(this.#core, taskId, task, [create(LogEntrySchema, { msg, level: warnLevel, timestamp })]);
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
