import { logKeySeq, logPrefix, parseTrashKey, trashKey } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import { commit, untilDone } from "./commit.ts";
import type { Core } from "./core.ts";

const pageChunks = 128;

/** What says that all log entries of the task, as it is, are to be removed; for the commit that does away with them. */
export function trashChange(core: Core, taskId: string, task: Task): Extract<Change, { type: "index" }> {
  const { generation, logLastSeq } = task.record;
  return { type: "index", key: trashKey(core.name, taskId, generation, logLastSeq), value: new Uint8Array(0) };
}

/** Removes the log chunks of deleted tasks and of runs whose log was cleared, in bounded steps; a stored entry for each says what is left to do. */
export class Trash {
  readonly #core: Core;
  readonly #under: Set<Promise<void>> = new Set();

  constructor(core: Core) {
    this.#core = core;
  }

  /** Begins to remove what the entry `key` names. */
  empty(key: string): void {
    const emptying = this.#empty(key)
      .catch((error: unknown) => {
        if (!this.#core.closing.aborted)
          this.#core.log.warn({ err: error, key }, "old log entries are left to the next opening");
      })
      .finally(() => this.#under.delete(emptying));
    this.#under.add(emptying);
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#under);
  }

  async #empty(key: string): Promise<void> {
    const { taskId, generation, upToSeq } = parseTrashKey(key);
    const prefix = logPrefix(this.#core.name, taskId, generation);
    while (!this.#core.closing.aborted) {
      const page = await untilDone(this.#core, () => this.#core.store.scan({ prefix, limit: pageChunks }));
      const gone = page.filter((chunk) => logKeySeq(chunk.key) <= upToSeq);
      const changes: Change[] = gone.map((chunk) => ({ type: "unindex", key: chunk.key }));
      const isLast = gone.length < pageChunks;
      if (isLast) changes.push({ type: "unindex", key });
      await commit(this.#core, changes, [], "until-done");
      if (isLast) return;
    }
  }
}
