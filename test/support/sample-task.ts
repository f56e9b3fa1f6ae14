import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { StateTransitionSchema, type TaskState, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import type { Task } from "../../src/task/task.ts";

/** When sample tasks were launched, in ms since 1970. */
export const sampleMs = 1_700_000_000_000;

/** A task in a state, with its last transition; anything else as given. */
export function sampleTask(
  state: TaskState,
  status: MessageInitShape<typeof TaskStatusSchema> = {},
  record: MessageInitShape<typeof TaskRecordSchema> = {},
): Task {
  return {
    status: create(TaskStatusSchema, {
      state,
      runId: "run-1",
      attempt: 1,
      createTime: timestampFromMs(sampleMs),
      updateTime: timestampFromMs(sampleMs),
      transitions: [create(StateTransitionSchema, { state, timestamp: timestampFromMs(sampleMs) })],
      ...status,
    }),
    record: create(TaskRecordSchema, { generation: "run-0", queueNumber: 7n, ...record }),
  };
}
