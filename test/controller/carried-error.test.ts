import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { openHarness } from "../support/controller-harness.ts";

const trap = (): never => {
  throw new Error("trap");
};
const allTraps = new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap, ownKeys: trap });

describe("an error that brings a task's error along", () => {
  const carry = (taskError: unknown): Error => Object.assign(new Error("plain"), { taskError });
  const exit = { code: 9, message: "disk is full", reason: "EXIT_CODE", details: { exit_code: "3" } };

  test.each<[string, Error, object]>([
    ["gives the task that", carry(create(TaskErrorSchema, exit)), exit],
    [
      "gives no reason that only the controller has",
      carry(create(TaskErrorSchema, { ...exit, reason: "CRASH_LOOP" })),
      { reason: "RUNNER_ERROR" },
    ],
    ["gives no code that is none", carry(create(TaskErrorSchema, { ...exit, code: 0 })), { code: 2 }],
    ["gives no code that nobody knows", carry(create(TaskErrorSchema, { ...exit, code: 99 as never })), { code: 2 }],
    [
      "is cut",
      carry(create(TaskErrorSchema, { ...exit, message: "x".repeat(10_000) })),
      { message: expect.stringMatching(/^x{4000,4096}… \(cut\)$/) as unknown },
    ],
    [
      "is taken for what it says where that is no TaskError",
      carry({ ...exit }),
      { code: 2, message: "plain", reason: "RUNNER_ERROR", details: {} },
    ],
    [
      "is taken for what it says where that is broken",
      carry({ ...create(TaskErrorSchema, exit), details: null }),
      { message: "plain" },
    ],
    ["is taken for what it says where that is a trap", carry(allTraps), { message: "plain" }],
  ])("%s", async (_, error, expected) => {
    await using h = await openHarness();
    h.runner.scripts.running = () => Promise.reject(error);
    await h.launch("a");
    await h.settle();
    expect(await h.controller.taskStatus("a")).toMatchObject({ state: 4, error: expected });
  });

  test("has details, of which no more are kept than there may be", async () => {
    await using h = await openHarness();
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`key ${i}`, "x".repeat(10_000)]));
    const taskError = create(TaskErrorSchema, { ...exit, details: many });
    h.runner.scripts.running = () => Promise.reject(carry(taskError));
    await h.launch("a");
    await h.settle();
    const { details = {} } = (await h.controller.taskStatus("a")).error ?? {};
    expect(Object.keys(details)).toHaveLength(16);
    expect(Object.values(details).map((value) => Buffer.byteLength(value) <= 1_024)).not.toContain(false);
  });
});
