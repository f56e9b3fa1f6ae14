/** What each message of a remote runner is for: a run that it has, an end that it is told of, or nothing that is its own. */
import { create } from "@bufbuild/protobuf";
import {
  type OfferAccepted,
  type PhaseEnd,
  RunnerKeepaliveSchema,
  type RunRequest,
  type TaskWrite,
} from "#gen/stint/v1/runner_pb.js";
import { invalidArgument } from "./error.ts";
import type { RunnerLink } from "./remote-link.ts";
import type { RefusedMessage } from "./remote-holder.ts";
import type { RemoteRun } from "./remote-run.ts";
import type { RemoteTelling } from "./remote-telling.ts";
import { afterRun, staleFence, writtenOf } from "./remote-words.ts";

/** What a message is said about. */
interface Named {
  readonly taskId: string;
  readonly fence: bigint;
}

/** The instance that a message comes from. */
export interface InboxOwner {
  readonly link: RunnerLink | undefined;
  findRun(named: Named): RemoteRun | undefined;
  findTelling(named: Named): RemoteTelling | undefined;
  drain(): void;
  /** It accepts an offer that it has no more. */
  acceptedLate(fence: bigint): void;
  /** Whether what is said under a fence that no run of it has is on disk; undefined where that cannot be said any more. Never rejects. */
  isOnDisk(said: TaskWrite | PhaseEnd): Promise<boolean | undefined>;
  /** The promise is open while there is no room for more that was refused. */
  refuse(refused: RefusedMessage): Promise<void> | undefined;
  toldFailed(telling: RemoteTelling, message: string): void;
}

/** See Attachment.receive. */
export function receive(owner: InboxOwner, { message }: RunRequest): Promise<void> | undefined {
  switch (message.case) {
    case "keepalive":
      owner.link?.keepalive(create(RunnerKeepaliveSchema, { number: message.value.number }));
      return undefined;
    case "accept":
      return onAccept(owner, message.value);
    case "write":
      return onWrite(owner, message.value);
    case "end":
      return onEnd(owner, message.value);
    case "aborted":
      owner.findRun(message.value)?.aborted(message.value.reason);
      return undefined;
    case "drain":
      owner.drain();
      return undefined;
    default:
      throw invalidArgument([{ field: "hello", description: "must be the first message only" }]);
  }
}

function onAccept(owner: InboxOwner, said: OfferAccepted): Promise<void> | undefined {
  const run = owner.findRun(said);
  if (run !== undefined) {
    run.accept(said.phase);
    return undefined;
  }
  if (owner.findTelling(said) !== undefined) return undefined;
  owner.acceptedLate(said.fence);
  return refuseStale(owner, said, 0n);
}

function onWrite(owner: InboxOwner, said: TaskWrite): Promise<void> | undefined {
  const run = owner.findRun(said);
  if (run !== undefined) return run.write(said);
  if (owner.findTelling(said) === undefined) return onUnknown(owner, said);
  const { taskId, fence, seq } = said;
  return owner.refuse({ taskId, fence, attempt: 0, seq, error: afterRun() });
}

function onEnd(owner: InboxOwner, said: PhaseEnd): Promise<void> | undefined {
  const run = owner.findRun(said);
  if (run !== undefined) return run.end(said);
  const telling = owner.findTelling(said);
  if (telling === undefined) return onUnknown(owner, said);
  telling.end(said);
  if (said.outcome.case === "failed") owner.toldFailed(telling, said.outcome.value.error?.message ?? "");
  return undefined;
}

/** A repeat, whose answer was lost, of what is on disk; or what is said too late, or was never the runner's to say. */
async function onUnknown(owner: InboxOwner, said: TaskWrite | PhaseEnd): Promise<void> {
  const isOnDisk = await owner.isOnDisk(said);
  if (isOnDisk === undefined) return;
  const { taskId, fence, seq } = said;
  if (isOnDisk) owner.link?.written(writtenOf(taskId, fence, seq));
  else await refuseStale(owner, said, seq, said);
}

function refuseStale(
  owner: InboxOwner,
  { taskId, fence }: Named,
  seq: bigint,
  said?: TaskWrite | PhaseEnd,
): Promise<void> | undefined {
  return owner.refuse({ taskId, fence, attempt: 0, seq, error: staleFence(taskId, fence), said });
}
