import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { exitCodeOfRpc, exitCodeOfState } from "../../src/cli/exit-code.ts";

test.each([
  [TaskState.Completed, 0],
  [TaskState.Failed, 1],
  [TaskState.Canceled, 3],
  [TaskState.Unknown, 1],
  [TaskState.Running, 1],
])("a watch that ends in state %d exits with %d", (state, code) => {
  expect(exitCodeOfState(state)).toBe(code);
});

test.each([
  [status.INVALID_ARGUMENT, 2],
  [status.UNAVAILABLE, 4],
  [status.DEADLINE_EXCEEDED, 4],
  [status.NOT_FOUND, 1],
  [status.ALREADY_EXISTS, 1],
  [status.INTERNAL, 1],
])("a call that fails with code %d exits with %d", (code, exit) => {
  expect(exitCodeOfRpc(code)).toBe(exit);
});
