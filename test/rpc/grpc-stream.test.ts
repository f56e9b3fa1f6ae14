import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { TaskControllerService, WatchTaskResponseSchema } from "#gen/stint/v1/controller_pb.js";
import { createGrpcStream } from "../../src/rpc/grpc-stream.ts";
import { StateRunning } from "../../src/task/state.ts";

function createWatch(writeMaxBytes = 1_000) {
  const requestLimit = { name: "request_max_bytes", value: 1_000 };
  const none = () => {
    throw new Error("not called");
  };
  return createGrpcStream(TaskControllerService.method.watchTask, none, { requestLimit, writeMaxBytes });
}

const answer = { revision: 7n, status: create(TaskStatusSchema, { state: StateRunning, metadata: "{}" }), logs: [] };

test("an answer is encoded once, however many calls send it, and another that is equal anew", () => {
  const watch = createWatch();
  const bytes = watch.encode(answer);
  expect(watch.encode(answer)).toBe(bytes);
  expect(watch.encode({ ...answer })).not.toBe(bytes);
  expect(watch.encode({ ...answer })).toEqual(bytes);
});

test("its bytes are those of the message behind a prefix", () => {
  const bytes = Buffer.from(createWatch().encode(answer));
  const message = create(WatchTaskResponseSchema, answer);
  expect([bytes[0], bytes.readUInt32BE(1)]).toEqual([0, bytes.byteLength - 5]);
  expect(bytes.subarray(5)).toEqual(Buffer.from(toBinary(WatchTaskResponseSchema, message)));
  expect(fromBinary(WatchTaskResponseSchema, bytes.subarray(5))).toEqual(message);
});

test("one that is larger than answers may be is RESOURCE_EXHAUSTED", () => {
  expect(() => createWatch(5).encode(answer)).toThrow(expect.objectContaining({ code: Code.ResourceExhausted }));
});
