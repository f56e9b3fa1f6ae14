import { create, type DescMessage, equals } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { changedRecord, changedStatus } from "../../src/task/changed.ts";

/** A value for each field, other than those of all others. */
function filled(desc: DescMessage): Record<string, unknown> {
  const values = desc.members.map(({ localName }) => [localName, Symbol(localName)]);
  return { $typeName: desc.typeName, ...Object.fromEntries(values) };
}

const copies = [
  { name: "a status", desc: TaskStatusSchema, change: changedStatus as (from: unknown, to: object) => unknown },
  { name: "a record", desc: TaskRecordSchema, change: changedRecord as (from: unknown, to: object) => unknown },
];

describe.each(copies)("$name that is changed", ({ desc, change }) => {
  test("has all fields of the one before, whatever the message comes to have", () => {
    const before = filled(desc);
    expect(change(before, {})).toEqual(before);
    expect(change(before, {})).not.toBe(before);
  });

  test("has the changes, and leaves the one before as it was", () => {
    const before = filled(desc);
    const [field = ""] = Object.keys(before).slice(-1);
    expect(change(before, { [field]: undefined })).toEqual({ ...before, [field]: undefined });
    expect(before).toEqual({ ...before, [field]: expect.anything() });
  });
});

test("a status that was changed is one to protobuf", () => {
  const changed = changedStatus(create(TaskStatusSchema, { runId: "r", attempt: 2 }), { attempt: 3 });
  expect(equals(TaskStatusSchema, changed, create(TaskStatusSchema, { runId: "r", attempt: 3 }))).toBe(true);
});
