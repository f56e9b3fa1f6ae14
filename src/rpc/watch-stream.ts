/**
 * One WatchTask or WatchTasks call. It owns an iterator of the controller's and the
 * signal that ends it.
 *
 * 1. The iterator is let go of when the call ends for whatever reason, also while
 *    the call waits for a client that does not read: the signal does it then.
 * 2. The call ends with OK only where the controller said that the watch is over.
 * 3. When the server drains, the call ends with UNAVAILABLE and the revision from which
 *    to continue.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { WatchTaskResponseSchema, WatchTasksResponseSchema } from "#gen/stint/v1/controller_pb.js";
import type { Controller, TasksChange, WatchTaskOptions, WatchTasksOptions } from "../controller/controller.ts";
import { ControllerError } from "../controller/error.ts";
import { drainingError } from "./availability.ts";
import { abortError, type CallPolicy, endOnDrain, raceSignal } from "./call.ts";

interface WatchCall {
  readonly policy: CallPolicy;
  readonly signal: AbortSignal;
}

export async function* watchTask(
  controller: Controller,
  taskId: string,
  options: WatchTaskOptions,
  call: WatchCall,
): AsyncGenerator<MessageInitShape<typeof WatchTaskResponseSchema>> {
  const position = { revision: options.sinceRevision ?? 0n };
  const open = (signal: AbortSignal) => controller.watchTask(taskId, { ...options, signal });
  for await (const { revision, status, logs } of untilDrained(open, position, call)) {
    position.revision = revision;
    yield { revision, status, logs: [...logs] };
  }
}

/** What opens a watch of tasks: a controller, or all of them. */
export type OpenTasksWatch = (options: WatchTasksOptions) => AsyncIterable<TasksChange>;

export async function* watchTasks(
  openWatch: OpenTasksWatch,
  options: WatchTasksOptions,
  call: WatchCall,
): AsyncGenerator<MessageInitShape<typeof WatchTasksResponseSchema>> {
  const position = { revision: options.sinceRevision ?? 0n };
  const open = (signal: AbortSignal) => openWatch({ ...options, signal });
  for await (const change of untilDrained(open, position, call)) {
    // A snapshot that was cut off cannot be gone on with: it has no position until its bookmark.
    if (change.bookmark || position.revision > 0n) position.revision = change.revision;
    yield change;
  }
}

/** The changes of the watch, until it is over or the call is; `position` is how far they have been sent, 0n where that is nowhere. */
async function* untilDrained<T>(
  open: (signal: AbortSignal) => AsyncIterable<T>,
  position: { readonly revision: bigint },
  call: WatchCall,
): AsyncGenerator<T> {
  using ending = endOnDrain(call.policy, call.signal);
  const changes = open(ending.signal)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await raceSignal(changes.next(), ending.signal);
      if (ending.signal.aborted) throw abortError(ending.signal);
      if (next.done === true) return;
      yield next.value;
    }
  } catch (error) {
    if (error !== ending.signal.reason || !(error instanceof ControllerError) || position.revision === 0n) throw error;
    throw drainingError({ since_revision: String(position.revision) });
  } finally {
    // It may wait for something that ignores the signal; nobody waits for it.
    changes.return?.().catch(() => {});
  }
}
