import { create } from "@bufbuild/protobuf";
import { type TaskError, TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { Code } from "#gen/google/rpc/code_pb.js";
import { cutText } from "../task/limits.ts";
import type { ErrorReasonName } from "./error.ts";

/** What a task's error says of something that a runner threw. Never throws, whatever it was. */
export function taskErrorOf(thrown: unknown, messageMaxBytes: number): TaskError {
  return createTaskError(Code.UNKNOWN, "RUNNER_ERROR", cutText(messageOf(thrown), messageMaxBytes));
}

export function createTaskError(code: Code, reason: ErrorReasonName, message: string): TaskError {
  return create(TaskErrorSchema, { code, reason, message });
}

/** Something that foreign code threw, as a log can take it: an error of plain text, with the stack where there is one. Never throws. */
export function loggable(thrown: unknown): Error {
  const error = new Error(messageOf(thrown));
  error.stack = error.message;
  try {
    const { name, stack } = thrown as { name?: unknown; stack?: unknown };
    if (typeof name === "string") error.name = name;
    if (typeof stack === "string") error.stack = stack;
  } catch {
    // It has no name or stack that could be read; the message has to do.
  }
  return error;
}

/** The message of whatever was thrown. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    if (thrown === undefined) return "the runner threw undefined";
    if (typeof thrown === "object" && thrown !== null) {
      const { message } = thrown as { message?: unknown };
      if (typeof message === "string" && message !== "") return message;
      const { name } = thrown as { name?: unknown };
      return typeof name === "string" && name !== "" ? name : "the runner threw an object without a message";
    }
    // oxlint-disable-next-line typescript/no-base-to-string -- what is left is no object.
    return String(thrown);
  } catch {
    // A getter, a proxy or toString threw.
    return "the runner threw something that cannot be shown";
  }
}
