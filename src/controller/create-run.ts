import type { Change } from "../store/store.ts";
import { type Launch, relaunch } from "../task/relaunch.ts";
import { nextTask, type Task } from "../task/task.ts";
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

/** The new run that a launch makes of a task, or of nothing. Waits only where it has a log entry, and then while the store fails. */
export function createRun(
  core: Core,
  taskId: string,
  before: Task | undefined,
  launch: Launch,
): CreatedRun | Promise<CreatedRun> {
  const { task, logEntry, clearsLogs } = relaunch(before, launch, core.clock.wall(), core.limits);
  const trash = clearsLogs && before !== undefined ? trashChange(core, taskId, before) : undefined;
  const changes = trash === undefined ? [] : [trash];
  if (logEntry === undefined) return { task, changes, trash };
  return appendLogEntry(core, taskId, task, logEntry).then((appended) => {
    const next = nextTask(appended.task);
    // The launch is what this version is; the entry comes with it.
    next.record.isTransition = true;
    return { task: next, changes: [...appended.changes, ...changes], trash };
  });
}
