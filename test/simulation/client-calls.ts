/** What the clients of a world ask of a controller. */
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import type { Controller, TaskPage } from "../../src/controller/controller.ts";
import type { PlannedOp } from "./plan.ts";

const waitMs = 1_200;
const manyOf = 6;

export interface Shown {
  readonly status: TaskStatus;
  readonly revision: bigint;
}

/** The task, and two others. */
export function manyIds(taskId: string): string[] {
  const nth = Number(taskId.slice(1));
  return [taskId, `t${(nth + 1) % manyOf}`, `t${(nth + 2) % manyOf}`];
}

/** Page by page. */
export async function listAll(controller: Controller): Promise<TaskPage["tasks"]> {
  const tasks: Array<TaskPage["tasks"][number]> = [];
  for (let pageToken = ""; ; ) {
    const page = await controller.queryTasks({ pageSize: 2, pageToken });
    tasks.push(...page.tasks);
    pageToken = page.nextPageToken;
    if (pageToken === "") return tasks;
  }
}

export async function use(controller: Controller, kind: PlannedOp["kind"], taskId: string): Promise<Shown | undefined> {
  if (kind === "cancel") return controller.cancelTask(taskId, { reason: "not wanted" });
  if (kind === "wait") return controller.waitTask(taskId, { timeoutMs: waitMs });
  if (kind === "get") return controller.readTask(taskId);
  await controller.deleteTask(taskId);
  return undefined;
}
