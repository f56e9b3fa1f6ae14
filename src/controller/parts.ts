import type { Actors } from "./actors.ts";
import type { Callbacks } from "./callbacks.ts";
import type { TaskSnapshot } from "./controller.ts";
import type { Core } from "./core.ts";
import { once } from "./commit.ts";
import { ControllerError, taskNotFound } from "./error.ts";
import { whyRetired } from "./no-host.ts";
import type { Runs } from "./runs.ts";
import type { ActorEntry } from "./task-actor.ts";
import { foldAll, foldInline, type Folding, foldStatus, isInline, loadTask } from "./task-reader.ts";
import type { Trash } from "./trash.ts";

/** The parts of an open controller, for what its calls do. */
export interface Parts {
  readonly core: Core;
  readonly actors: Actors;
  readonly callbacks: Callbacks;
  readonly runs: Runs;
  readonly trash: Trash;
}

/** Throws UNAVAILABLE where the controller closes or its store fails. */
export function checkOpen(parts: Parts): void {
  const { core } = parts;
  if (core.closing.aborted) {
    throw new ControllerError("UNAVAILABLE", `the controller "${core.name}" is closed`, {
      reason: "DRAINING",
      retryDelayMs: 1_000,
    });
  }
  if (!core.guard.healthy) {
    throw new ControllerError("UNAVAILABLE", "the store fails just now; nothing was changed, try again", {
      cause: core.guard.failure,
      reason: "STORE_UNAVAILABLE",
      retryDelayMs: 1_000,
    });
  }
}

/** Throws FAILED_PRECONDITION where the controller takes no launches. */
export function checkTakesLaunches({ core }: Parts): void {
  if (!core.isRetired) return;
  throw new ControllerError("FAILED_PRECONDITION", `${whyRetired(core.name)}; it keeps its tasks, and launches none`);
}

/** Throws ABORTED where the task has changed since `ifRevision`. */
export function checkRevision(entry: ActorEntry, ifRevision: bigint | undefined): void {
  if (ifRevision === undefined || ifRevision === entry.revision) return;
  const is = entry.task === undefined ? "there is no such task" : `it is at revision ${entry.revision}`;
  throw new ControllerError("ABORTED", `the task is not at if_revision ${ifRevision}: ${is}`, {
    reason: "CONFLICT",
    metadata: { revision: String(entry.revision) },
  });
}

/** The status of a task with what is kept apart from it, and what is computed. */
export async function snapshot(
  parts: Parts,
  taskId: string,
  entry: ActorEntry,
  folding: Folding = foldAll,
): Promise<TaskSnapshot> {
  const { core } = parts;
  let { task, revision } = entry;
  for (;;) {
    if (task === undefined) throw taskNotFound(core.name, taskId);
    const found = { task, revision };
    const isRead = folding === foldAll && isInline(task);
    const status = isRead ? foldInline(task) : await once(core, () => foldStatus(core, taskId, found, folding));
    if (status !== undefined) {
      status.waitingFor = waitingFor(parts, taskId, task);
      return { status, revision };
    }
    // A newer launch has replaced the payload: show that.
    const loaded = await once(core, () => loadTask(core, taskId));
    task = loaded?.task;
    revision = loaded?.revision ?? 0n;
  }
}

/** What a Pending task waits for; empty when it waits for nothing. */
export function waitingFor(parts: Parts, taskId: string, task: ActorEntry["task"]): string {
  if (task?.status.state !== 1 || parts.actors.peek(taskId)?.run !== undefined) return "";
  return parts.core.host.whatIsWaitedFor();
}
