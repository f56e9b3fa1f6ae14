/** WaitTask: the task as it is when it has ended, or when the wait is over. */
import { checkRequestId, checkTaskId } from "../task/ids.ts";
import { isEnded } from "../task/state.ts";
import { once } from "./commit.ts";
import type { WaitedTask, WaitOptions } from "./controller.ts";
import { refuseBadFields, taskNotFound } from "./error.ts";
import { checkOpen, type Parts, snapshot } from "./parts.ts";
import { isRunToCome, notTheRun } from "./run-precondition.ts";
import { type LoadedTask, loadTask } from "./task-reader.ts";
import { waitForEnd } from "./wait-for-end.ts";

/** See Controller.waitTask. */
export async function waitTask(parts: Parts, taskId: string, options: WaitOptions): Promise<WaitedTask> {
  checkOpen(parts);
  checkOptions(parts, taskId, options);
  const { core } = parts;
  const { timeoutMs, signal } = options;
  const runId = options.runId === "" ? undefined : options.runId;
  let seen: LoadedTask | undefined;
  const isOver = async (): Promise<boolean> => {
    seen = await once(core, () => loadTask(core, taskId));
    if (seen === undefined) throw taskNotFound(core.name, taskId);
    const { status } = seen.task;
    if (runId === undefined || status.runId === runId) return isEnded(status.state);
    if (!(await isRunToCome(parts, taskId, runId))) throw notTheRun(taskId, runId, status.runId);
    return false;
  };
  if (!(await isOver()) && timeoutMs !== 0) {
    const wakeup = core.hub.enter(taskId, core.limits.watchersMax);
    await waitForEnd(parts, wakeup, isOver, { waitMs: timeoutMs, signal });
    if (core.closing.aborted && signal?.aborted !== true) checkOpen(parts);
  }
  const shown = await snapshot(parts, taskId, { task: seen?.task, revision: seen?.revision ?? 0n });
  const isAwaited = runId === undefined || shown.status.runId === runId;
  return { ...shown, done: isAwaited && isEnded(shown.status.state) };
}

function checkOptions(parts: Parts, taskId: string, options: WaitOptions): void {
  refuseBadFields({
    task_id: checkTaskId(taskId),
    run_id: checkRequestId(options.runId ?? "", parts.core.limits.idMaxBytes),
    timeout: (options.timeoutMs ?? 0) >= 0 ? undefined : "must not be negative",
  });
}
