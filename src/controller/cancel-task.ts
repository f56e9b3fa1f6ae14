/** CancelTask: the request is on disk before the runner's signal is fired. */
import type { TaskCancel } from "#gen/core/v1/core_pb.js";
import type { TaskEvent } from "../task/apply.ts";
import { checkRequestId, checkTaskId, checkText } from "../task/ids.ts";
import { isActive, isEnded } from "../task/state.ts";
import type { Task } from "../task/task.ts";
import type { CanceledTask, CancelOptions, CancelStage } from "./controller.ts";
import { refuseBadFields, taskNotFound } from "./error.ts";
import { checkOpen, checkRevision, type Parts, snapshot } from "./parts.ts";
import { notTheRun } from "./run-precondition.ts";
import type { TaskActor } from "./task-actor.ts";
import { loadTask } from "./task-reader.ts";
import { afterEffect, isConflict, once } from "./commit.ts";
import { waitForEnd } from "./wait-for-end.ts";

/** See Controller.cancelTask. */
export async function cancelTask(parts: Parts, taskId: string, options: CancelOptions): Promise<CanceledTask> {
  checkOpen(parts);
  checkOptions(parts, taskId, options);
  const { core, actors } = parts;
  return actors.use(taskId, async (actor) => {
    const runId = await actor.serialize(() => cancelTurn(parts, actor, options));
    return afterEffect(async () => {
      const read = () => once(core, () => loadTask(core, taskId));
      const isOver = async (): Promise<boolean> => stageOf(runId, (await read())?.task) === "ended";
      const { waitMs = 0, signal } = options;
      if (waitMs > 0) await waitForEnd(parts, core.hub.watch(taskId), isOver, { waitMs, signal });
      const loaded = await read();
      const entry = { task: loaded?.task, revision: loaded?.revision ?? 0n };
      return { ...(await snapshot(parts, taskId, entry)), stage: stageOf(runId, entry.task) };
    });
  });
}

function checkOptions(parts: Parts, taskId: string, options: CancelOptions): void {
  const { limits } = parts.core;
  refuseBadFields({
    task_id: checkTaskId(taskId),
    reason: checkText(options.reason ?? "", limits.messageMaxBytes),
    requested_by: checkText(options.requestedBy ?? "", limits.messageMaxBytes),
    run_id: checkRequestId(options.runId ?? "", limits.idMaxBytes),
    wait: (options.waitMs ?? 0) >= 0 ? undefined : "must not be negative",
  });
}

/** The run that the cancel is about. */
async function cancelTurn(parts: Parts, actor: TaskActor, options: CancelOptions): Promise<string> {
  for (;;) {
    try {
      return await cancelOnce(parts, actor, options);
    } catch (error) {
      if (!isConflict(error)) throw error;
    }
  }
}

async function cancelOnce(parts: Parts, actor: TaskActor, options: CancelOptions): Promise<string> {
  const { core, runs } = parts;
  const entry = await actor.load("once");
  const { task } = entry;
  if (task === undefined) throw taskNotFound(core.name, actor.taskId);
  checkRevision(entry, options.ifRevision);
  checkRun(actor, task, options.runId);
  const request: TaskEvent = {
    type: "request-cancel",
    requestedBy: options.requestedBy ?? "",
    reason: options.reason ?? "",
  };
  const { runId } = task.status;
  // A launch that waits for this run to stop is canceled with it, unless this run alone is meant.
  const extra = options.runId === runId ? [] : actor.intentChanges();
  if (!isActive(task.status.state)) {
    // Ended already; all there is to cancel is a launch that waits for the runner to be told of that.
    if (extra.length > 0) await actor.writeBeside(extra, { mode: "once" });
    return runId;
  }
  const { ownRun } = actor;
  if (ownRun?.seat.isTaken !== true) {
    await runs.endWithoutRun(actor, task, [request, { type: "cancel", answersCancel: true }], extra, "once");
    return runId;
  }
  if (task.status.cancel === undefined) await runs.requestCancel(actor, task, request, extra);
  else if (extra.length > 0) await actor.writeBeside(extra, { mode: "once" });
  runs.cancel(actor, ownRun);
  return runId;
}

function checkRun(actor: TaskActor, task: Task, runId: string | undefined): void {
  if (runId === undefined || runId === "" || runId === task.status.runId || runId === actor.intent?.runId) return;
  throw notTheRun(actor.taskId, runId, task.status.runId);
}

/** How far the cancel of the run is. A run that is not the current one any more has ended. */
function stageOf(runId: string, task: Task | undefined): CancelStage {
  const cancel: TaskCancel | undefined = task?.status.cancel;
  if (task?.status.runId !== runId || isEnded(task.status.state)) return "ended";
  if (cancel?.acknowledgedAt !== undefined) return "acknowledged";
  return cancel?.deliveredAt === undefined ? "requested" : "delivered";
}
