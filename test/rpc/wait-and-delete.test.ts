import type { MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import type { DeleteTaskRequestSchema, WaitTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { ControllerError } from "../../src/controller/error.ts";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { protocolNames, serveFake } from "../support/served-fake.ts";

const task = { controller: "countdown", taskId: "a" };

const badWaits: [string, MessageInitShape<typeof WaitTaskRequestSchema>, string[]][] = [
  ["nothing at all", {}, ["controller", "task_id"]],
  ["a negative timeout", { ...task, timeout: { seconds: -1n } }, ["timeout"]],
  ["a timeout of mixed signs", { ...task, timeout: { seconds: 1n, nanos: -1 } }, ["timeout"]],
  ["a timeout of more than 10,000 years", { ...task, timeout: { seconds: 315_576_000_001n } }, ["timeout"]],
  ["a run id with a line break, and no task", { controller: "countdown", runId: "a\nb" }, ["task_id", "run_id"]],
];

const badDeletes: [string, MessageInitShape<typeof DeleteTaskRequestSchema>, string[]][] = [
  ["nothing at all", {}, ["controller", "task_id"]],
  ["a path in place of an id", { controller: "countdown", taskId: "../a", ifRevision: 1n }, ["task_id"]],
];

describe("a bad request is refused, every bad field named, and changes nothing", () => {
  test.each(badWaits)("WaitTask: %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().waitTask(request))).toMatchObject({ code: "InvalidArgument", fields });
    expect(served.controller.callCount).toBe(0);
  });
  test.each(badDeletes)("DeleteTask: %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().deleteTask(request))).toMatchObject({ code: "InvalidArgument", fields });
    expect(served.controller.callCount).toBe(0);
  });
});

describe("WaitTask", () => {
  test.each(protocolNames)("answers over %s with the task, and whether it has ended", async (protocol) => {
    await using served = await serveFake();
    const client = served.client(protocol);
    const revision = served.controller.put("a", { state: StateCompleted, result: "1" });
    served.controller.put("b", { state: StateRunning });
    expect(await client.waitTask({ ...task, runId: "r" })).toMatchObject({
      done: true,
      revision,
      status: { state: StateCompleted, result: "1" },
    });
    expect(await client.waitTask({ ...task, taskId: "b", timeout: {} })).toMatchObject({ done: false });
    expect(served.controller.waits).toMatchObject([{ runId: "r" }, { runId: undefined, timeoutMs: 0 }]);
  });

  test("takes 25 s at most, or as long as was asked for, or as there is time before the deadline", async () => {
    await using served = await serveFake();
    const client = served.client();
    served.controller.put("a", { state: StateCompleted });
    for (const timeout of [undefined, { seconds: 3_600n }, { seconds: 1n, nanos: 5e8 }]) {
      await client.waitTask({ ...task, ...(timeout && { timeout }) });
    }
    expect(served.controller.waits.map((wait) => wait.timeoutMs)).toEqual([25_000, 25_000, 1_500]);
    served.controller.put("b", { state: StateRunning });
    const answer = await client.waitTask({ ...task, taskId: "b" }, { timeoutMs: 2_000 });
    expect(answer.done).toBe(false);
    expect(served.controller.waits.at(-1)?.timeoutMs).toBeLessThan(2_000);
  });

  test("answers with the task as it is when the server drains", async () => {
    const served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const call = served.client().waitTask(task);
    await eventually(() => expect(served.controller.waits).toHaveLength(1));
    const started = performance.now();
    await served.close(5_000);
    expect(await call).toMatchObject({ done: false, status: { state: StateRunning } });
    expect(performance.now() - started).toBeLessThan(4_000);
  });

  test("is ended by a client that leaves", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const leaving = new AbortController();
    const call = callError(served.client().waitTask(task, { signal: leaving.signal }));
    await eventually(() => expect(served.controller.waits).toHaveLength(1));
    leaving.abort();
    expect((await call).code).toBe("Canceled");
    await eventually(() => expect(served.controller.waits[0]?.signal?.aborted).toBe(true));
  });
});

describe("DeleteController", () => {
  test.each(protocolNames)("forgets a controller, once, over %s", async (protocol) => {
    await using served = await serveFake();
    const client = served.client(protocol);
    served.refuseForgetting(new ControllerError("FAILED_PRECONDITION", "it has tasks"));
    const refused = { code: "FailedPrecondition", message: "it has tasks" };
    expect(await callError(client.deleteController({ controller: "countdown" }))).toMatchObject(refused);
    expect((await client.listControllers({})).controllers).toHaveLength(1);
    served.refuseForgetting(undefined);
    await client.deleteController({ controller: "countdown" });
    expect((await client.listControllers({})).controllers).toEqual([]);
    expect(await callError(client.deleteController({ controller: "countdown" }))).toMatchObject({
      code: "NotFound",
      resource: "controller countdown",
    });
  });

  test("names its one field where that is bad", async () => {
    await using served = await serveFake();
    const error = await callError(served.client().deleteController({ controller: "Count down" }));
    expect(error).toMatchObject({ code: "InvalidArgument", fields: ["controller"] });
  });
});

describe("DeleteTask", () => {
  test("deletes under the revision that was given, and only once", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateCompleted });
    await served.client().deleteTask({ ...task, ifRevision: 0n });
    expect(await callError(served.client().deleteTask(task))).toMatchObject({
      code: "NotFound",
      resource: "task countdown/a",
    });
    expect(served.controller.deletions).toEqual([{ ifRevision: 0n }, { ifRevision: undefined }]);
  });

  test("of an unknown controller names those there are", async () => {
    await using served = await serveFake();
    const error = await callError(served.client().deleteTask({ ...task, controller: "nope" }));
    expect(error).toMatchObject({ code: "NotFound", resource: "controller nope" });
    expect(error.message).toContain("countdown");
  });

  test("fails as the controller says", async () => {
    await using served = await serveFake();
    served.controller.failure = new ControllerError("FAILED_PRECONDITION", "task is Running");
    expect(await callError(served.client().deleteTask(task))).toMatchObject({
      code: "FailedPrecondition",
      message: "task is Running",
    });
  });
});
