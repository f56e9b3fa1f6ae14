/**
 * What remote runners said under fences that are void, as their tasks show it: a count, and what was said in log entries.
 *
 * 1. The count and the entries are in one commit, at most one a second a task, which has all that was refused until then. The first
 *    hundred entries of a run are kept.
 * 2. It changes nothing else of the task, whatever its state; a task that is not there gets nothing.
 * 3. What waits is bounded: in tasks, as the next has to wait for room while there are too many, and in text, beyond which it is counted only.
 */
import { sleep } from "../clock.ts";
import { apply } from "../task/apply.ts";
import { checkTaskId } from "../task/ids.ts";
import type { Actors } from "./actors.ts";
import { appendLogs } from "./append-logs.ts";
import { isConflict } from "./commit.ts";
import type { Core } from "./core.ts";
import { RefusedTexts } from "./refused-texts.ts";
import type { RefusedMessage } from "./remote-holder.ts";
import { createLogEntry } from "./run-writes.ts";
import type { TaskActor } from "./task-actor.ts";

/** The writes of one task that wait for a commit. */
interface Gathered {
  count: number;
  texts: RefusedTexts;
}

const everyMs = 1_000;
const tasksMax = 1_024;
const entriesMax = 100;
/** Of all tasks together; of each the first text is kept besides. */
const waitingMaxBytes = 4 * 1024 * 1024;
/** slog's WARN. */
const warnLevel = 4;

export class RejectedWrites {
  readonly #core: Core;
  readonly #actors: Actors;
  /** Of each task of which something waits or is being written. */
  readonly #gathered = new Map<string, Gathered>();
  /** Those whose task found no room, oldest first. */
  readonly #whenRoom: Array<() => void> = [];
  #waitingBytes = 0;

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
    if (gathered !== undefined) {
      this.#gather(gathered, refused, runner);
      return undefined;
    }
    const first = { count: 0, texts: this.#noTexts() };
    this.#gather(first, refused, runner);
    this.#gathered.set(taskId, first);
    // The actor is held from now on, so that a controller that closes waits for the commit.
    void this.#actors.use(taskId, (actor) => this.#writeAll(actor, first));
    return undefined;
  }

  #noTexts(): RefusedTexts {
    return new RefusedTexts(this.#core.limits.logEntryMaxBytes);
  }

  #gather(gathered: Gathered, refused: RefusedMessage, runner: string): void {
    gathered.count += 1;
    if (gathered.texts.bytes > 0 && this.#waitingBytes >= waitingMaxBytes) return;
    const before = gathered.texts.bytes;
    gathered.texts.add(refused, runner);
    this.#waitingBytes += gathered.texts.bytes - before;
  }

  async #writeAll(actor: TaskActor, gathered: Gathered): Promise<void> {
    const { clock, closing, faults } = this.#core;
    const { taskId } = actor;
    try {
      while (gathered.count > 0) {
        await sleep(clock, everyMs, closing);
        await actor.serialize(async () => {
          const taken = { ...gathered };
          gathered.count = 0;
          gathered.texts = this.#noTexts();
          this.#waitingBytes -= taken.texts.bytes;
          await this.#write(actor, taken);
        });
      }
    } catch (error) {
      faults.note(
        "background_errors",
        { err: error, taskId },
        "writes of a runner that were refused could not be counted",
      );
    }
    this.#gathered.delete(taskId);
    // As many as there is room for: several that wait may be of one task. Where the controller closes they are let go.
    while (closing.aborted || this.#gathered.size < tasksMax) {
      const placeOldest = this.#whenRoom.shift();
      if (placeOldest === undefined) return;
      placeOldest();
    }
  }

  async #write(actor: TaskActor, { count, texts }: Gathered): Promise<void> {
    const { clock, limits } = this.#core;
    for (;;) {
      const { task } = await actor.load("until-done");
      if (task === undefined) return;
      const msgs = texts.entries(entriesMax - task.record.rejectedEntries, count);
      const entries = msgs.map((msg) => createLogEntry(warnLevel, msg, clock.wall()));
      const appended = msgs.length > 0 ? await appendLogs(this.#core, actor.taskId, task, entries) : undefined;
      const outcome = apply(task, { type: "reject-writes", count, log: appended?.counts }, clock.wall(), limits);
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
}
