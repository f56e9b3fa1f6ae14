/** Deleting a task with all that belongs to it: in one commit what can be seen of it, then its log entries. */
import { deliveryKey } from "../store/keys.ts";
import { getMarked } from "../store/store.ts";
import { checkTaskId } from "../task/ids.ts";
import { isActive, isEnded, stateName } from "../task/state.ts";
import { type Task, timestampMs } from "../task/task.ts";
import { type CommitMode, isConflict, untilDone } from "./commit.ts";
import { deleteDamaged } from "./delete-damaged.ts";
import { ControllerError, refuseBadFields, taskNotFound } from "./error.ts";
import { tellsKeptEnd } from "./kept-ends.ts";
import { checkOpen, checkRevision, type Parts } from "./parts.ts";
import { afterDelivery, endUntold, type TaskActor } from "./task-actor.ts";
import { trashChange } from "./trash.ts";

/** See Controller.deleteTask. */
export async function deleteTask(parts: Parts, taskId: string, ifRevision: bigint | undefined): Promise<void> {
  checkOpen(parts);
  refuseBadFields({ task_id: checkTaskId(taskId) });
  await parts.actors.use(taskId, (actor) => afterDelivery(actor, () => deleteTurn(parts, actor, ifRevision)));
}

async function deleteTurn(
  parts: Parts,
  actor: TaskActor,
  ifRevision: bigint | undefined,
): Promise<typeof endUntold | void> {
  checkOpen(parts);
  const { taskId } = actor;
  const entry = await loadForDeletion(parts, actor);
  if (entry === "damaged") return;
  if (entry.task === undefined) throw taskNotFound(parts.core.name, taskId);
  checkRevision(entry, ifRevision);
  if (isActive(entry.task.status.state) || actor.intent !== undefined) {
    const is = actor.intent === undefined ? stateName(entry.task.status.state) : "about to be launched again";
    throw new ControllerError(
      "FAILED_PRECONDITION",
      `task "${taskId}" is ${is}; only a task that has ended can be deleted`,
    );
  }
  if (actor.delivery !== undefined || (await tellsKeptEnd(parts, actor))) return endUntold;
  await remove(parts, actor, "once");
}

/** Which ended tasks are to be cleaned. */
export interface Due {
  /** Those that ended by then (ms since 1970). */
  readonly endedBeforeMs: number;
  /** Of those, the ones that have not changed since this revision. */
  readonly upToRevision?: bigint;
}

/** Deletes the task if it is due and its runner was told; whether it did. */
export function cleanTask(parts: Parts, taskId: string, when: Due): Promise<boolean> {
  return parts.actors.use(taskId, (actor) =>
    actor.serialize(async () => {
      const { task, revision } = await actor.load("until-done");
      if (task === undefined || !isEnded(task.status.state) || actor.intent !== undefined) return false;
      // A status that a program put into the store itself may lack the time of its end.
      const { endTime, transitions } = task.status;
      if (timestampMs(endTime ?? transitions.at(-1)?.timestamp) > when.endedBeforeMs) return false;
      if (when.upToRevision !== undefined && revision > when.upToRevision) return false;
      const { core } = parts;
      const key = deliveryKey(core.name, taskId, task.status.runId);
      if (actor.delivery !== undefined) return false;
      const untold = await untilDone(core, () => getMarked(core.store, key));
      return untold === undefined && remove(parts, actor, "until-done");
    }),
  );
}

async function remove(parts: Parts, actor: TaskActor, mode: CommitMode): Promise<boolean> {
  const { core, trash, runs } = parts;
  const { task } = await actor.load(mode);
  if (task === undefined) return false;
  const left = task.status.logCount > 0n ? trashChange(core, actor.taskId, task) : undefined;
  const extra = runs.deliveries.changesInPlace(actor.taskId, task.status);
  if (left !== undefined) extra.push(left);
  try {
    await actor.write(undefined, { waits: false, extra, mode });
  } catch (error) {
    if (!isConflict(error)) throw error;
    throw new ControllerError("ABORTED", `task "${actor.taskId}" changed while it was being deleted`, {
      reason: "CONFLICT",
    });
  }
  core.quarantine.release(actor.taskId);
  if (left !== undefined) trash.empty(left.key);
  return true;
}

/** A damaged record is deleted blindly: its revision is no longer looked at. */
async function loadForDeletion(
  parts: Parts,
  actor: TaskActor,
): Promise<"damaged" | { task: Task | undefined; revision: bigint }> {
  try {
    return await actor.load("once");
  } catch (error) {
    if (!(error instanceof ControllerError) || error.code !== "DATA_LOSS") throw error;
    await deleteDamaged(parts, actor);
    return "damaged";
  }
}
