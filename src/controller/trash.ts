import { listPrefix, logKeySeq, logPrefix, parseTrashKey, trashKey } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import { commit, untilDone } from "./commit.ts";
import type { Core } from "./core.ts";

const pageChunks = 128;
/** How many logs are being removed at one time. */
const atOnce = 64;

/** What says that all log entries of the task, as it is, are to be removed; for the commit that does away with them. */
export function trashChange(core: Core, taskId: string, task: Task): Extract<Change, { type: "index" }> {
  const { generation, logLastSeq } = task.record;
  return { type: "index", key: trashKey(core.name, taskId, generation, logLastSeq), value: new Uint8Array(0) };
}

/**
 * Removes the log chunks of deleted tasks and of runs whose log was cleared, in bounded steps, and a bounded number of logs at one time; a
 * stored entry for each says what is left to do. Where too many come at once they are found by that, page by page.
 */
export class Trash {
  readonly #core: Core;
  readonly #under: Set<Promise<void>> = new Set();
  /** There may be entries that nobody has begun with. */
  #isBehind = false;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Begins to remove what the entry `key` names, now or when there is room for it. */
  empty(key: string): void {
    if (this.#isBehind || this.#under.size >= atOnce) this.emptyAll();
    else this.#begin(this.#empty(key), key);
  }

  /** Begins to remove what all entries name. */
  emptyAll(): void {
    this.#isBehind = true;
    this.#catchUp();
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#under);
  }

  #catchUp(): void {
    if (!this.#isBehind || this.#under.size > 0 || this.#core.closing.aborted) return;
    this.#isBehind = false;
    this.#begin(this.#emptyPage());
  }

  async #emptyPage(): Promise<void> {
    const prefix = listPrefix("trash", this.#core.name);
    const page = await untilDone(this.#core, () => this.#core.store.scan({ prefix, limit: atOnce }));
    if (page.length === atOnce) this.#isBehind = true;
    for (const { key } of page) this.#begin(this.#empty(key), key);
  }

  #begin(work: Promise<void>, key?: string): void {
    const under = work
      .catch((error: unknown) => {
        // Not looked for again: it would fail again.
        this.#isBehind = false;
        if (!this.#core.closing.aborted)
          this.#core.faults.note(
            "background_errors",
            { err: error, key },
            "old log entries are left to the next opening",
          );
      })
      .finally(() => {
        this.#under.delete(under);
        this.#catchUp();
      });
    this.#under.add(under);
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
