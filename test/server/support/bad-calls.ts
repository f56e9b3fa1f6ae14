/** What is wrong with one call only, and what is refused for the state that things are in. */
import { type BadRequest, controller, invalid, taskCalls } from "./bad-request.ts";

const ended = { controller, taskId: "ended" };
const live = { controller, taskId: "live" };
const absent = { controller, taskId: "absent" };
const ahead = 1_000_000_000n;

function metadata(name: string, value: string): BadRequest {
  const payload = { case: "jsonMetadata", value };
  return invalid("launchTask", name, { controller, taskId: "new", payload }, ["json_metadata"]);
}

function struct(name: string, value: object, field: string): BadRequest {
  return invalid("launchTask", name, { controller, payload: { case: "metadata", value } }, [field]);
}

const invalidRows: readonly BadRequest[] = [
  metadata("metadata that is an array", "[]"),
  metadata("metadata that is null", "null"),
  metadata("metadata that is a number", "1"),
  metadata("metadata that ends in the middle", '{"a":'),
  metadata("metadata with a comma too many", '{"a":1,}'),
  metadata("metadata of 33 levels", `{"a":${"[".repeat(32)}${"]".repeat(32)}}`),
  metadata("metadata of more than 256 KiB", `{"a":"${"x".repeat(256 * 1024)}"}`),
  struct("an integer above 2^53", { a: { b: [1, 2 ** 60] } }, "metadata.a.b[1]"),
  struct("an integer of -2^53", { a: -(2 ** 53) }, "metadata.a"),
  // To a double, and to JSON that was read, it is the same as 2^53 + 1.
  invalid(
    "launchTask",
    "an integer of 2^53",
    { controller, payload: { case: "metadata", value: { a: 2 ** 53 } } },
    ["metadata.a"],
    `{"controller":"${controller}","metadata":{"a":9007199254740993}}`,
  ),
  struct("a Struct of more than 256 KiB", { a: "x".repeat(256 * 1024) }, "metadata"),
  invalid("launchTask", "an if_active that is none", { controller, ifActive: 4 }, ["if_active"]),
  invalid("launchTask", "an if_ended that is none", { controller, ifEnded: -1 }, ["if_ended"]),
  invalid("launchTask", "a request id of 129 bytes", { controller, requestId: "r".repeat(129) }, ["request_id"]),
  invalid("launchTask", "a request id with an escape", { controller, requestId: "\u001b" }, ["request_id"]),
  invalid("launchTask", "all that can be wrong", { taskId: "/", ifActive: 9, ifEnded: 9, requestId: "\n" }, [
    "controller",
    "task_id",
    "if_active",
    "if_ended",
    "request_id",
  ]),
  invalid("batchLaunchTasks", "1,001 requests", { requests: Array(1_001).fill({ controller }) }, ["requests"]),
  invalid("cancelTask", "a reason of 4,097 bytes", { ...live, reason: "x".repeat(4_097) }, ["reason"]),
  invalid("cancelTask", "a reason of 2,049 letters of two bytes", { ...live, reason: "é".repeat(2_049) }, ["reason"]),
  invalid("getTaskStatus", "1,001 log entries", { ...ended, logLimit: 1_001 }, ["log_limit"]),
  invalid("getTaskStatus", "all the log entries there can be", { ...ended, logLimit: 2 ** 32 - 1 }, ["log_limit"]),
  invalid("listTasks", "an order that is none", { controller, orderBy: 3 }, ["order_by"]),
  // What is invalid is said before anything is looked up.
  invalid("launchTask", "no such controller, and a bad id", { controller: "nowhere", taskId: "/" }, ["task_id"]),
  invalid("getTaskStatus", "no such task, and too many log entries", { ...absent, logLimit: 1_001 }, ["log_limit"]),
  invalid(
    "listTasks",
    "no such controller, a mask of nothing there is, and a page token that nobody gave",
    { controller: "nowhere", readMask: { paths: ["nope"] }, pageToken: "garbage" },
    ["read_mask.paths[0]", "page_token"],
  ),
  invalid("cancelTask", "a lost if_revision, and a bad run id", { ...live, ifRevision: 1n, runId: "\n" }, ["run_id"]),
];

function refused(call: string, name: string, request: object, code: string, reason?: string): BadRequest {
  return { call, name, request, code, fields: [], ...(reason === undefined ? {} : { reason }) };
}

function liesAhead(call: string, name: string, request: object): BadRequest {
  const fields = ["sinceRevision" in request ? "since_revision" : "revision"];
  return { call, name, request, code: "OutOfRange", fields };
}

const notFound: readonly BadRequest[] = [
  ...taskCalls.map((call) => refused(call, "a task that is not there", absent, "NotFound")),
  ...[...taskCalls, "launchTask"].map((call) =>
    refused(call, "a controller that is not there", { controller: "nowhere", taskId: "a" }, "NotFound"),
  ),
  ...["listTasks", "watchTasks", "deleteController"].map((call) =>
    refused(call, "a controller that is not there", { controller: "nowhere" }, "NotFound"),
  ),
];

const stateRows: readonly BadRequest[] = [
  ...["cancelTask", "deleteTask", "launchTask"].map((call) =>
    refused(call, "a lost if_revision", { ...live, ifRevision: ahead }, "Aborted", "CONFLICT"),
  ),
  refused(
    "launchTask",
    "an if_revision of a task that is not there",
    { ...absent, ifRevision: 1n },
    "Aborted",
    "CONFLICT",
  ),
  ...["cancelTask", "watchTask", "waitTask"].map((call) =>
    refused(call, "a run that is not the current one", { ...live, runId: "other" }, "FailedPrecondition"),
  ),
  refused("launchTask", "if_active FAIL for a task that runs", { ...live, ifActive: 2 }, "AlreadyExists"),
  refused("launchTask", "if_ended FAIL for a task that has ended", { ...ended, ifEnded: 4 }, "AlreadyExists"),
  refused(
    "launchTask",
    "a request id that was used for another launch",
    { controller, taskId: "new", requestId: "used" },
    "AlreadyExists",
    "REQUEST_ID_REUSED",
  ),
  refused("deleteTask", "a task that runs", live, "FailedPrecondition"),
  refused("deleteController", "a controller of the configuration", { controller }, "FailedPrecondition"),
  liesAhead("getTaskStatus", "a revision that lies ahead", { ...live, revision: ahead }),
  liesAhead("watchTask", "a revision that lies ahead", { ...live, sinceRevision: ahead }),
  liesAhead("watchTasks", "a revision that lies ahead", { controller, sinceRevision: ahead }),
  liesAhead("getTaskStatus", "a revision ahead, of no task", { controller, taskId: "no", revision: ahead }),
  liesAhead("watchTask", "a revision ahead, of no task", { controller, taskId: "no", sinceRevision: ahead }),
  liesAhead("watchTask", "a revision ahead, of a run that is none", { ...live, runId: "no", sinceRevision: ahead }),
  refused(
    "getTaskStatus",
    "a revision ahead, of no controller",
    { ...live, controller: "no", revision: ahead },
    "NotFound",
  ),
  refused(
    "watchTask",
    "a revision ahead, of no controller",
    { ...live, controller: "no", sinceRevision: ahead },
    "NotFound",
  ),
  refused("watchTasks", "a revision ahead, of no controller", { controller: "no", sinceRevision: ahead }, "NotFound"),
  invalid("getTaskStatus", "a revision ahead, and a bad id", { controller, taskId: "/", revision: ahead }, ["task_id"]),
  invalid("watchTask", "a revision ahead, and a bad id", { controller, taskId: "/", sinceRevision: ahead }, [
    "task_id",
  ]),
];

export const callRows: readonly BadRequest[] = [...invalidRows, ...notFound, ...stateRows];
