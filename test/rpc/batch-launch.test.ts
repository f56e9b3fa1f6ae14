import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  type BatchLaunchResult,
  BatchLaunchTasksRequestSchema,
  BatchLaunchTasksResponseSchema,
  type IfActive,
  LaunchOutcome,
  type LaunchTaskRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import { ControllerError } from "../../src/controller/error.ts";
import { type CallError, callError, readStatus } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { protocolNames, serveFake } from "../support/served-fake.ts";

type Launch = MessageInitShape<typeof LaunchTaskRequestSchema>;

const controller = "countdown";

/** A result that is an error, as LaunchTask would have failed with. */
function errorOf(result: BatchLaunchResult | undefined): CallError {
  if (result?.result.case !== "error") throw new Error(`it was launched`);
  return readStatus(result.result.value);
}

const bad: [string, Launch][] = [
  ["nothing at all", {}],
  ["ids with what they may not have", { controller: "Count", taskId: "../x" }],
  ["metadata that is no object", { controller, taskId: "a", payload: { case: "jsonMetadata", value: "[]" } }],
  ["many bad labels", { controller, taskId: "a", labels: { "": "", "a b": "c", env: "x".repeat(257) } }],
  ["an enum value that is not in the enum", { controller, taskId: "a", ifActive: 9 as IfActive }],
  ["a controller that is not there", { controller: "nope", taskId: "a" }],
];

describe("BatchLaunchTasks", () => {
  test.each(protocolNames)("answers over %s for each request, in order", async (protocol) => {
    await using served = await serveFake();
    const requests: Launch[] = [
      { controller, taskId: "a", payload: { case: "jsonMetadata", value: '{ "n":1}' }, requestId: "r" },
      { controller, taskId: "/" },
      { controller, payload: { case: "metadata", value: { b: 1, a: 2 } } },
    ];
    const { results } = await served.client(protocol).batchLaunchTasks({ requests });
    expect(results.map((result) => result.result.case)).toEqual(["launched", "error", "launched"]);
    expect(results[0]?.result.value).toMatchObject({
      taskId: "a",
      runId: "run-a",
      revision: expect.any(BigInt) as unknown,
      outcome: LaunchOutcome.LAUNCHED,
    });
    expect(errorOf(results[1])).toMatchObject({ code: "InvalidArgument", fields: ["task_id"] });
    expect(results[2]?.result.value).toMatchObject({ taskId: expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown });
    expect(served.controller.launches).toMatchObject([
      { jsonMetadata: '{ "n":1}', requestId: "r", generatedTaskId: false },
      { jsonMetadata: '{"a":2,"b":1}', requestId: undefined, generatedTaskId: true },
    ]);
  });

  test.each(bad)("refuses %s just as LaunchTask does, and nothing else", async (_, request) => {
    await using served = await serveFake();
    const client = served.client();
    const alone = await callError(client.launchTask(request));
    const { results } = await client.batchLaunchTasks({ requests: [request, { controller, taskId: "good" }] });
    expect(errorOf(results[0])).toEqual(alone);
    expect(results[1]?.result.case).toBe("launched");
    expect(served.controller.launches).toHaveLength(1);
  });

  test("has the errors of the controller with their details, and hides those that are bugs", async () => {
    await using served = await serveFake();
    const requests = [{ controller, taskId: "a" }];
    const failures = [
      new ControllerError("RESOURCE_EXHAUSTED", "too many", {
        reason: "LIMIT",
        metadata: { limit: "waiting_max", value: "5" },
        retryDelayMs: 5_000,
      }),
      new ControllerError("DATA_LOSS", "damaged", {
        reason: "CORRUPT",
        resource: { type: "task", name: "countdown/a" },
      }),
      new TypeError("secret"),
    ];
    const read = [];
    for (const failure of failures) {
      served.controller.failure = failure;
      const { results } = await served.client().batchLaunchTasks({ requests });
      read.push(errorOf(results[0]));
    }
    expect(read).toMatchObject([
      { code: "ResourceExhausted", reason: "LIMIT", metadata: { value: "5" }, retries: true, domain: "stint.v1" },
      { code: "DataLoss", reason: "CORRUPT", resource: "task countdown/a" },
      { code: "Internal", message: "internal error", reason: undefined },
    ]);
    expect(served.logged.at(-1)?.fields).toMatchObject({ rpc: "BatchLaunchTasks", err: failures[2] });
  });

  test("takes 1,000 requests and no more, and none is fine, too", async () => {
    await using served = await serveFake();
    const requests = Array.from({ length: 1_001 }, (_, i) => ({ controller, taskId: `t${i}` }));
    const error = await callError(served.client().batchLaunchTasks({ requests }));
    expect(error).toMatchObject({ code: "InvalidArgument", fields: ["requests"] });
    expect(served.controller.launches).toHaveLength(0);
    const { results } = await served.client().batchLaunchTasks({ requests: requests.slice(1) });
    expect(results.map((result) => (result.result.value as { taskId: string }).taskId)).toEqual(
      requests.slice(1).map((request) => request.taskId),
    );
    expect(served.controller.batches.map((batch) => batch.size)).toEqual([1_000]);
    expect((await served.client().batchLaunchTasks({})).results).toEqual([]);
  });
});

describe("the request of a batch", () => {
  const launchOf = (bytes: number): Launch => {
    const value = `{"x":"${"x".repeat(bytes)}"}`;
    return { controller, taskId: "a", payload: { case: "jsonMetadata", value } };
  };

  /** A batch whose message has so many bytes. */
  function batchOf(bytes: number): { requests: Launch[] } {
    const requests = [launchOf(0)];
    const left = (): number =>
      bytes - toBinary(BatchLaunchTasksRequestSchema, create(BatchLaunchTasksRequestSchema, { requests })).byteLength;
    while (left() > 210_000) requests.push(launchOf(200_000));
    let padding = 0;
    for (let missing = left(); missing !== 0; missing = left()) requests[0] = launchOf((padding += missing));
    return { requests };
  }
  const most = 4 * 1024 * 1024;

  test.each(["grpc", "grpc-web", "connect", "connect-h1"] as const)("may have 4 MiB over %s", async (protocol) => {
    await using served = await serveFake();
    const { results } = await served.client(protocol).batchLaunchTasks(batchOf(most));
    expect(results.map((result) => result.result.case)).toEqual(Array(results.length).fill("launched"));
    const error = await callError(served.client(protocol).batchLaunchTasks(batchOf(most + 1)));
    expect(error).toMatchObject({
      code: "ResourceExhausted",
      reason: "LIMIT",
      metadata: { limit: "batch_request_max_bytes", value: String(most) },
    });
  });

  test("leaves that of all others at 1 MiB", async () => {
    await using served = await serveFake();
    const labels = { x: "y".repeat(1024 * 1024) };
    const error = await callError(served.client().launchTask({ controller, labels }));
    expect(error).toMatchObject({
      code: "ResourceExhausted",
      metadata: { limit: "request_max_bytes", value: String(1024 * 1024) },
    });
  });
});

describe("the answer to a batch", () => {
  /** Whatever grows when it is escaped. */
  const worst: Launch = {
    controller: '"'.repeat(64),
    taskId: "\\".repeat(128),
    labels: Object.fromEntries(
      Array.from({ length: 64 }, (_, i) => [`"\\${i}${'"\\'.repeat(12)}`, "\ud7ff".repeat(90)]),
    ),
    payload: { case: "jsonMetadata", value: "[" },
    requestId: '"'.repeat(129),
  };

  test.each(["grpc", "connect-json"] as const)(
    "fits over %s, whatever is wrong with however many",
    { timeout: 60_000 },
    async (protocol) => {
      await using served = await serveFake({ limits: { batchRequestMaxBytes: 64 * 1024 * 1024 } });
      const requests = Array.from({ length: 1_000 }, () => worst);
      const { results } = await served.client(protocol).batchLaunchTasks({ requests });
      expect(results).toHaveLength(1_000);
      for (const result of [results[0], results[999]]) {
        const error = errorOf(result);
        expect(error.fields.slice(0, 2)).toEqual(["controller", "task_id"]);
        expect(error.descriptions.at(-1)).toMatch(/^and \d+ more$/);
      }
      const answer = create(BatchLaunchTasksResponseSchema, { results });
      expect(toBinary(BatchLaunchTasksResponseSchema, answer).byteLength).toBeLessThan(4 * 1024 * 1024);
    },
  );

  test("comes before the deadline, and says which launches are not done", async () => {
    await using served = await serveFake();
    served.controller.gate = new Promise(() => {});
    const requests = [{ controller, taskId: "a" }, { controller: "nope" }, { controller, taskId: "b" }];
    const { results } = await served.client().batchLaunchTasks({ requests }, { timeoutMs: 2_000 });
    const codes = results.map((result) => errorOf(result).code);
    expect(codes).toEqual(["DeadlineExceeded", "NotFound", "DeadlineExceeded"]);
    expect(errorOf(results[0]).message).toContain("request_id");
  });

  test("is of no use to a client that has left: nothing more is begun", async () => {
    await using served = await serveFake();
    served.controller.gate = new Promise(() => {});
    const leaving = new AbortController();
    const call = served.client().batchLaunchTasks({ requests: [{ controller }] }, { signal: leaving.signal });
    const failing = callError(call);
    await eventually(() => expect(served.controller.batches).toHaveLength(1));
    leaving.abort();
    expect((await failing).code).toBe("Canceled");
    await eventually(() => expect(served.controller.batches[0]?.signal?.aborted).toBe(true));
  });
});
