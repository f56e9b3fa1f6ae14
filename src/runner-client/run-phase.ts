/** A phase of a task in the hands of a remote runner: how the handler is called, and what of its outcome the server is told. */
import { create } from "@bufbuild/protobuf";
import {
  type PhaseEnd,
  PhaseEnd_AbortedSchema,
  PhaseEnd_DoneSchema,
  PhaseEnd_FailedSchema,
  PhaseEnd_ReleasedSchema,
  RunPhase,
} from "#gen/stint/v1/runner_pb.js";
import { taskErrorOf } from "../controller/describe-error.ts";
import { endEvent, settlePhase, type Settled } from "../controller/phase.ts";
import type { ActiveTask, TaskContext, TaskRunner } from "../controller/task-runner.ts";
import type { AbortKind } from "../task/abort.ts";
import type { TaskLimits } from "../task/limits.ts";
import type { OfferedTask } from "./offered-task.ts";

/** How a phase ended, as the server is told. */
export type EndOutcome = PhaseEnd["outcome"];

export interface PhaseCall {
  readonly offer: OfferedTask;
  readonly task: ActiveTask;
  readonly context: TaskContext;
}

/** Calls the runner's handler of the phase, and waits until it settles. Never rejects. */
export function callPhase(
  runner: TaskRunner,
  { offer, task, context }: PhaseCall,
): Promise<Pick<Settled, "outcome" | "value">> {
  return settlePhase(context, () => {
    switch (offer.phase) {
      case RunPhase.PENDING:
        return runner.onTaskPending?.(task, context);
      case RunPhase.COMPLETED: {
        const args = offer.error === undefined ? [] : [offer.error];
        return runner.onTaskCompleted?.(task, offer.state, context, ...args);
      }
      default:
        return runner.onTaskRunning(task, context);
    }
  });
}

/**
 * What the server is told of how a phase settled. It judges itself what that means by why it had the phase stopped; only when
 * this runner stops by itself (`kind` is SHUTDOWN) does the server not know, and the task is given back to be offered again, unless its work is done.
 */
export function endOutcomeOf(
  phase: RunPhase,
  { outcome, value }: Pick<Settled, "outcome" | "value">,
  { kind, limits }: { readonly kind: AbortKind | undefined; readonly limits: TaskLimits },
): EndOutcome {
  const isDone = outcome === "returned";
  if (phase === RunPhase.COMPLETED) {
    if (isDone) return done();
    // As in process, where a controller that closes keeps the end to be told.
    return kind === "SHUTDOWN" && outcome === "aborted" ? releasedOutcome() : failed(value, limits);
  }
  if (kind === "SHUTDOWN" && !(isDone && phase === RunPhase.RUNNING)) return releasedOutcome();
  if (outcome === "aborted") return { case: "aborted", value: create(PhaseEnd_AbortedSchema) };
  if (!isDone) return failed(value, limits);
  if (phase === RunPhase.PENDING) return done();
  const event = endEvent("complete", { phase: "running", timeoutMs: 0, outcome, value }, limits);
  return event.type === "end"
    ? done(event.result)
    : failed({ taskError: "error" in event ? event.error : undefined }, limits);
}

/** The task is given back. */
export function releasedOutcome(): EndOutcome {
  return { case: "released", value: create(PhaseEnd_ReleasedSchema) };
}

/** The phase failed with what was thrown. */
export function failed(thrown: unknown, limits: TaskLimits): EndOutcome {
  const error = taskErrorOf(thrown, limits.messageMaxBytes);
  return { case: "failed", value: create(PhaseEnd_FailedSchema, { error }) };
}

function done(result?: string): EndOutcome {
  return { case: "done", value: create(PhaseEnd_DoneSchema, { result }) };
}
