/** The run_id of a call: the run that must be the current one, or is about to be. */
import { once } from "./commit.ts";
import { ControllerError } from "./error.ts";
import type { Parts } from "./parts.ts";
import { loadTask } from "./task-reader.ts";

/** FAILED_PRECONDITION for a run that is not the current one. */
export function notTheRun(taskId: string, runId: string, currentRunId: string): ControllerError {
  return new ControllerError(
    "FAILED_PRECONDITION",
    `run "${runId}" is not the current run of task "${taskId}", which is "${currentRunId}"`,
    { reason: "CONFLICT", metadata: { run_id: currentRunId } },
  );
}

/**
 * Whether the run is that of a launch that waits for the run before it to stop, or has become the current one
 * meanwhile: who launched it was given its id, and may ask for it at once. The launch is looked at first:
 * it is let go of only when its run is on disk.
 */
export async function isRunToCome(parts: Parts, taskId: string, runId: string): Promise<boolean> {
  if (parts.actors.peek(taskId)?.intent?.runId === runId) return true;
  const loaded = await once(parts.core, () => loadTask(parts.core, taskId));
  return loaded?.task.status.runId === runId;
}
