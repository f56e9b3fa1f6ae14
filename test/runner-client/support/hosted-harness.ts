import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type AbortReason, RunPhase, TaskOfferSchema } from "#gen/stint/v1/runner_pb.js";
import { HostedTasks } from "../../../src/runner-client/hosted-tasks.ts";
import { offeredTask } from "../../../src/runner-client/offered-task.ts";
import type { RemoteLimits } from "../../../src/runner-client/remote-limits.ts";
import type { GrpcStatus, ToHandlers, ToSession } from "../../../src/runner-client/thread-messages.ts";
import type { ActiveTask, TaskContext, TaskRunner } from "../../../src/runner-client/run-remote.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

/** A runner whose running phase is in the hands of the test. */
export function heldRunner() {
  const held: {
    task?: ActiveTask;
    context?: TaskContext;
    return: (value?: unknown) => void;
    throw: (error: unknown) => void;
  } = { return: () => {}, throw: () => {} };
  const runner: TaskRunner = {
    onTaskRunning(task, context) {
      Object.assign(held, { task, context });
      return new Promise((resolve, reject) => Object.assign(held, { return: resolve, throw: reject }));
    },
  };
  const kind = (): string | undefined => (held.context?.signal.reason as { kind?: string } | undefined)?.kind;
  return { runner, held, kind };
}

interface HostedOptions {
  readonly capacity?: number;
  readonly drainMs?: number;
  /** As the welcome had them. */
  readonly limits?: RemoteLimits;
}

/** The handlers' thread, with a session that is the test. */
export function openHosted(runner: TaskRunner, { capacity = 100, drainMs = 20_000, limits = {} }: HostedOptions = {}) {
  const clock = createFakeClock();
  const posted: ToSession[] = [];
  const warnings: string[] = [];
  const closed: Array<GrpcStatus | undefined> = [];
  const nothing = (): void => {};
  const log = {
    debug: nothing,
    info: nothing,
    warn: (_: object, text: string) => void warnings.push(text),
    error: nothing,
  };
  const hosted = new HostedTasks({
    runner,
    capacity,
    log,
    clock,
    drainMs,
    post: (message) => void posted.push(message),
    closed: (error) => void closed.push(error),
  });
  const receive = (message: ToHandlers): void => hosted.receive(message);
  receive({ type: "limits", limits });
  const settle = (): Promise<void> => clock.advance(0);
  return {
    hosted,
    clock,
    posted,
    warnings,
    closed,
    receive,
    settle,
    /** What was said of tasks, shortly: "accept 1", "write 2", "end 3 done", "aborted 1". */
    said: () => posted.map(describe),
    async offer(fence: bigint, phase = RunPhase.PENDING, init: MessageInitShape<typeof TaskOfferSchema> = {}) {
      const fields = { taskId: `t${fence}`, runId: "run", attempt: 1, fence, phase, ...init };
      receive({ type: "offer", offer: offeredTask(create(TaskOfferSchema, fields)) });
      await settle();
    },
    async answer(fence: bigint, seq: bigint, error?: GrpcStatus) {
      receive({ type: "answered", fence, seq, ...(error === undefined ? {} : { error }) });
      await settle();
    },
    async abort(fence: bigint, reason: AbortReason) {
      receive({ type: "abort", fence, reason });
      await settle();
    },
    /** Brings a task to its running phase. */
    async run(fence: bigint, init: MessageInitShape<typeof TaskOfferSchema> = {}) {
      await this.offer(fence, RunPhase.PENDING, init);
      await this.answer(fence, 1n);
      await this.offer(fence, RunPhase.RUNNING, init);
      posted.length = 0;
    },
  };
}

function describe(message: ToSession): string {
  switch (message.type) {
    case "accept":
      return `accept ${message.phase}`;
    case "write":
      return `write ${message.write.seq}`;
    case "end":
      return `end ${message.end.seq} ${message.end.outcome.case}`;
    case "aborted":
      return `aborted ${message.reason}`;
    default:
      return message.type;
  }
}
