import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  GetTaskStatusRequestSchema,
  LaunchTaskRequestSchema,
  ListTasksRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import { RunRequestSchema } from "#gen/stint/v1/runner_pb.js";
import { checkRules } from "../../src/rpc/rules.ts";

const good = { controller: "countdown", taskId: "a" };

function launch(fields: MessageInitShape<typeof LaunchTaskRequestSchema>) {
  return checkRules(LaunchTaskRequestSchema, create(LaunchTaskRequestSchema, { ...good, ...fields }));
}

test("a request that keeps the rules has no complaint", () => {
  expect(launch({ labels: { env: "x".repeat(256), ["k".repeat(63)]: "" }, requestId: "r".repeat(128) })).toEqual([]);
});

test("a complaint names the limit, and what was sent", () => {
  const request = { controller: "", taskId: "\u001b[2J", requestId: "é".repeat(65), ifActive: 9 as never };
  expect(launch(request)).toEqual([
    { field: "controller", description: "must be set" },
    {
      field: "task_id",
      description: 'must be 1 to 128 letters, digits and ._:@- with a letter or digit first, not "\\u001b[2J"',
    },
    {
      field: "if_active",
      description:
        "must be one of IF_ACTIVE_UNSPECIFIED, IF_ACTIVE_RESTART, IF_ACTIVE_FAIL, IF_ACTIVE_USE_EXISTING, not 9",
    },
    { field: "request_id", description: "must be at most 128 bytes, and has 130" },
  ]);
});

test("a complaint about a label says whether it is about the key", () => {
  expect(launch({ labels: { env: "x".repeat(257), "a b": "" } })).toEqual([
    { field: "labels[env]", description: "the value must be at most 256 bytes, and has 257" },
    {
      field: 'labels["a b"]',
      description: 'the key must be letters, digits and ._:@/- with a letter, digit or _ first, not "a b"',
    },
  ]);
});

test("a complaint about a number has it", () => {
  const request = create(GetTaskStatusRequestSchema, { ...good, logLimit: 1_001 });
  expect(checkRules(GetTaskStatusRequestSchema, request)).toEqual([
    { field: "log_limit", description: "must be less than or equal to 1000, and is 1001" },
  ]);
});

test("of too many labels or states none is looked at, and the other fields are", () => {
  const labels = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`bad key ${i}`, ""]));
  const states = Array.from({ length: 1_000 }, () => 99 as never);
  const request = create(ListTasksRequestSchema, { controller: "X", labels, states });
  expect(checkRules(ListTasksRequestSchema, request).map(({ field, description }) => [field, description])).toEqual([
    ["states", "must be at most 16 states, and are 1000"],
    ["labels", "must be at most 64 labels, and are 1000"],
    ["controller", 'must be 1 to 63 lower case letters, digits and - with a letter or digit first, not "X"'],
  ]);
});

test("a complaint about a member of a oneof has its value", () => {
  const accept = { taskId: "\u001b[2J", fence: 1n, phase: 9 as never };
  const request = create(RunRequestSchema, { message: { case: "accept", value: accept } });
  expect(checkRules(RunRequestSchema, request)).toEqual([
    {
      field: "accept.task_id",
      description: 'must be 1 to 128 letters, digits and ._:@- with a letter or digit first, not "\\u001b[2J"',
    },
    { field: "accept.phase", description: expect.stringContaining("not 9") },
  ]);
});

test("a complaint that a oneof is not set names it", () => {
  expect(checkRules(RunRequestSchema, create(RunRequestSchema))).toEqual([
    { field: "message", description: "exactly one field is required in oneof" },
  ]);
});
