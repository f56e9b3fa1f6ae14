/** The runner of a simulated task: does what the task's metadata says, and tells the ledger what it was told. */
import { sleep } from "../../src/clock.ts";
import type { ActiveTask, TaskContext, TaskRunner } from "../../src/controller/task-runner.ts";
import { type Ledger, stepOf } from "./ledger.ts";
import type { PlannedWork } from "./plan.ts";
import type { SimNode } from "./sim.ts";

/** What a launch has as its metadata. */
export type Work = PlannedWork & {
  /** The number of the launch. */
  readonly op: number;
};

/** When it is done it says one thing more, so much later. */
const lateMs = 8;
const lateStep = 1_000;
/** How long the runner takes to hear of an end. */
const completedMs = 40;

/** `isRemote`: what is begun may be late, so that it is judged by what it gets written. `prepares`: it has a pending phase. */
export function createWorker(
  ledger: Ledger,
  node: SimNode,
  { isRemote, prepares }: { isRemote: boolean; prepares: boolean },
): TaskRunner {
  const onTaskPending: TaskRunner["onTaskPending"] = async (task, context) => {
    if (!isRemote) ledger.begins(task.taskId, context, "Pending", node);
    try {
      if (context.attempt % 2 === 0) await sleep(node.foreign, 10, context.signal);
      context.signal.throwIfAborted();
    } finally {
      ledger.ends(task.taskId, context, node);
    }
  };
  return {
    ...(prepares ? { onTaskPending } : {}),
    onTaskRunning: async (task, context) => {
      if (!isRemote) ledger.begins(task.taskId, context, "Running", node);
      try {
        return await run(ledger, node, task, context);
      } finally {
        ledger.ends(task.taskId, context, node);
        void sayLate(node, task, context);
      }
    },
    onTaskCompleted: async (task, state, context) => {
      await sleep(node.foreign, completedMs);
      ledger.told(task.taskId, context, state);
    },
  };
}

/** Runners go on to say something when they are done, and do not look whether it is written. It may be as long as the end is not. */
async function sayLate(node: SimNode, task: ActiveTask, context: TaskContext): Promise<void> {
  await sleep(node.foreign, lateMs);
  const message = stepOf(context, lateStep);
  void task.setProgress({ current: lateStep, message });
}

async function run(ledger: Ledger, node: SimNode, task: ActiveTask, context: TaskContext): Promise<{ op: number }> {
  const { steps, stepMs, fails, deafMs, op } = (await task.loadTaskMetadata()) as unknown as Work;
  const { signal } = context;
  const kept = Number((await task.getProgress())?.current ?? 0n);
  for (let step = kept + 1; step <= steps; step += 1) {
    const said = stepOf(context, step);
    await Promise.all([
      task.addLogEntry("info", said).then(() => ledger.logWritten(said)),
      task
        .setProgress({ current: step, total: steps, message: said })
        .then(() => ledger.progressWritten(task.taskId, context, step)),
    ]);
    await sleep(node.foreign, stepMs, signal);
    if (!signal.aborted) continue;
    await sleep(node.foreign, deafMs);
    throw signal.reason;
  }
  if (fails) throw new Error("as it was told to");
  return { op };
}
