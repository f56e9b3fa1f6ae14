import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProgressSchema, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { LeaseSchema, TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { RunResponseSchema } from "#gen/stint/v1/runner_pb.js";
import { createEncoder } from "../../src/messages/message-encoder.ts";
import { anyMessage } from "./any-message.ts";

describe("the encoder", () => {
  test.each([TaskStatusSchema, TaskRecordSchema, LeaseSchema, RunResponseSchema])(
    "makes the bytes of %s that toBinary makes",
    (schema) => {
      const encode = createEncoder(schema);
      fc.assert(
        fc.property(anyMessage(schema), (message) => {
          expect(Buffer.compare(encode(message as never), toBinary(schema, message as never))).toBe(0);
        }),
        { numRuns: Number(process.env["ENCODER_RUNS"] ?? 200) },
      );
    },
  );

  test("puts messages one behind the other", () => {
    const status = create(TaskStatusSchema, { metadata: "{}" });
    const record = create(TaskRecordSchema, { logBytes: 7n });
    const bytes = createEncoder(TaskStatusSchema, TaskRecordSchema)(status, record);
    const both = Buffer.concat([toBinary(TaskStatusSchema, status), toBinary(TaskRecordSchema, record)]);
    expect(Buffer.compare(bytes, both)).toBe(0);
  });

  test.each([{ current: -1n }, { current: 2n ** 64n }, { current: "many" }])(
    "fails for %o as toBinary does, and goes on",
    (fields) => {
      const encode = createEncoder(ProgressSchema);
      const wrong = Object.assign(create(ProgressSchema, { total: 5n }), fields);
      expect(() => encode(wrong)).toThrow(/core\.v1\.Progress\.current/);
      const right = create(ProgressSchema, { current: 1n });
      expect(Buffer.compare(encode(right), toBinary(ProgressSchema, right))).toBe(0);
    },
  );

  test("loses nothing of a short text at the place where its buffer has to grow", () => {
    const encode = createEncoder(TaskStatusSchema);
    const transitions = Array.from({ length: 10_000 }, () => ({ state: 2, reason: "ab" }));
    for (let filler = 0; filler < 12; filler += 1) {
      const status = create(TaskStatusSchema, { metadata: "x".repeat(filler), transitions });
      expect(Buffer.compare(encode(status), toBinary(TaskStatusSchema, status)), String(filler)).toBe(0);
    }
  });

  test("of what it cannot write is not there the second time either", () => {
    for (let i = 0; i < 2; i += 1) expect(() => createEncoder(LaunchTaskRequestSchema)).toThrow("is of a kind");
    const lease = create(LeaseSchema, { runId: "r" });
    expect(Buffer.compare(createEncoder(LeaseSchema)(lease), toBinary(LeaseSchema, lease))).toBe(0);
  });

  test("takes for text what toBinary takes for it", () => {
    const odd = Object.assign(create(ProgressSchema), { message: 7 as unknown as string });
    expect(Buffer.compare(createEncoder(ProgressSchema)(odd), toBinary(ProgressSchema, odd))).toBe(0);
  });
});
