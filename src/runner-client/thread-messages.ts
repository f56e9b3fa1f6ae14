/** What the two threads of a runner tell each other: the caller's, which has the handlers, and the session's, which has the connection. */
import type { AbortReason, PhaseEnd, RunPhase, TaskWrite } from "#gen/stint/v1/runner_pb.js";
import type { OfferedTask } from "./offered-task.ts";
import type { RemoteLimits } from "./remote-limits.ts";

/** What the session's thread is started with. */
export interface SessionSettings {
  /** The server: HOST:PORT, or https://HOST:PORT. */
  readonly target: string;
  /** Over https://: who may have signed the server's certificate, or that certificate itself (PEM). */
  readonly ca: string | undefined;
  readonly controller: string;
  /** What people know the runner by. */
  readonly name: string;
  readonly capacity: number;
  readonly wantsCompleted: boolean;
}

/** Of the handlers' thread. */
export type ToSession =
  /** The handler of an offer is called. */
  | { readonly type: "accept"; readonly fence: bigint; readonly phase: RunPhase }
  /** To be sent until it is answered. */
  | { readonly type: "write"; readonly write: TaskWrite }
  | { readonly type: "end"; readonly end: PhaseEnd }
  /** A handler's signal was aborted. */
  | { readonly type: "aborted"; readonly taskId: string; readonly fence: bigint; readonly reason: AbortReason }
  /** Take no more tasks, and close when none is left. */
  | { readonly type: "drain" }
  /** Close now, whatever is left. */
  | { readonly type: "stop" };

/** Of the session's thread. */
export type ToHandlers =
  /** What the server's limits are from now on. */
  | { readonly type: "limits"; readonly limits: RemoteLimits }
  | { readonly type: "offer"; readonly offer: OfferedTask }
  /** Everything under this fence up to `seq` is on disk, or, with an error, what was said under `seq` was refused. */
  | { readonly type: "answered"; readonly fence: bigint; readonly seq: bigint; readonly error?: GrpcStatus }
  | { readonly type: "abort"; readonly fence: bigint; readonly reason: AbortReason }
  /** The task is no longer this runner's. */
  | { readonly type: "lost"; readonly fence: bigint }
  | {
      readonly type: "log";
      readonly level: "debug" | "info" | "warn" | "error";
      readonly fields: object;
      readonly message: string;
    }
  /** Nothing more comes. With an error: the server does not want this runner. */
  | { readonly type: "closed"; readonly error?: GrpcStatus };

/** A status of gRPC. */
export interface GrpcStatus {
  /** gRPC's code. */
  readonly code: number;
  readonly message: string;
}

type LogMessage = Extract<ToHandlers, { type: "log" }>;

/** Says something in the log of the handlers' thread. */
export function logTo(
  post: (message: LogMessage) => void,
  level: LogMessage["level"],
  fields: object,
  message: string,
): void {
  post({ type: "log", level, fields, message });
}
