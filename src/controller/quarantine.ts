import type { Faults } from "../faults.ts";

const taskIdsMax = 10_000;

/**
 * The tasks of which something was found damaged: each is said once in the log and counted, and left as it is until
 * somebody deletes it. In memory only, as what is damaged shows itself again to whoever reads it.
 */
export class Quarantine {
  readonly #faults: Faults;
  readonly #taskIds = new Set<string>();

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  /** At most 10,000. */
  get taskIds(): string[] {
    return [...this.#taskIds];
  }

  note(taskId: string, error: unknown): void {
    if (this.#taskIds.has(taskId) || this.#taskIds.size >= taskIdsMax) return;
    this.#taskIds.add(taskId);
    const message = "a task is damaged; it is kept as it is until it is deleted";
    this.#faults.note("tasks_quarantined", { err: error, taskId }, message);
  }

  /** The task was deleted. */
  release(taskId: string): void {
    this.#taskIds.delete(taskId);
  }
}
