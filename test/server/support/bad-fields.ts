/** Fields that several calls have, each with what it may not be. */
import { type BadRequest, controller, invalid, taskCalls } from "./bad-request.ts";

const task = { controller, taskId: "ended" };

const badTaskIds: readonly (readonly [string, string])[] = [
  ["no task id", ""],
  ["a task id that is a path", "../a"],
  ["a task id with a zero byte", "a\u0000"],
  ["a task id of 129 characters", "a".repeat(129)],
  ["a task id that begins with a dash", "-a"],
  ["a task id beyond ASCII", "é"],
];

const badControllers: readonly (readonly [string, string])[] = [
  ["no controller", ""],
  ["a controller in upper case", "Countdown"],
  ["a controller of 64 characters", "a".repeat(64)],
  ["a controller with an escape sequence", "\u001b[2J"],
];

const badLabels: readonly (readonly [string, Record<string, string>, string])[] = [
  ["a label key with a space", { "a b": "" }, 'labels["a b"]'],
  ["an empty label key", { "": "x" }, 'labels[""]'],
  ["a label key of 64 bytes", { ["k".repeat(64)]: "" }, `labels["${"k".repeat(23)}… (cut)"]`],
  ["a label value of 257 bytes", { env: "x".repeat(257) }, "labels[env]"],
  ["65 labels", Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, ""])), "labels"],
];

const badRunIds: readonly (readonly [string, string])[] = [
  ["a run id of 129 bytes", "r".repeat(129)],
  ["a run id with a line break", "a\nb"],
  ["a run id that turns the direction of writing", "\u202ea"],
];

const badPageTokens: readonly (readonly [string, string])[] = [
  ["a page token that nobody gave", "garbage"],
  ["a page token with a bell", "\u0007"],
  ["a page token of 4,097 bytes", "t".repeat(4_097)],
];

const badDurations: readonly (readonly [string, { seconds?: bigint; nanos?: number }, string])[] = [
  ["a negative duration", { seconds: -1n }, '"-1s"'],
  ["a duration that is negative by a nanosecond", { nanos: -1 }, '"-0.000000001s"'],
  ["a duration of mixed signs", { seconds: 1n, nanos: -1 }, '"1m"'],
  ["a duration of more than 10,000 years", { seconds: 315_576_000_001n }, '"315576000001s"'],
  ["a duration with a billion nanoseconds", { nanos: 1_000_000_000 }, '"1.5"'],
];

const controllerCalls = [...taskCalls, "launchTask", "listTasks", "deleteController"];

function* rows(): Generator<BadRequest> {
  for (const [name, taskId] of badTaskIds) {
    for (const call of taskCalls) yield invalid(call, name, { controller, taskId }, ["task_id"]);
    if (taskId === "") continue;
    yield invalid("launchTask", name, { controller, taskId }, ["task_id"]);
    for (const call of ["listTasks", "watchTasks"])
      yield invalid(call, `as a prefix, ${name}`, { controller, idPrefix: taskId }, ["id_prefix"]);
  }
  for (const [name, bad] of badControllers) {
    for (const call of controllerCalls) {
      const rest = taskCalls.includes(call) ? { taskId: "ended" } : {};
      yield invalid(call, name, { ...rest, controller: bad }, ["controller"]);
    }
    if (bad !== "") yield invalid("watchTasks", name, { controller: bad }, ["controller"]);
  }
  for (const call of ["launchTask", "listTasks", "watchTasks"]) {
    for (const [name, labels, field] of badLabels) yield invalid(call, name, { controller, labels }, [field]);
  }
  for (const call of ["cancelTask", "watchTask", "waitTask"]) {
    for (const [name, runId] of badRunIds) yield invalid(call, name, { ...task, runId }, ["run_id"]);
  }
  for (const [name, pageToken] of badPageTokens) {
    yield invalid("listTasks", name, { controller, pageToken }, ["page_token"]);
    yield invalid("listTaskLogs", name, { ...task, pageToken }, ["page_token"]);
    // What is invalid is said before anything is looked up.
    const nowhere = { ...task, controller: "nowhere", pageToken };
    yield invalid("listTaskLogs", `no such controller, and ${name}`, nowhere, ["page_token"]);
    yield invalid("listTasks", `no such controller, and ${name}`, { controller: "nowhere", pageToken }, ["page_token"]);
  }
  for (const [name, duration, text] of badDurations) {
    const json = (field: string): string => `{"controller":"countdown","taskId":"ended","${field}":${text}}`;
    yield invalid("cancelTask", name, { ...task, wait: duration }, ["wait"], json("wait"));
    yield invalid("waitTask", name, { ...task, timeout: duration }, ["timeout"], json("timeout"));
  }
  for (const call of ["listTasks", "watchTasks"]) {
    yield invalid(call, "states that are none", { controller, states: [1, 5, 99] }, ["states[1]", "states[2]"]);
    yield invalid(call, "17 states", { controller, states: Array(17).fill(1) }, ["states"]);
  }
  for (const [call, rest] of [
    ["getTaskStatus", { taskId: "ended" }],
    ["listTasks", {}],
  ] as const) {
    const masked = (paths: string[]): object => ({ controller, ...rest, readMask: { paths } });
    yield invalid(call, "a mask that names no field", masked(["state", "nope"]), ["read_mask.paths[1]"]);
    yield invalid(call, "a mask that leads out", masked(["progress.nope"]), ["read_mask.paths[0]"]);
    yield invalid(call, "257 paths", masked(Array(257).fill("state") as string[]), ["read_mask"]);
  }
}

export const fieldRows: readonly BadRequest[] = [...rows()];
