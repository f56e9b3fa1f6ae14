/** Every change of a task that got to disk, in order; of those that were damaged nothing is asked. */
export interface TaskMoment {
  readonly taskId: string;
  readonly revision: bigint;
  readonly isDeletion: boolean;
}

export class TaskChanges {
  readonly #all: TaskMoment[] = [];
  readonly #isRotten: (taskId: string) => boolean;

  constructor(isRotten: (taskId: string) => boolean) {
    this.#isRotten = isRotten;
  }

  push(change: TaskMoment): void {
    this.#all.push(change);
  }

  /** The revision of the last. */
  get last(): bigint {
    return this.#all.findLast(({ taskId }) => !this.#isRotten(taskId))?.revision ?? 0n;
  }

  /** The revisions of those after one and up to another. */
  between(from: bigint, upTo: bigint): bigint[] {
    const due = this.#all.filter(({ revision, taskId }) => {
      return revision > from && revision <= upTo && !this.#isRotten(taskId);
    });
    return due.map(({ revision }) => revision);
  }

  isChangedAfter(taskId: string, from: bigint): boolean {
    return this.#all.some((each) => each.taskId === taskId && each.revision > from);
  }

  isDeletedAfter(taskId: string, from: bigint): boolean {
    return this.#all.some((each) => each.isDeletion && each.taskId === taskId && each.revision > from);
  }

  /** Whether the change was one of a task that is damaged. */
  isOfRotten(revision: bigint): boolean {
    const change = this.#all.find((each) => each.revision === revision);
    return change !== undefined && this.#isRotten(change.taskId);
  }

  /** The tasks that there were at a revision, and the one of each. */
  tasksAt(upTo: bigint): Map<string, bigint> {
    const there = new Map<string, bigint>();
    for (const { taskId, revision, isDeletion } of this.#all) {
      if (revision > upTo || this.#isRotten(taskId)) continue;
      if (isDeletion) there.delete(taskId);
      else there.set(taskId, revision);
    }
    return there;
  }
}
