import { create, type DescMessage, equals, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProgressSchema, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { LeaseSchema, TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { BatchLaunchTasksRequestSchema, ListTasksRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { RunRequestSchema } from "#gen/stint/v1/runner_pb.js";
import { createDecoder, createQuickDecoder } from "../../src/messages/message-decoder.ts";
import { anyMessage } from "./any-message.ts";

const numRuns = Number(process.env["DECODER_RUNS"] ?? 200);
const schemas = [TaskStatusSchema, TaskRecordSchema, LeaseSchema, RunRequestSchema, BatchLaunchTasksRequestSchema];
const plain = { readUnknownFields: false };

/** The message, or that there is none. */
function outcomeOf(decode: () => Message): Message | string {
  try {
    return decode();
  } catch (error) {
    return String(error);
  }
}

/** Fails unless the decoder makes of the bytes what fromBinary does. */
function expectAlike(schema: DescMessage, bytes: Uint8Array): void {
  const wanted = outcomeOf(() => fromBinary(schema, bytes, plain));
  const got = outcomeOf(() => createDecoder(schema)(bytes)[0] as Message);
  if (typeof wanted === "string" || typeof got === "string") expect(got).toBe(wanted);
  else {
    expect(equals(schema, got, wanted)).toBe(true);
    expect(Buffer.compare(toBinary(schema, got), toBinary(schema, wanted))).toBe(0);
  }
}

/** Bytes of a message, some of them changed, cut off or put in once more. */
function brokenBytes(schema: DescMessage): fc.Arbitrary<Uint8Array> {
  const byte = fc.nat(255);
  const change = fc.record({ at: fc.nat(), byte, how: fc.constantFrom("set", "insert", "cut", "again") });
  return fc.tuple(anyMessage(schema), fc.array(change, { minLength: 1, maxLength: 3 })).map(([message, changes]) => {
    let bytes = [...toBinary(schema, message)].slice(0, 5_000);
    for (const { at, byte: put, how } of changes) {
      const place = at % (bytes.length + 1);
      if (how === "cut") bytes = bytes.slice(0, place);
      else if (how === "again") bytes = [...bytes, ...bytes.slice(place)];
      else bytes.splice(place, how === "set" ? 1 : 0, put);
    }
    return new Uint8Array(bytes);
  });
}

/** A field by its number, with a varint of these bytes. */
const field = (number: number, ...varint: number[]): Uint8Array => new Uint8Array([number << 3, ...varint]);

describe("the decoder", () => {
  test.each<DescMessage>(schemas)("makes of the bytes of %s what fromBinary makes", (schema) => {
    fc.assert(
      fc.property(anyMessage(schema), (message) => expectAlike(schema, toBinary(schema, message))),
      { numRuns },
    );
  });

  test.each<DescMessage>(schemas)("makes the same of bytes that are no %s, or says the same of them", (schema) => {
    fc.assert(
      fc.property(brokenBytes(schema), (bytes) => expectAlike(schema, bytes)),
      { numRuns },
    );
  });

  test("reads all that a task has by itself", () => {
    // What fromBinary makes has a property only for what is set: so one that has all was read here.
    const bytes = toBinary(
      TaskStatusSchema,
      create(TaskStatusSchema, { progress: {}, transitions: [{ reason: "é" }] }),
    );
    const [status] = createDecoder(TaskStatusSchema)(bytes);
    expect(Object.keys(status)).toContain("result");
    expect(Object.keys(status.progress ?? {})).toContain("unit");
  });

  test("takes messages apart that are one behind the other", () => {
    const status = create(TaskStatusSchema, { runId: "r", labels: { a: "b" } });
    const record = create(TaskRecordSchema, { generation: "g", logBytes: 7n });
    const bytes = Buffer.concat([toBinary(TaskRecordSchema, record), toBinary(TaskStatusSchema, status)]);
    const [gotStatus, gotRecord] = createDecoder(TaskStatusSchema, TaskRecordSchema)(bytes);
    expect(equals(TaskStatusSchema, gotStatus, status)).toBe(true);
    expect(equals(TaskRecordSchema, gotRecord, record)).toBe(true);
  });

  test.each([
    ["a progress that comes twice", TaskStatusSchema, [...[0x12, 2, 8, 1], ...[0x12, 2, 0x10, 2]]],
    ["a text with a byte order mark", ProgressSchema, [0x82, 1, 4, 0xef, 0xbb, 0xbf, 0x61]],
    ["a text that is no UTF-8", ProgressSchema, [0x82, 1, 1, 0xff]],
    ["a label with a name that is no property", TaskStatusSchema, [0xa2, 1, 11, 10, 9, ...Buffer.from("__proto__")]],
    ["a label without a name", TaskStatusSchema, [0xa2, 1, 0]],
    ["2^64 - 1", ProgressSchema, field(1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)],
    ["a number of eleven bytes", ProgressSchema, field(1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)],
    ["a number in more bytes than it needs", ProgressSchema, field(1, 129, 128, 0)],
    ["a tag of six bytes", ProgressSchema, [0x88, 0x80, 0x80, 0x80, 0x80, 0, 5]],
    ["a tag of six bytes in a part", TaskStatusSchema, [0x12, 7, 0x88, 0x80, 0x80, 0x80, 0x80, 0, 5]],
    ["a tag of six bytes that nobody knows", ProgressSchema, [0xf8, 0x87, 0x80, 0x80, 0x80, 0, 5]],
    ["a tag of six bytes in a label", TaskStatusSchema, [0xa2, 1, 8, 0x8a, 0x80, 0x80, 0x80, 0x80, 0, 1, 97]],
    ["a label with a field that no label has", TaskStatusSchema, [0xa2, 1, 7, 10, 1, 97, 0x18, 1, 0x18, 2]],
    ["a choice that comes twice", RunRequestSchema, [10, 3, 10, 1, 97, 10, 3, 0x12, 1, 98]],
    ["a choice and then another", RunRequestSchema, [10, 3, 10, 1, 97, 0x12, 2, 8, 1]],
    ["states that are packed", ListTasksRequestSchema, [0x12, 2, 1, 2, 0x12, 1, 3]],
    ["states one by one", ListTasksRequestSchema, [0x10, 1, 0x10, 2]],
    ["a field number of zero", ProgressSchema, [0, 0]],
    ["a field that nobody knows", ProgressSchema, [0xf8, 7, 1, 8, 1]],
    ["a group that nobody knows", ProgressSchema, [0xfb, 7, 0xfc, 7, 8, 1]],
    ["a field of another kind", ProgressSchema, [10, 1, 1]],
    ["a length beyond the end", ProgressSchema, [0x82, 1, 200, 1]],
    ["a part that is longer than its message", TaskStatusSchema, [0x12, 3, 0x82, 1, 5, 97, 97, 97, 97, 97]],
    ["nothing", TaskStatusSchema, []],
  ] as const)("takes %s for what fromBinary takes it", (_, schema, bytes) => {
    expectAlike(schema, new Uint8Array(bytes));
  });

  test("gives each message lists and maps of its own", () => {
    const decode = createDecoder(TaskStatusSchema);
    const [one] = decode(new Uint8Array(0));
    const [other] = decode(new Uint8Array(0));
    expect(one.transitions).not.toBe(other.transitions);
    expect(one.labels).not.toBe(other.labels);
    const request = createDecoder(RunRequestSchema);
    expect(request(new Uint8Array(0))[0].message).not.toBe(request(new Uint8Array(0))[0].message);
  });

  test("leaves nothing that is usual to fromBinary", () => {
    const launch = { controller: "c", labels: { a: "b" }, payload: { case: "jsonMetadata", value: "{}" } } as const;
    const usual = [
      [BatchLaunchTasksRequestSchema, create(BatchLaunchTasksRequestSchema, { requests: [launch, launch] })],
      [ListTasksRequestSchema, create(ListTasksRequestSchema, { controller: "c", states: [1, 2], pageSize: 10 })],
      [RunRequestSchema, create(RunRequestSchema, { message: { case: "keepalive", value: { number: 1n } } })],
    ] as const;
    for (const [schema, message] of usual) {
      const bytes = toBinary(schema as DescMessage, message);
      expect(createQuickDecoder(schema as DescMessage)(bytes)).toEqual([message]);
    }
  });
});
