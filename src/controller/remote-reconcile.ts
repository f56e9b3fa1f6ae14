/** What a runner says that it has when it says hello, against what the server has for it. */
import { create } from "@bufbuild/protobuf";
import { AbortReason, type HeldTask, HeldTaskSchema, TaskAbortSchema } from "#gen/stint/v1/runner_pb.js";
import type { RunnerLink } from "./remote-link.ts";
import type { RemoteRun } from "./remote-run.ts";

/** What both sides have goes on, and is answered; what one has alone is lost. `runs` are by their fences. */
export function reconcile(
  runs: ReadonlyMap<bigint, RemoteRun>,
  listed: readonly HeldTask[],
  link: RunnerLink,
): HeldTask[] {
  const phases = new Map(listed.map((held) => [held.fence, held]));
  for (const [fence, run] of [...runs]) {
    const held = phases.get(fence);
    run.reattached(held?.taskId === run.taskId ? held.phase : undefined);
  }
  return listed.flatMap(({ taskId, fence }) => {
    const run = runs.get(fence);
    if (run?.taskId === taskId) {
      return [create(HeldTaskSchema, { taskId, fence, phase: run.phase, writtenSeq: run.answeredSeq })];
    }
    link.abort(create(TaskAbortSchema, { taskId, fence, reason: AbortReason.LOST_FENCE }));
    return [];
  });
}
