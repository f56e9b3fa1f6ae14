import { status } from "@grpc/grpc-js";
import { TaskState } from "#gen/core/v1/core_pb.js";

/** What the exit status of every command means. */
export const exitCode = {
  /** The command did it; the watched task Completed. */
  success: 0,
  /** The watched task Failed, or the command did. */
  failed: 1,
  /** The command line, the configuration or the request is wrong. */
  usage: 2,
  /** The watched task was Canceled. */
  canceled: 3,
  /** The server cannot be reached. */
  connection: 4,
  /** The store cannot be had, because it is in use or cannot be read or written. */
  store: 5,
  /** serve: the port cannot be had. */
  port: 6,
  /** The store, or the backup, is damaged so that no server opens it. */
  damagedStore: 7,
  /** store: single records are damaged, or were lost in a repair; a server opens the store. */
  damagedRecords: 8,
} as const;

/** The exit status that tells how a watched task ended. */
export function exitCodeOfState(state: TaskState): number {
  if (state === TaskState.Completed) return exitCode.success;
  return state === TaskState.Canceled ? exitCode.canceled : exitCode.failed;
}

/** The exit status for a call that failed with this gRPC code. */
export function exitCodeOfRpc(code: status): number {
  if (code === status.INVALID_ARGUMENT) return exitCode.usage;
  return code === status.UNAVAILABLE || code === status.DEADLINE_EXCEEDED ? exitCode.connection : exitCode.failed;
}
