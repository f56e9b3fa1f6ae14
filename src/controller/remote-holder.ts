import type { PhaseEnd, TaskWrite } from "#gen/stint/v1/runner_pb.js";
import type { ControllerError } from "./error.ts";
import type { Release } from "./host.ts";
import type { RunnerLink } from "./remote-link.ts";

/** What a run needs of the instance that has it. */
export interface RunHolder<R> {
  readonly runner: string;
  readonly instanceId: string;
  /** Its stream; undefined while it has none. */
  readonly link: RunnerLink | undefined;
  /** How often an abort is told, and how long an offer holds, in ms. */
  readonly keepaliveMs: number;
  readonly offerTimeoutMs: number;
  nowMs(): number;
  /** What is said under the fence is for the run from now on. */
  hold(run: R, fence: bigint): void;
  /** It is no more. `answered`: up to this seq all was on disk, and its runner has ended it; 0n where it was lost. */
  drop(run: R, fence: bigint, answered: bigint): void;
  /** The runner has taken the offer. */
  accepted(run: R): void;
  /** It has not, in time. */
  offerLapsed(fence: bigint): void;
  /** The runner says how a phase has ended, and was told to stop before or not. */
  phaseEnds(said: PhaseEnd, isAborted: boolean): void;
  released(run: R, how: Release): void;
  /** The promise is open while there is no room for more that was refused. */
  refuse(refused: RefusedMessage): Promise<void> | undefined;
}

/** A message of a runner that was refused. */
export interface RefusedMessage {
  readonly taskId: string;
  readonly fence: bigint;
  /** 0 where it is not known. */
  readonly attempt: number;
  readonly seq: bigint;
  readonly error: ControllerError;
  /** What it was, where it is to be kept. */
  readonly said?: TaskWrite | PhaseEnd | undefined;
}

/** What an instance needs of the host that it belongs to. */
export interface InstancePorts {
  readonly leaseMs: number;
  nowMs(): number;
  /** It may be offered something that it could not be before. */
  onSeat(): void;
  /** Its lease is over. */
  onLapse(instance: { readonly runner: string; readonly seated: number }): void;
  /** It is heard again, after it was not. */
  onHeard(): void;
  /** Whether what is said under a fence that no run has is on disk; undefined where that cannot be said any more. */
  isOnDisk(said: TaskWrite | PhaseEnd): Promise<boolean | undefined>;
  /** A run is under its fence no more; see RunHolder. */
  onDrop(run: { readonly taskId: string; readonly attempt: number }, fence: bigint, answered: bigint): void;
  /** Keeps what was refused to be seen; resolves when there is room for more. Never rejects. */
  noteRejected(refused: RefusedMessage, runner: string): Promise<void> | undefined;
  /** It took too long to be told of an end, or failed. */
  onToldBadly(fields: object, message: string): void;
}
