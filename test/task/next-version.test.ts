import { create, type DescMessage, equals } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { TaskRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { nextRecord, nextStatus } from "../../src/task/next-version.ts";

/** A value for each field, other than those of all others. */
function filled(desc: DescMessage): Record<string, unknown> {
  const values = desc.members.map(({ localName }) => [localName, Symbol(localName)]);
  return { $typeName: desc.typeName, ...Object.fromEntries(values) };
}

const copies = [
  { name: "a status", desc: TaskStatusSchema, next: nextStatus as (from: unknown) => unknown },
  { name: "a record", desc: TaskRecordSchema, next: nextRecord as (from: unknown) => unknown },
];

describe.each(copies)("the next version of $name", ({ desc, next }) => {
  test("has all fields of the one before, whatever the message comes to have, and is another", () => {
    const before = filled(desc);
    expect(next(before)).toEqual(before);
    expect(next(before)).not.toBe(before);
  });
});

test("the next version of a status is one to protobuf", () => {
  const next = nextStatus(create(TaskStatusSchema, { runId: "r", attempt: 2 }));
  next.attempt = 3;
  expect(equals(TaskStatusSchema, next, create(TaskStatusSchema, { runId: "r", attempt: 3 }))).toBe(true);
});
