import {
  create,
  type DescMessage,
  fromBinary,
  fromJsonString,
  type Message,
  toBinary,
  toJson,
  toJsonString,
} from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import {
  LogEntrySchema,
  ProgressSchema,
  StateTransitionSchema,
  TaskState,
  TaskStateSchema,
  TaskStatusSchema,
  TaskTrigger,
  TaskTriggerSchema,
} from "#gen/core/v1/core_pb.js";
import { oldTaskStatusSchema } from "./old-reader.ts";

/** 2023-11-14T22:13:20Z, which is 1,700,000,000 seconds after 1970. */
const at = (nanos = 0) => ({ $typeName: "google.protobuf.Timestamp" as const, seconds: 1_700_000_000n, nanos });

/** Written by hand from the table of field numbers: tag, then length where there is one, then value. */
const golden: readonly { name: string; schema: DescMessage; message: Message; hex: string[]; json: object }[] = [
  {
    name: "Progress",
    schema: ProgressSchema,
    message: create(ProgressSchema, { current: 3n, total: 300n }),
    hex: [
      "08 03", // 1 current: 3
      "10 ac02", // 2 total: 300
    ],
    json: { current: "3", total: "300" },
  },
  {
    name: "Progress up to 2^64 - 1",
    schema: ProgressSchema,
    message: create(ProgressSchema, { current: 2n ** 64n - 1n, total: 2n ** 63n }),
    hex: [
      "08 ffffffffffffffffff01", // 1 current: 18446744073709551615
      "10 80808080808080808001", // 2 total: 9223372036854775808
    ],
    json: { current: "18446744073709551615", total: "9223372036854775808" },
  },
  {
    name: "LogEntry",
    schema: LogEntrySchema,
    message: create(LogEntrySchema, { msg: "hello \u20ac", level: -4, timestamp: at(500) }),
    hex: [
      "0a 09 68656c6c6f20e282ac", // 1 msg: "hello €"
      "10 fcffffffffffffffff01", // 2 level: -4, which is debug
      "1a 09", // 3 timestamp:
      "08 80e2cfaa06", //   1 seconds: 1700000000
      "10 f403", //   2 nanos: 500
    ],
    json: { msg: "hello \u20ac", level: -4, timestamp: "2023-11-14T22:13:20.000000500Z" },
  },
  {
    name: "StateTransition",
    schema: StateTransitionSchema,
    message: create(StateTransitionSchema, { state: TaskState.Canceled, timestamp: at() }),
    hex: [
      "08 06", // 1 state: Canceled
      "1a 06 08 80e2cfaa06", // 3 timestamp: 1700000000 s
    ],
    json: { state: "Canceled", timestamp: "2023-11-14T22:13:20Z" },
  },
  {
    name: "TaskStatus",
    schema: TaskStatusSchema,
    message: create(TaskStatusSchema, {
      state: TaskState.Failed,
      progress: { current: 3n, total: 10n },
      metadata: '{"n":1}',
      logs: [{ msg: "hi", level: 8, timestamp: at() }, {}],
      transitions: [
        { state: TaskState.Pending, timestamp: at() },
        { state: TaskState.Running, timestamp: at(1) },
        { state: TaskState.Failed },
      ],
    }),
    hex: [
      "08 04", // 1 state: Failed
      "12 04 0803 100a", // 2 progress: current 3, total 10
      "1a 07 7b226e223a317d", // 3 metadata: {"n":1}
      "22 0e", // 4 logs, the first:
      "0a 02 6869", //   1 msg: "hi"
      "10 08", //   2 level: 8, which is error
      "1a 06 08 80e2cfaa06", //   3 timestamp: 1700000000 s
      "22 00", // 4 logs, the second: nothing set
      "2a 0a 0801 1a06 0880e2cfaa06", // 5 transitions: Pending
      "2a 0c 0802 1a08 0880e2cfaa06 1001", // 5 transitions: Running, 1 ns later
      "2a 02 0804", // 5 transitions: Failed, without a time
    ],
    json: {
      state: "Failed",
      progress: { current: "3", total: "10" },
      metadata: '{"n":1}',
      logs: [{ msg: "hi", level: 8, timestamp: "2023-11-14T22:13:20Z" }, {}],
      transitions: [
        { state: "Pending", timestamp: "2023-11-14T22:13:20Z" },
        { state: "Running", timestamp: "2023-11-14T22:13:20.000000001Z" },
        { state: "Failed" },
      ],
    },
  },
  {
    name: "TaskStatus with nothing set",
    schema: TaskStatusSchema,
    message: create(TaskStatusSchema),
    hex: [],
    json: {},
  },
];

describe.each(golden)("$name", ({ schema, message, hex, json }) => {
  const bytes = new Uint8Array(Buffer.from(hex.join("").replaceAll(" ", ""), "hex"));

  test("its bytes decode to the message", () => {
    expect(fromBinary(schema, bytes)).toEqual(message);
  });

  test("the message encodes to its bytes, and so does what they decode to", () => {
    expect(Buffer.from(toBinary(schema, message)).toString("hex")).toBe(Buffer.from(bytes).toString("hex"));
    expect(toBinary(schema, fromBinary(schema, bytes))).toEqual(bytes);
  });

  test("its JSON has the names and forms of corev1", () => {
    expect(toJson(schema, message)).toEqual(json);
    expect(fromJsonString(schema, JSON.stringify(json))).toEqual(message);
  });
});

describe("enums", () => {
  test("TaskState has its values, and 5 is reserved", () => {
    expect(namesOf(TaskStateSchema)).toEqual({
      Unknown: 0,
      Pending: 1,
      Running: 2,
      Completed: 3,
      Failed: 4,
      Canceled: 6,
    });
    expect(TaskStateSchema.proto.reservedRange).toMatchObject([{ start: 5, end: 5 }]);
    expect(TaskState).toMatchObject({ Unknown: 0, Pending: 1, Running: 2, Completed: 3, Failed: 4, Canceled: 6 });
  });

  test("TaskTrigger has its values", () => {
    expect(namesOf(TaskTriggerSchema)).toEqual({ Start: 0, End: 1, Error: 2, Cancel: 3 });
    expect(TaskTrigger).toMatchObject({ Start: 0, End: 1, Error: 2, Cancel: 3 });
  });
});

describe("field numbers", () => {
  test.each([
    { schema: ProgressSchema, own: { current: 1, total: 2 } },
    { schema: LogEntrySchema, own: { msg: 1, level: 2, timestamp: 3 } },
    { schema: StateTransitionSchema, own: { state: 1, timestamp: 3 } },
    { schema: TaskStatusSchema, own: { state: 1, progress: 2, metadata: 3, logs: 4, transitions: 5 } },
  ])("below 16 $schema.name has the table's fields only", ({ schema, own }) => {
    const below = schema.fields.filter((field) => field.number < 16);
    expect(Object.fromEntries(below.map((field) => [field.name, field.number]))).toEqual(own);
  });

  test("what Stint adds has the numbers that it was given", () => {
    const added = (schema: DescMessage) =>
      Object.fromEntries(
        schema.fields.filter((field) => field.number >= 16).map((field) => [field.name, field.number]),
      );
    expect(added(ProgressSchema)).toEqual({ message: 16, unit: 17 });
    expect(added(LogEntrySchema)).toEqual({ seq: 16 });
    expect(added(StateTransitionSchema)).toEqual({ reason: 16 });
    expect(added(TaskStatusSchema)).toEqual({
      error: 16,
      result: 17,
      attempt: 18,
      cancel: 19,
      labels: 20,
      owner: 21,
      create_time: 22,
      update_time: 23,
      run_id: 24,
      start_time: 25,
      end_time: 26,
      log_count: 27,
      logs_dropped: 28,
      transitions_dropped: 29,
      waiting_for: 30,
      runner: 31,
      crash_count: 32,
      rejected_writes: 33,
    });
  });

  test("2 in StateTransition and 40 to 59 in TaskStatus are reserved", () => {
    // The ends are exclusive, here and in descriptors of messages.
    expect(StateTransitionSchema.proto.reservedRange).toMatchObject([{ start: 2, end: 3 }]);
    expect(TaskStatusSchema.proto.reservedRange).toMatchObject([{ start: 40, end: 60 }]);
    expect(TaskStatusSchema.fields.filter((field) => field.number >= 40 && field.number < 60)).toEqual([]);
  });
});

describe("a reader that knows the table's fields only", () => {
  const status = create(TaskStatusSchema, {
    state: TaskState.Completed,
    progress: { current: 1n, total: 2n, message: "halfway", unit: "bytes" },
    metadata: "{}",
    logs: [{ msg: "hi", level: 4, timestamp: timestampFromDate(new Date(0)), seq: 7n }],
    transitions: [{ state: TaskState.Completed, timestamp: at(), reason: "because" }],
    result: "null",
    attempt: 2,
    cancel: { requestedBy: "somebody", reason: "no more" },
    labels: { team: "blue" },
    error: { code: 4, message: "late", reason: "TIMEOUT", details: { a: "b" } },
    createTime: at(),
    runId: "run",
    logCount: 7n,
    rejectedWrites: 1n,
  });

  test("reads what Stint writes", () => {
    const seen = fromBinary(oldTaskStatusSchema, toBinary(TaskStatusSchema, status));
    expect(toJson(oldTaskStatusSchema, seen)).toEqual({
      state: "Completed",
      progress: { current: "1", total: "2" },
      metadata: "{}",
      logs: [{ msg: "hi", level: 4, timestamp: "1970-01-01T00:00:00Z" }],
      transitions: [{ state: "Completed", timestamp: "2023-11-14T22:13:20Z" }],
    });
  });

  test("hands on what it does not know", () => {
    const seen = fromBinary(oldTaskStatusSchema, toBinary(TaskStatusSchema, status));
    expect(fromBinary(TaskStatusSchema, toBinary(oldTaskStatusSchema, seen))).toEqual(status);
  });

  test("writes what Stint reads", () => {
    const json = toJsonString(
      oldTaskStatusSchema,
      fromBinary(oldTaskStatusSchema, new Uint8Array([0x08, 0x02, 0x12, 0x00])),
    );
    expect(json).toBe('{"state":"Running","progress":{}}');
    expect(fromBinary(TaskStatusSchema, new Uint8Array([0x08, 0x02, 0x12, 0x00]))).toEqual(
      create(TaskStatusSchema, { state: TaskState.Running, progress: {} }),
    );
  });
});

function namesOf(schema: typeof TaskStateSchema | typeof TaskTriggerSchema): Record<string, number> {
  return Object.fromEntries(schema.values.map((value) => [value.name, value.number]));
}
