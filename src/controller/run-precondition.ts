/** The run_id of a call: the run that must be the current one, or is about to be. */
import { ControllerError } from "./error.ts";
import type { Parts } from "./parts.ts";

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
 * meanwhile: who launched it was given its id, and may ask for it at once. Looked at in the task's turn, where nothing is between the two.
 */
export function isRunToCome(parts: Parts, taskId: string, runId: string): Promise<boolean> {
  return parts.actors.use(taskId, (actor) =>
    actor.serialize(async () => {
      const { task } = await actor.load("once");
      return actor.intent?.runId === runId || task?.status.runId === runId;
    }),
  );
}
