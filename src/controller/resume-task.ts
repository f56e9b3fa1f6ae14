import { Code } from "#gen/google/rpc/code_pb.js";
import type { Change } from "../store/store.ts";
import { apply, isCrashLoop, type TaskEvent } from "../task/apply.ts";
import { nextTask, type Task } from "../task/task.ts";
import { createTaskError } from "./describe-error.ts";
import type { Parts } from "./parts.ts";
import type { TaskActor } from "./task-actor.ts";

const reasons = {
  died: "resumed: the process died during the attempt before",
  stopped: "resumed: the controller was opened again",
} as const;

/** How an attempt was left. */
export interface Resuming {
  readonly how: keyof typeof reasons;
  /** It was the only suspect that ran. */
  readonly alone: boolean;
  /** What else belongs to the commit. */
  readonly extra: readonly Change[];
}

/** In the actor's turn: writes what becomes of a task whose attempt is nobody's any more (rule 2 of resume.ts). Throws as `TaskActor.write`. */
export async function resumeTask(parts: Parts, actor: TaskActor, options: Resuming): Promise<void> {
  const { core, runs } = parts;
  const { task } = await actor.load("until-done");
  if (task === undefined) return;
  const { taskId, intent } = actor;
  const { cancel, attempt } = task.status;
  let parkedAfter = 0;
  // Nobody answered the cancel: who had the run is gone.
  if (cancel !== undefined) await runs.endWithoutRun(actor, task, [{ type: "cancel" }], options.extra, "until-done");
  else if (intent !== undefined) await runs.launchIntent(actor, intent, options.extra);
  else parkedAfter = await resumeOrPark(parts, actor, task, options);
  // Once it is on disk what becomes of the task: this is gone through again where somebody else was first.
  if (options.how === "died")
    core.faults.note("runs_interrupted", { taskId, attempt }, "the process died while it ran this task");
  if (parkedAfter === 0) return;
  const message = "the process died again and again while it ran this task, which is given up";
  core.faults.note("crash_loops", { taskId, crashCount: parkedAfter }, message);
}

/** Resolves to how many deaths the task was given up after; 0 where it goes on. */
async function resumeOrPark(
  { core, runs }: Parts,
  actor: TaskActor,
  task: Task,
  { how, alone, extra }: Resuming,
): Promise<number> {
  const died = how === "died" && !core.host.isIsolated;
  const resumed = apply(task, { type: "resume", reason: reasons[how], died }, core.clock.wall(), core.limits);
  if (resumed.kind === "rejected") return 0;
  if (!isCrashLoop(resumed.task, alone)) {
    await actor.write(resumed.task, { waits: true, extra, mode: "until-done" });
    return 0;
  }
  // One transition, from the state it died in: a commit of two would show watchers only the second.
  const { crashCount } = resumed.task.status;
  const parked = nextTask(task);
  parked.status.crashCount = crashCount;
  const park: TaskEvent = { type: "error", error: crashLoop(crashCount), reason: "parked" };
  await runs.endWithoutRun(actor, parked, [park], extra, "until-done");
  return crashCount;
}

function crashLoop(crashCount: number): ReturnType<typeof createTaskError> {
  return createTaskError(
    Code.ABORTED,
    "CRASH_LOOP",
    `the process died ${crashCount} times in a row while it ran this task, without any progress; launch it again to try once more`,
  );
}
