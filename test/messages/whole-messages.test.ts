import { create, equals, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { wholeMessages } from "../../src/messages/whole-messages.ts";

const make = wholeMessages(TaskStatusSchema);
const wholeStatus = (fields: Partial<TaskStatus>): TaskStatus => Object.assign(make(), fields) as unknown as TaskStatus;

describe("a whole message", () => {
  test("is to protobuf what create() makes, and has each field as a property", () => {
    const fields = { runId: "r", attempt: 2, labels: { a: "b" }, result: "null" };
    const whole = wholeStatus(fields);
    const created = create(TaskStatusSchema, fields);
    expect(equals(TaskStatusSchema, whole, created)).toBe(true);
    expect(toBinary(TaskStatusSchema, whole)).toEqual(toBinary(TaskStatusSchema, created));
    expect(Object.keys(whole).toSorted()).toEqual(
      ["$typeName", ...TaskStatusSchema.members.map(({ localName }) => localName)].toSorted(),
    );
  });

  test("shares no list and no map with another", () => {
    const one = wholeStatus({});
    const other = wholeStatus({});
    for (const name of ["labels", "logs", "transitions"] as const) expect(one[name]).not.toBe(other[name]);
  });
});
