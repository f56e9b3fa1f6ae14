import type { Progress, TaskError, TaskState } from "#gen/core/v1/core_pb.js";
import type { RunPhase, TaskOffer } from "#gen/stint/v1/runner_pb.js";

/** What handlers need of an offer. It goes from one thread to the other as a copy, which costs as much as all that is in it. */
export interface OfferedTask {
  readonly taskId: string;
  readonly runId: string;
  readonly phase: RunPhase;
  readonly attempt: number;
  readonly fence: bigint;
  readonly state: TaskState;
  readonly metadata: string;
  readonly progress: Progress | undefined;
  readonly error: TaskError | undefined;
}

export function offeredTask({ taskId, runId, phase, attempt, fence, status }: TaskOffer): OfferedTask {
  const { state = 0, metadata = "", progress, error } = status ?? {};
  return { taskId, runId, phase, attempt, fence, state, metadata, progress, error };
}
