import type { Log } from "../log.ts";

const taskIdsMax = 10_000;

/**
 * The tasks of which something was found damaged: each is said once in the log and counted, and left as it is until
 * somebody deletes it. In memory only, as what is damaged shows itself again to whoever reads it.
 */
export class Quarantine {
  readonly #log: Log;
  readonly #taskIds = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** At most 10,000. */
  get taskIds(): string[] {
    return [...this.#taskIds];
  }

  note(taskId: string, error: unknown): void {
    if (this.#taskIds.has(taskId) || this.#taskIds.size >= taskIdsMax) return;
    this.#taskIds.add(taskId);
    this.#log.error({ err: error, taskId }, "a task is damaged; it is kept as it is until it is deleted");
  }

  /** The task was deleted. */
  release(taskId: string): void {
    this.#taskIds.delete(taskId);
  }
}
