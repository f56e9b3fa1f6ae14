import type { MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import type { TaskState } from "#gen/core/v1/core_pb.js";
import type {
  CancelTaskRequestSchema,
  GetTaskStatusRequestSchema,
  IfActive,
  IfEnded,
  LaunchTaskRequestSchema,
  ListTasksRequestSchema,
  TaskOrder,
  WatchTaskRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import { StatePending } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { protocolNames, serveFake } from "../support/served-fake.ts";

const task = { controller: "countdown", taskId: "a" };

const badLaunches: [string, MessageInitShape<typeof LaunchTaskRequestSchema>, string[]][] = [
  ["nothing at all", {}, ["controller"]],
  ["ids with what they may not have", { controller: "Count", taskId: "../x" }, ["controller", "task_id"]],
  ["an id that is too long", { ...task, taskId: "a".repeat(129) }, ["task_id"]],
  ["a control character in an id", { ...task, taskId: "a\u0000" }, ["task_id"]],
  ["metadata that is no object", { ...task, payload: { case: "jsonMetadata", value: "[]" } }, ["json_metadata"]],
  ["metadata that is no JSON", { ...task, payload: { case: "jsonMetadata", value: "{" } }, ["json_metadata"]],
  [
    "metadata that is too large",
    { ...task, payload: { case: "jsonMetadata", value: `{"a":"${"x".repeat(256 * 1024)}"}` } },
    ["json_metadata"],
  ],
  [
    "metadata that is too deep",
    { ...task, payload: { case: "jsonMetadata", value: `{"a":${"[".repeat(5_000)}` } },
    ["json_metadata"],
  ],
  [
    "an integer beyond 2^53 in a Struct",
    { ...task, payload: { case: "metadata", value: { a: { b: [1, 2 ** 60] } } } },
    ["metadata.a.b[1]"],
  ],
  [
    "many bad labels",
    { ...task, labels: { "": "", "a b": "c", env: "x".repeat(257) } },
    ['labels[""]', 'labels["a b"]', "labels[env]"],
  ],
  [
    "too many labels",
    { ...task, labels: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, ""])) },
    ["labels"],
  ],
  [
    "enum values that are not in the enum",
    { ...task, ifActive: 9 as IfActive, ifEnded: -1 as IfEnded },
    ["if_active", "if_ended"],
  ],
  ["a request id that is too long", { ...task, requestId: "r".repeat(129) }, ["request_id"]],
  ["a request id with an escape", { ...task, requestId: "\u001b[2J" }, ["request_id"]],
];

const badCancels: [string, MessageInitShape<typeof CancelTaskRequestSchema>, string[]][] = [
  ["no task", { controller: "countdown" }, ["task_id"]],
  ["a reason that is too long", { ...task, reason: "é".repeat(2_049) }, ["reason"]],
  ["a negative wait", { ...task, wait: { seconds: -1n } }, ["wait"]],
  ["a wait of mixed signs", { ...task, wait: { seconds: 1n, nanos: -1 } }, ["wait"]],
  ["a wait of more than 10,000 years", { ...task, wait: { seconds: 315_576_000_001n } }, ["wait"]],
  ["nanos of more than a second", { ...task, wait: { nanos: 1_000_000_000 } }, ["wait"]],
  ["a run id with a line break", { ...task, runId: "a\nb" }, ["run_id"]],
];

const badGets: [string, MessageInitShape<typeof GetTaskStatusRequestSchema>, string[]][] = [
  ["too many log entries", { ...task, logLimit: 1_001 }, ["log_limit"]],
  [
    "paths that are not there",
    { ...task, readMask: { paths: ["state", "nope", "progress.nope", "state.x", "labels.a", ""] } },
    ["read_mask.paths[1]", "read_mask.paths[2]", "read_mask.paths[3]", "read_mask.paths[4]", "read_mask.paths[5]"],
  ],
  ["far too many paths", { ...task, readMask: { paths: Array(257).fill("state") } }, ["read_mask"]],
];

const badLists: [string, MessageInitShape<typeof ListTasksRequestSchema>, string[]][] = [
  ["no controller", {}, ["controller"]],
  [
    "states that are none",
    { controller: "countdown", states: [1, 5 as TaskState, 99 as TaskState] },
    ["states[1]", "states[2]"],
  ],
  ["an order that is none", { controller: "countdown", orderBy: 7 as TaskOrder }, ["order_by"]],
  ["a prefix that no id has", { controller: "countdown", idPrefix: "/" }, ["id_prefix"]],
  ["a label that no task has", { controller: "countdown", labels: { "a b": "" } }, ['labels["a b"]']],
  ["a page token with an escape", { controller: "countdown", pageToken: "\u0007" }, ["page_token"]],
  ["an endless page token", { controller: "countdown", pageToken: "t".repeat(5_000) }, ["page_token"]],
  ["a path that is not there", { controller: "countdown", readMask: { paths: ["stat"] } }, ["read_mask.paths[0]"]],
];

const badWatches: [string, MessageInitShape<typeof WatchTaskRequestSchema>, string[]][] = [
  ["nothing at all", {}, ["controller", "task_id"]],
  ["a run id that is too long", { ...task, runId: "r".repeat(129) }, ["run_id"]],
];

describe("a bad request is refused, every bad field named, and changes nothing", () => {
  test.each(badLaunches)("LaunchTask: %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().launchTask(request))).toMatchObject({ code: "InvalidArgument", fields });
    expect(served.controller.launches).toEqual([]);
  });
  test.each(badCancels)("CancelTask: %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().cancelTask(request))).toMatchObject({ code: "InvalidArgument", fields });
    expect(served.controller.cancels).toEqual([]);
  });
  test.each(badGets)("GetTaskStatus: %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().getTaskStatus(request))).toMatchObject({ code: "InvalidArgument", fields });
  });
  test.each(badLists)("ListTasks: %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().listTasks(request))).toMatchObject({ code: "InvalidArgument", fields });
  });
  test.each(badWatches)("WatchTask: %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().watchTask(request))).toMatchObject({ code: "InvalidArgument", fields });
    expect(served.controller.openWatches).toBe(0);
  });
});

test.each(protocolNames)("the bad fields can be read over %s", async (protocol) => {
  await using served = await serveFake();
  const error = await callError(served.client(protocol).launchTask({ controller: "X", taskId: "/" }));
  expect(error).toMatchObject({ code: "InvalidArgument", fields: ["controller", "task_id"] });
});

test("what is sent back of a bad request is short, and has nothing that moves a cursor", async () => {
  await using served = await serveFake();
  const labels = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`\u202e\u001b${i}${"x".repeat(1_000)}`, ""]));
  const error = await callError(served.client().launchTask({ controller: "\u001b[2J", taskId: "é", labels }));
  const text = [error.message, ...error.fields, ...error.descriptions].join("");
  expect(Buffer.byteLength(text)).toBeLessThan(8_000);
  expect(text).toMatch(/^[\P{C}]*$/u);
  expect(error.descriptions.at(-1)).toMatch(/^and \d+ more$/);
});

describe("a good request", () => {
  test("keeps json_metadata byte for byte, and blank is none", async () => {
    await using served = await serveFake();
    const client = served.client();
    const text = ' {"b":1,\n "a": 1.0e2, "a": null}';
    await client.launchTask({ ...task, payload: { case: "jsonMetadata", value: text } });
    await client.launchTask({ ...task, payload: { case: "jsonMetadata", value: " \n" } });
    expect(served.controller.launches.map((launch) => launch.jsonMetadata)).toEqual([text, undefined]);
  });

  test("has the same text for a Struct in whatever order its fields come", async () => {
    await using served = await serveFake();
    const client = served.client();
    await client.launchTask({
      ...task,
      payload: { case: "metadata", value: { b: 2 ** 53 - 1, a: { d: 1, c: [true] } } },
    });
    await client.launchTask({
      ...task,
      payload: { case: "metadata", value: { a: { c: [true], d: 1 }, b: 2 ** 53 - 1 } },
    });
    const expected = '{"a":{"c":[true],"d":1},"b":9007199254740991}';
    expect(served.controller.launches.map((launch) => launch.jsonMetadata)).toEqual([expected, expected]);
  });

  test("without a task id gets one, and says so to the controller", async () => {
    await using served = await serveFake();
    const { taskId } = await served.client().launchTask({ controller: "countdown" });
    expect(taskId).toMatch(/^[0-9a-f-]{36}$/);
    expect(served.controller.launches[0]?.generatedTaskId).toBe(true);
  });

  test("asks for pages of 100, and never of more than 1,000", async () => {
    await using served = await serveFake();
    const client = served.client();
    for (const pageSize of [0, 1, 1_000, 1_001, 4_000_000_000])
      await client.listTasks({ controller: "countdown", pageSize });
    expect(served.controller.queries.map((query) => query.pageSize)).toEqual([100, 1, 1_000, 1_000, 1_000]);
  });

  test("asks for metadata, result and logs of a list only when they are named", async () => {
    await using served = await serveFake();
    const client = served.client();
    await client.listTasks({ controller: "countdown" });
    await client.listTasks({ controller: "countdown", readMask: { paths: ["metadata", "logs"] } });
    expect(served.controller.queries.map((query) => query.include)).toEqual([
      { metadata: false, result: false, logs: false },
      { metadata: true, result: false, logs: true },
    ]);
  });

  test("gets only what its mask names, down to fields of fields", async () => {
    await using served = await serveFake();
    served.controller.put("a", {
      state: StatePending,
      progress: { current: 3n, total: 10n, unit: "steps" },
      labels: { env: "test" },
      metadata: "{}",
    });
    const paths = ["progress.current", "labels"];
    const { status } = await served.client().getTaskStatus({ ...task, readMask: { paths } });
    expect(status).toMatchObject({ state: 0, metadata: "", labels: { env: "test" } });
    expect(status?.progress).toMatchObject({ current: 3n, total: 0n, unit: "" });
    const listed = await served.client().listTasks({ controller: "countdown", readMask: { paths: ["state"] } });
    expect(listed.tasks[0]?.status).toMatchObject({ state: StatePending, labels: {} });
  });
});
