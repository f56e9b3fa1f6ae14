/**
 * Runs tasks of a controller on another machine than the server's, or in another process: published as `stint/runner`, which knows
 * nothing of the server. docs/runners.md shows how it is used, docs/protocol.md what goes over the wire.
 *
 * Two threads: the handlers run in the caller's, and the connection is in one of its own, which keeps the lease alive also
 * while a handler blocks its thread.
 */
import { hostname } from "node:os";
import { Code } from "#gen/google/rpc/code_pb.js";
import { onAbort } from "../async/signals.ts";
import { systemClock } from "../clock.ts";
import { RunnerError } from "./error.ts";
import { HostedTasks } from "./hosted-tasks.ts";
import { openSessionWorker } from "./open-session-worker.ts";
import { type ResolvedOptions, resolveOptions, type RunRemoteOptions } from "./options.ts";
import { Outbox } from "./outbox.ts";
import type { GrpcStatus, ToHandlers, ToSession } from "./thread-messages.ts";

export type { Progress, TaskError } from "#gen/core/v1/core_pb.js";
export { TaskErrorSchema, TaskState } from "#gen/core/v1/core_pb.js";
export {
  ControllerError,
  type ControllerErrorCode,
  type ControllerErrorDetails,
  type ErrorReasonName,
  type FieldViolation,
} from "../controller/error.ts";
export type {
  ActiveTask,
  JsonObject,
  JsonValue,
  LogLevel,
  ProgressInit,
  StandardResult,
  StandardSchema,
  TaskContext,
  TaskRunner,
} from "../controller/task-runner.ts";
export { type Log, silentLog } from "../log.ts";
export { type AbortKind, AbortReason } from "../task/abort.ts";
export { RunnerError, type RunnerErrorCode } from "./error.ts";
export type { RunRemoteOptions } from "./options.ts";

/** A runner that is connected, or tries to be. Leaving the scope of an `await using` drains it, and waits until it is closed; how it closed only `closed` tells. */
export interface RemoteRunner extends AsyncDisposable {
  /**
   * Resolves when it was drained, and has nothing left. Rejects with RunnerError REFUSED when the server does not want it, such as where it runs the controller's
   * tasks itself. A server that is not there is no reason: it is tried again, for as long as it takes.
   */
  readonly closed: Promise<void>;
  /** Takes no more tasks, finishes those it has, and closes; what takes longer than `drainMs` is told to stop (SHUTDOWN) and given back. The same promise as `closed`. */
  drain(): Promise<void>;
}

/** Runs tasks until it is drained: by `drain()`, by `signal`, or by SIGTERM. Throws RunnerError OPTION at once for an option that is wrong. */
export function runRemote(options: RunRemoteOptions): RemoteRunner {
  const resolved = resolveOptions(options, defaultName);
  const { target, ca, controller, name, capacity, runner, log, drainMs } = resolved;
  const wantsCompleted = runner.onTaskCompleted !== undefined;
  const worker = openSessionWorker({ target, ca, controller, name, capacity, wantsCompleted });
  let tasks: HostedTasks | undefined;
  let stopListening = (): void => {};
  const closed = new Promise<void>((resolve, reject) => {
    const settle = (error?: GrpcStatus): void => {
      stopListening();
      void worker.terminate();
      if (error === undefined) resolve();
      else reject(refusedBy(target, error));
    };
    const outbox = new Outbox((messages) => worker.postMessage(messages));
    const post = (message: ToSession): void => outbox.post(message);
    const hosted = new HostedTasks({ runner, capacity, log, clock: systemClock, drainMs, post, closed: settle });
    worker.on("message", (messages: readonly ToHandlers[]) => {
      for (const message of messages) hosted.receive(message);
    });
    const failed = (cause?: unknown): void => {
      reject(new RunnerError("THREAD", "the thread of the connection failed", { cause }));
      // Handlers that still run have nobody any more to whom they could say anything.
      hosted.receive({ type: "closed" });
    };
    worker.on("error", failed);
    // Without an error: something has ended it. After `settle` that changes nothing any more.
    worker.on("exit", () => failed());
    tasks = hosted;
  });
  stopListening = listen(resolved, {
    drain: () => tasks?.drain(),
    stop: () => tasks?.stop(),
  });
  const drain = (): Promise<void> => {
    tasks?.drain();
    return closed;
  };
  // Whoever is told by `closed` is told once, and not by the end of the scope again.
  return { closed, drain, [Symbol.asyncDispose]: () => drain().catch(() => {}) };
}

function refusedBy(target: string, { code, message }: GrpcStatus): RunnerError {
  const status = Code[code] ?? String(code);
  return new RunnerError("REFUSED", `the server at ${target} does not take this runner: ${message} (${status})`, {
    status,
  });
}

/** Drains at the first signal, and has the tasks stopped at the second; until the returned function is called. */
function listen(
  { signal, signals }: ResolvedOptions,
  { drain, stop }: { readonly drain: () => void; readonly stop: () => void },
): () => void {
  let count = 0;
  const told = (): void => {
    count += 1;
    if (count === 1) drain();
    else stop();
  };
  for (const name of signals) process.on(name, told);
  const offSignal = signal === undefined ? undefined : onAbort(signal, drain);
  return () => {
    for (const name of signals) process.off(name, told);
    offSignal?.();
  };
}

function defaultName(): string {
  const machine = hostname()
    .replace(/[^A-Za-z0-9._:@-]/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 100);
  return `${machine || "runner"}:${process.pid}`;
}
