/**
 * The seam between a controller and the streams of its runners. A stream is attached to an instance, and may be gone at any
 * time: nothing waits for it, and what it is told is queued by it.
 *
 * 1. What a link is told it sends in the order of docs/protocol.md: keepalives and aborts, then answers, then offers; the welcome
 *    before all of them. Each method returns at once, throws nothing, and does nothing after `close` or the end of the stream.
 * 2. A link is told nothing of a run before the commit that it tells of.
 */
import type {
  RunnerHello,
  RunnerKeepalive,
  RunnerWelcome,
  RunRequest,
  TaskAbort,
  TaskOffer,
  TaskWritten,
} from "#gen/stint/v1/runner_pb.js";
import type { Controller } from "./controller.ts";
import type { ControllerError } from "./error.ts";

/** The way to a runner: what the service makes of its stream. */
export interface RunnerLink {
  keepalive(answer: RunnerKeepalive): void;
  abort(abort: TaskAbort): void;
  /** Of several under one fence that wait to be sent the last says it all. */
  written(written: TaskWritten): void;
  refuse(refusal: Refusal): void;
  /** `load` is called when the offer is about to be sent. */
  offer(load: LoadOffer): void;
  /** Ends the stream with the error, after what was queued before. */
  close(error: ControllerError): void;
}

/** The offer, or undefined: there is nothing to offer any more. A promise where something has to be read for it. It may throw, and reject, as a read of the controller does. */
export type LoadOffer = () => TaskOffer | undefined | Promise<TaskOffer | undefined>;

/** A TaskRefused, whose status the service makes of the error. */
export interface Refusal {
  readonly taskId: string;
  readonly fence: bigint;
  /** 0n if the message had none. */
  readonly seq: bigint;
  /** FAILED_PRECONDITION (STALE_FENCE), or INVALID_ARGUMENT. */
  readonly error: ControllerError;
}

/**
 * How a stream ended. `finished`: the runner closed its side, and what it had said is answered; an instance that has nothing
 * is forgotten. `broken`: in any other way; the instance keeps what it has for its lease. `invalid`: it sent what cannot be
 * read or breaks a rule; its lease is over.
 */
export type Detachment = "finished" | "broken" | "invalid";

/** A stream of a runner that has said hello. */
export interface Attachment {
  /** The first message to send. The service sets its `limits`. */
  readonly welcome: RunnerWelcome;
  /**
   * Takes a message that was read. Undefined: it is done with. A promise: it is when that resolves, which may need the store;
   * what the service bounds is the messages whose promises are open. Never rejects.
   * Throws INVALID_ARGUMENT for a message out of order: the service ends the stream with it, and detaches as `invalid`.
   */
  receive(message: RunRequest): Promise<void> | undefined;
  /** Said when the service stops to read from the stream, because the runner has sent more than it may, and when it reads again: its lease stands still between. */
  holdBack(isHeldBack: boolean): void;
  /** The stream is over, and the link is told nothing more. Only the first call counts. */
  detach(how: Detachment): void;
}

/** The runners of a controller. */
export interface RemoteRunners {
  /** How many have a stream. */
  readonly connected: number;
  /** How many have one, or had one less than a lease ago. */
  readonly known: number;
  /**
   * Attaches a stream to the instance that `hello` names; an older stream of it is closed with ABORTED (CONFLICT). `hello` keeps the rules
   * of the proto. Throws INVALID_ARGUMENT, FAILED_PRECONDITION (the protocol's version), RESOURCE_EXHAUSTED (LIMIT), UNAVAILABLE (DRAINING,
   * STORE_UNAVAILABLE).
   */
  attach(hello: RunnerHello, link: RunnerLink): Attachment;
}

/** A controller whose tasks are run by whoever connects; see openRemoteController. */
export interface RemoteController extends Controller {
  readonly runners: RemoteRunners;
}

/** What a controller with remote runners is opened with beside the rest. */
export interface RemoteOptions {
  /** How long a runner counts as alive after its last message, in ms. */
  readonly leaseMs: number;
  /** How many runners there may be. */
  readonly runnersMax: number;
  /** How many tasks one runner may have. */
  readonly runnerCapacityMax: number;
  /** Whether the server takes calls: before, nobody's lease runs. Default: since it was opened. */
  readonly isServing?: (() => boolean) | undefined;
}
