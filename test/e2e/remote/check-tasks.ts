import { expect } from "vitest";
import { openStore } from "../../../src/store/open.ts";
import { checkConsistency } from "../../support/check-consistency.ts";
import { eventually } from "../../support/eventually.ts";
import type { TasksWatch } from "./tasks-watch.ts";
import { controller, type RemoteWorld } from "./world.ts";

/** What was found of tasks that all are as they must be. */
export interface CheckedTasks {
  /** Log entries of the work, each with its progress. */
  readonly entries: number;
  /** How many of them the ledger of the runners in Node has as acknowledged. */
  readonly inLedger: number;
  /** Writes under old fences, which were refused. */
  readonly refusedWrites: number;
}

const maxMs = 60_000;

/**
 * Waits for the end of the tasks, kills the server, and compares: what is on disk, what was seen on the way there, and what was
 * acknowledged. Each task has ended once, has each entry once, and nothing that was said under an old fence.
 */
export async function checkTasks(
  world: RemoteWorld,
  watch: TasksWatch,
  tasks: readonly string[],
): Promise<CheckedTasks> {
  let refusedWrites = 0;
  const fences = new Map<string, Map<number, number>>(tasks.map((taskId) => [taskId, new Map()]));
  const problems: string[] = [];
  for (const taskId of tasks) {
    const { status, refused } = await world.completed(taskId);
    refusedWrites += Number(status.rejectedWrites);
    for (const msg of refused) {
      // A server that was started again since knows the fence only as one that it never gave.
      const [, fence, attempt] = /\(fence (\d+), attempt (\d+)\)/.exec(msg) ?? [];
      if (attempt === undefined) continue;
      if (Number(attempt) >= status.attempt) problems.push(`${taskId} ended in attempt ${status.attempt}: ${msg}`);
      fences.get(taskId)?.set(Number(attempt), Number(fence));
    }
  }
  const acknowledged = new Set<string>();
  const facts = (await world.ledger()).filter((fact) => "files" in fact);
  for (const { task, attempt, fence, files } of facts) {
    // Nothing is told twice, nor to two runners.
    const what = `${task}: file ${files}`;
    if (acknowledged.has(what)) problems.push(`${what} was acknowledged twice`);
    acknowledged.add(what);
    if ((fences.get(task)?.get(attempt) ?? fence) !== fence)
      problems.push(`${task}: attempt ${attempt} has two fences`);
    fences.get(task)?.set(attempt, fence);
  }
  for (const [taskId, byAttempt] of fences) {
    const inOrder = [...byAttempt].sort(([a], [b]) => a - b).map(([, fence]) => fence);
    if (inOrder.some((fence, i) => i > 0 && fence <= (inOrder[i - 1] ?? 0))) {
      problems.push(`${taskId} has the fences ${inOrder.join()}, which do not grow`);
    }
  }
  await eventually(() => expect(tasks.filter((taskId) => !watch.hasEnded(taskId))).toEqual([]), maxMs);
  expect([...problems, ...watch.problems]).toEqual([]);
  await world.server.kill();
  await using store = await openStore(`level:${world.store}`);
  await checkConsistency(store, controller);
  return { entries: tasks.length * world.filesCount, inLedger: facts.length, refusedWrites };
}
