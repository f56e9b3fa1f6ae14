import { create, isMessage } from "@bufbuild/protobuf";
import { type TaskError, TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { Code } from "#gen/google/rpc/code_pb.js";
import { cutText } from "../task/limits.ts";
import type { ErrorReasonName } from "./error.ts";

const detailsMax = 16;
const detailMaxBytes = 1_024;

/** What a task's error says of something that a runner threw: its `taskError`, where it has one. Never throws, whatever it was. */
export function taskErrorOf(thrown: unknown, messageMaxBytes: number): TaskError {
  const carried = carriedTaskError(thrown, messageMaxBytes);
  return carried ?? createTaskError(Code.UNKNOWN, "RUNNER_ERROR", cutText(messageOf(thrown), messageMaxBytes));
}

/** The TaskError that an error brings along, within the limits: a runner may say of itself only what a runner can know. */
function carriedTaskError(thrown: unknown, messageMaxBytes: number): TaskError | undefined {
  try {
    const { taskError } = thrown as { taskError?: unknown };
    if (!isMessage(taskError, TaskErrorSchema)) return undefined;
    const code = taskError.code === Code.OK || !(taskError.code in Code) ? Code.UNKNOWN : taskError.code;
    const reason = taskError.reason === "EXIT_CODE" ? "EXIT_CODE" : "RUNNER_ERROR";
    const error = createTaskError(code, reason, cutText(taskError.message, messageMaxBytes));
    for (const [key, value] of Object.entries(taskError.details).slice(0, detailsMax)) {
      error.details[cutText(key, detailMaxBytes)] = cutText(value, detailMaxBytes);
    }
    return error;
  } catch {
    // A getter or a proxy threw, or something in it is not what the type says.
    return undefined;
  }
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
