import { create } from "@bufbuild/protobuf";
import { type TaskError, TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { Code } from "#gen/google/rpc/code_pb.js";

export interface CommandErrorInit {
  readonly message: string;
  /** Default UNKNOWN. */
  readonly code?: Code;
  /** Default RUNNER_ERROR. */
  readonly reason?: "RUNNER_ERROR" | "EXIT_CODE";
  /** More for programs, such as {exit_code: "3"}. */
  readonly details?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** Why a command could not be run, or that it failed; it brings along what the task's status says of that. */
export class CommandError extends Error {
  readonly taskError: TaskError;

  constructor(init: CommandErrorInit) {
    const { message, code = Code.UNKNOWN, reason = "RUNNER_ERROR", details = {}, cause } = init;
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CommandError";
    this.taskError = create(TaskErrorSchema, { code, reason, message, details: { ...details } });
  }
}
