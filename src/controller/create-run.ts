import type { Change } from "../store/store.ts";
import { type Launch, relaunch } from "../task/relaunch.ts";
import type { Task } from "../task/task.ts";
import type { Core } from "./core.ts";
import { appendLogEntry } from "./run-writes.ts";
import { trashChange } from "./trash.ts";

/** A new run, as its first commit has it. */
export interface CreatedRun {
  readonly task: Task;
  readonly changes: readonly Change[];
  /** The log of the run before, which is among the changes; to be emptied after the commit. */
  readonly trash: ReturnType<typeof trashChange> | undefined;
}

/** The new run that a launch makes of a task, or of nothing. Waits while the store fails. */
export async function createRun(
  core: Core,
  taskId: string,
  before: Task | undefined,
  launch: Launch,
): Promise<CreatedRun> {
  const launched = relaunch(before, launch, core.clock.wall(), core.limits);
  const changes: Change[] = [];
  let { task } = launched;
  if (launched.logEntry !== undefined) {
    const appended = await appendLogEntry(core, taskId, task, launched.logEntry);
    // The launch is what this version is; the entry comes with it.
    task = { status: appended.task.status, record: { ...appended.task.record, isTransition: true } };
    changes.push(...appended.changes);
  }
  const trash = launched.clearsLogs && before !== undefined ? trashChange(core, taskId, before) : undefined;
  if (trash !== undefined) changes.push(trash);
  return { task, changes, trash };
}
