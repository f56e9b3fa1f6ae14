/**
 * One WatchTask call. It owns an iterator of the controller's and the signal that
 * ends it.
 *
 * 1. The iterator is let go of when the call ends for whatever reason, also while
 *    the call waits for a client that does not read: the signal does it then.
 * 2. The call ends with OK only where the controller said that the watch is over.
 * 3. When the server drains, the call ends with UNAVAILABLE and the revision from which
 *    to continue.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { WatchTaskResponseSchema } from "#gen/stint/v1/controller_pb.js";
import type { Controller, WatchTaskOptions } from "../controller/controller.ts";
import { ControllerError } from "../controller/error.ts";
import { drainingError } from "./availability.ts";
import { abortError, type CallPolicy, endOnDrain, raceSignal } from "./call.ts";

export async function* watchTask(
  controller: Controller,
  taskId: string,
  options: WatchTaskOptions,
  call: { policy: CallPolicy; signal: AbortSignal },
): AsyncGenerator<MessageInitShape<typeof WatchTaskResponseSchema>> {
  let sentRevision = options.sinceRevision ?? 0n;
  using ending = endOnDrain(call.policy, call.signal);
  const changes = controller.watchTask(taskId, { ...options, signal: ending.signal })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await raceSignal(changes.next(), ending.signal);
      if (ending.signal.aborted) throw abortError(ending.signal);
      if (next.done === true) return;
      const { revision, status, logs } = next.value;
      sentRevision = revision;
      yield { revision, status, logs: [...logs] };
    }
  } catch (error) {
    if (error !== ending.signal.reason || !(error instanceof ControllerError) || sentRevision === 0n) throw error;
    throw drainingError({ since_revision: String(sentRevision) });
  } finally {
    // It may wait for something that ignores the signal; nobody waits for it.
    changes.return?.().catch(() => {});
  }
}
