/** A stream to a server, as a session uses it. */
import type { RunRequest, RunResponse } from "#gen/stint/v1/runner_pb.js";
import type { GrpcStatus } from "./thread-messages.ts";

export interface ConnectionEvents {
  readonly message: (message: RunResponse) => void;
  /** Called once, and nothing after it. Not called after `close`. */
  readonly ended: (end: GrpcStatus) => void;
}

export interface Connection {
  send(message: RunRequest["message"]): void;
  /** Says that nothing more is sent; what was sent before is still answered. */
  end(): void;
  /** Gives it up, whatever is under way. */
  close(): void;
}

/** Opens a stream, on a connection of its own: one that hangs is not used again. Never throws; a failure is an end. */
export type Connect = (events: ConnectionEvents) => Connection;
