/**
 * Ends that were kept because nobody was there to be told: they are told when somebody is. They are found in the store, page
 * by page, and told a few at one time.
 */
import { forEachConcurrently } from "../async/for-each-concurrently.ts";
import { deliveryKey, listedTaskId, listPrefix } from "../store/keys.ts";
import { type Entry, getMarked } from "../store/store.ts";
import { isEnded } from "../task/state.ts";
import type { Task } from "../task/task.ts";
import { once, untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Parts } from "./parts.ts";
import { deliverAgain } from "./resume.ts";
import type { TaskActor } from "./task-actor.ts";

const pageSize = 256;
const atOnce = 64;

export class KeptEnds {
  readonly #parts: Parts;
  #isTelling = false;
  #isWanted = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Somebody is there to be told. */
  tell(): void {
    this.#isWanted = true;
    if (this.#isTelling) return;
    this.#isTelling = true;
    void this.#tellWanted();
  }

  async #tellWanted(): Promise<void> {
    const { core } = this.#parts;
    try {
      while (this.#isWanted && !core.closing.aborted) {
        this.#isWanted = false;
        await this.#tellAll();
      }
    } catch (error) {
      if (!core.closing.aborted)
        core.faults.note("background_errors", { err: error }, "ends that were kept could not be told");
    } finally {
      // In the same tick as the last look: a wish that came after it would be lost.
      this.#isTelling = false;
    }
  }

  async #tellAll(): Promise<void> {
    const { core } = this.#parts;
    const prefix = listPrefix("deliveries", core.name);
    let after: string | undefined;
    while (core.host.canTell && !core.closing.aborted) {
      const page = await untilDone(core, () => core.store.scan({ prefix, after, limit: pageSize }));
      await forEachConcurrently(page, atOnce, (entry) => this.#tellOne(entry));
      if (page.length < pageSize) return;
      after = page.at(-1)?.key;
    }
  }

  async #tellOne(entry: Entry): Promise<void> {
    const { core, actors } = this.#parts;
    if (!core.host.canTell || core.closing.aborted) return;
    await deliverAgain(this.#parts, entry);
    await actors.peek(listedTaskId(entry.key))?.delivery;
  }
}

/** Whether the task may have an end that was kept, and somebody is there to be told. */
export function mayTellKeptEnd({ host }: Core, { status }: Task): boolean {
  return host.kind === "remote" && host.canTell && isEnded(status.state);
}

/**
 * In the actor's turn, before the task is deleted or launched again: whether its end was kept and is being told now, as somebody
 * is there. Throws UNAVAILABLE.
 */
export async function tellsKeptEnd({ core, runs }: Parts, actor: TaskActor): Promise<boolean> {
  const { task } = actor.known ?? { task: undefined };
  if (task === undefined || !mayTellKeptEnd(core, task)) return false;
  const key = deliveryKey(core.name, actor.taskId, task.status.runId);
  const entry = await once(core, () => getMarked(core.store, key));
  if (entry === undefined) return false;
  runs.deliver(actor, { fence: 0n, seat: undefined, isKept: true, revision: entry.revision });
  return true;
}
