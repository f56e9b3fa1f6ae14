import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type StateTransition,
  StateTransitionSchema,
  TaskState,
  type TaskStatus,
  TaskStatusSchema,
} from "#gen/core/v1/core_pb.js";
import { type WatchTaskResponse, WatchTaskResponseSchema } from "#gen/stint/v1/controller_pb.js";

/** When everything here begins. */
export const startMs = Date.UTC(2026, 10, 3, 12, 0, 0);

/** A time so many seconds after the start. */
export function at(second: number) {
  return timestampFromMs(startMs + second * 1000);
}

export function transition(state: TaskState, second: number, reason = ""): StateTransition {
  return create(StateTransitionSchema, { state, timestamp: at(second), reason });
}

/** A task of which as many transitions happened as are named: Pending at second 0, Running at 1, and so on. */
export function taskStatus(
  states: readonly TaskState[],
  init: MessageInitShape<typeof TaskStatusSchema> = {},
): TaskStatus {
  const transitions = states.map((state, second) => transition(state, second));
  const running = states.indexOf(TaskState.Running);
  return create(TaskStatusSchema, {
    state: states.at(-1) ?? TaskState.Unknown,
    transitions,
    runId: "run-1",
    attempt: 1,
    createTime: at(0),
    updateTime: at(states.length - 1),
    ...(running >= 0 ? { startTime: at(running) } : {}),
    ...init,
  });
}

export function watchMessage(
  status: TaskStatus | undefined,
  init: MessageInitShape<typeof WatchTaskResponseSchema> = {},
): WatchTaskResponse {
  return create(WatchTaskResponseSchema, { revision: 1n, ...init, ...(status ? { status } : {}) });
}

export const { Pending, Running, Completed, Failed, Canceled } = TaskState;
