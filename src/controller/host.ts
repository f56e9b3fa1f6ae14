/**
 * Where the runs of a controller take place. A host hands out seats, and a run sits on one, from the commit of its
 * offer until it is released: the process itself is a host (local-host.ts), and so are all the runners that are connected to a
 * controller (remote-host.ts); one that nobody names any more has no-host.ts. What is promised of runs, leases, writes, cancels and timeouts is kept by the controller, whatever the host.
 *
 * 1. A seat is taken before the commit that offers a run on it, and released exactly once: when the run is over, or, where
 *    the commit failed, unused.
 * 2. A host changes nothing on disk. What a run says goes through its HostedTask, and how its phases settle through `runPhase`.
 * 3. A phase that does not settle holds its task. Only the host knows whether its runner is still there: when it is not, the phase
 *    settles with SeatLost.
 * 4. After `close` every phase on a remote seat settles with SeatLost "left": closing ends no run that goes on elsewhere.
 */
import type { Progress, TaskCancel, TaskStatus } from "#gen/core/v1/core_pb.js";
import type { AbortKind, PhaseAbort } from "../task/abort.ts";
import type { PhaseName } from "./phase.ts";
import type { ActiveTask, TaskContext } from "./task-runner.ts";

/** Hands out the seats of a controller. */
export interface Host {
  /** `none`: nobody runs its tasks, which wait. */
  readonly kind: "none" | "local" | "remote";
  /** The death of this process says nothing about a task: it is resumed each time, and never given up as CRASH_LOOP. */
  readonly isIsolated: boolean;
  /** What a task that has no seat waits for, as TaskStatus.waiting_for says it. */
  whatIsWaitedFor(): string;
  /** Takes a seat for one run; undefined while none is free. */
  takeSeat(): Seat | undefined;
  /** The seat of a run that was offered before this opening, and may still be in the hands of who had it; undefined where it cannot be. */
  recall(lease: HeldLease): Seat | undefined;
  /** The listener, of which there is one, is called whenever a seat has come free; not for one that was released unused. */
  onSeat(listener: () => void): void;
  /** Whether the commit of an end has to say that the end is to be told. `seat`: what the run was on, if it was on one in this process. */
  keepsEnd(end: { readonly attempt: number; readonly seat: Seat | undefined }): boolean;
  /** An end that is kept can be told just now. */
  readonly canTell: boolean;
  /**
   * Tells of an end that is kept. `told`: it was, or counts as that, or nobody wants to know. `kept`: the controller closes, or
   * nobody is there. Rejects only once the controller has closed.
   */
  tellEnd(end: EndToTell): Promise<"told" | "kept">;
  /** The controller closes: no more seats, and nothing more is told. See invariant 4. */
  close(): void;
}

/** What a seat knows of the run on it. Each phase has a signal, which is made for who asks for it. */
export interface SeatContext extends TaskContext {
  /** Why it was told to stop; undefined where it was not. */
  readonly kind: AbortKind | undefined;
  /** What has the signal of the phase that it is in. */
  readonly phaseAbort: Pick<PhaseAbort, "signal">;
}

/** A place for one run. */
export interface Seat {
  /** What people know the runner by: TaskStatus.runner. Empty in process. */
  readonly runner: string;
  /** Whose the run's lease is; a secret. Empty in process. */
  readonly instanceId: string;
  /** The seq that the end of the newest phase had; 0n where it had none: in process, and where it was lost. */
  readonly endSeq: bigint;
  /** The run on it is in the hands of its runner: in process from the beginning, in another once that has accepted the offer. */
  readonly isTaken: boolean;
  /** Its runner has nothing to do in the pending phase, which returns nothing at once then. */
  readonly skipsPending: boolean;
  /**
   * Runs a phase: what it returns or throws, or what the promise it returns settles to, is how the phase ends, as with a TaskRunner.
   * It may throw SeatLost besides. Called synchronously for the first phase of a run that is taken up. What the run was told to stop for before is in
   * `context`, and what comes later by `stopFor`.
   */
  runPhase(phase: PhaseName, task: HostedTask, context: SeatContext): unknown;
  /** The run is to stop for `kind`, which outranks what it was told before; its signal has fired, and the signal's reason says `kind` already. */
  stopFor(kind: AbortKind): void;
  /**
   * Resolves when the last abort has got to the code that it is for, and at the latest with `release`.
   * Never rejects.
   */
  told(): Promise<void>;
  /** The run needs the seat no more. */
  release(how: Release): void;
}

/**
 * Why a seat is released. `ended`: what its runner said last is on disk, or counts no more because a launch has its place.
 * `again`: the run went back to the line. `void`: the run was lost. `left`: it is left as it is on disk, for the next opening.
 * `unused`: nothing was offered on it; the listener of `onSeat` is not called.
 */
export type Release = "ended" | "again" | "void" | "left" | "unused";

/** A lease that is on disk. */
export interface HeldLease {
  readonly taskId: string;
  readonly runId: string;
  readonly attempt: number;
  /** The revision of the lease's entry. */
  readonly fence: bigint;
  readonly instanceId: string;
  readonly runner: string;
}

/** What a host is given of a task that is on one of its seats, or has ended. */
export interface HostedTask {
  readonly taskId: string;
  /** The task as a TaskRunner has it; the same object in all phases of a run. */
  readonly active: ActiveTask;
  /** The highest seq that is on disk under this attempt; 0n when there is none. */
  readonly writtenSeq: bigint;
  /** Who asked for its cancel, as far as that is known just now; undefined when nobody did. */
  readonly cancel: TaskCancel | undefined;
  /**
   * The status as it is now, not to be changed: metadata and result in full, and no log entries. A promise where something has to be read for it, which waits
   * while the store fails. Throws, or rejects, once the controller is closed or the run was replaced.
   */
  loadStatus(): TaskStatus | Promise<TaskStatus>;
  /**
   * Resolves when the write is on disk. Writes keep their order and each is stored whole, in one commit. What waits is
   * bounded by who calls it. Rejects with INVALID_ARGUMENT for what cannot be stored, which changes nothing, and as what ActiveTask has.
   */
  write(write: RunWrite): Promise<void>;
}

/** What is said of a run under one seq. */
export interface RunWrite {
  /** Higher than that of each write before. */
  readonly seq: bigint;
  /** In the place of what was said before. Of several that wait for a commit only the newest is stored. */
  readonly progress?: Progress | undefined;
  /** At most 128 KiB of text in all. Each is cut to its limit, and gets its number and time when it is said. */
  readonly entries: readonly RunLogEntry[];
}

/** A log entry to add. */
export interface RunLogEntry {
  readonly level: number;
  readonly msg: string;
}

/** How long a runner may take to be told of an end; after that it counts as told. */
export const completedTimeoutMs = 30_000;

/** An end that its runner is to be told of. */
export interface EndToTell {
  /** The task at its end: it can be read, and writes nothing. */
  readonly task: HostedTask;
  /** Its status, without what lies in records of its own. */
  readonly status: TaskStatus;
  /** The fence that the run had; 0n where that is not known any more. */
  readonly fence: bigint;
  /** The revision of the commit that says that the end is to be told, which is the end's. */
  readonly endRevision: bigint;
  /** What the run was on, if it was on one in this process. */
  readonly seat: Seat | undefined;
}
