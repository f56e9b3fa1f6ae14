/**
 * From requests to the arguments of the controller: everything that is wrong
 * with a request is found at once, before anything is looked up, and what these
 * functions return needs no further check. They throw INVALID_ARGUMENT.
 */
import type { DescEnum } from "@bufbuild/protobuf";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import { TaskStateSchema } from "#gen/core/v1/core_pb.js";
import {
  type BatchLaunchTasksRequest,
  type CancelTaskRequest,
  type DeleteControllerRequest,
  type DeleteTaskRequest,
  type GetTaskStatusRequest,
  IfActive,
  IfActiveSchema,
  IfEnded,
  IfEndedSchema,
  type LaunchTaskRequest,
  type ListTaskLogsRequest,
  type ListTasksRequest,
  TaskOrder,
  TaskOrderSchema,
  type WaitTaskRequest,
  type WatchTaskRequest,
  type WatchTasksRequest,
} from "#gen/stint/v1/controller_pb.js";
import type * as Domain from "../controller/controller.ts";
import { type FieldViolation, invalidArgument } from "../controller/error.ts";
import { checkControllerName, checkLabels, checkRequestId, checkTaskId, checkText } from "../task/ids.ts";
import type { TaskLimits } from "../task/limits.ts";
import { checkMetadataText, isBlank } from "../task/metadata.ts";
import { parseReadMask, type ReadMask, unlistedFields } from "./read-mask.ts";
import { structToJson } from "./struct-json.ts";

/** What a request may ask for at most. */
export const requestLimits = { pageSizeMax: 1_000, logLimitMax: 1_000 } as const;

const { pageSizeMax, logLimitMax } = requestLimits;
const pageSizeDefault = 100;
const batchMaxRequests = 1_000;
const pageTokenMaxBytes = 4 * 1024;

const ifActives: Readonly<Record<IfActive, Domain.IfActive | undefined>> = {
  [IfActive.UNSPECIFIED]: undefined,
  [IfActive.RESTART]: "restart",
  [IfActive.FAIL]: "fail",
  [IfActive.USE_EXISTING]: "use-existing",
};

const ifEndeds: Readonly<Record<IfEnded, Domain.IfEnded | undefined>> = {
  [IfEnded.UNSPECIFIED]: undefined,
  [IfEnded.RELAUNCH]: "relaunch",
  [IfEnded.RELAUNCH_UNLESS_COMPLETED]: "relaunch-unless-completed",
  [IfEnded.USE_EXISTING]: "use-existing",
  [IfEnded.FAIL]: "fail",
};

/** That a batch is one; what its requests ask for is for `checkLaunch`. */
export function checkBatchLaunch({ requests }: BatchLaunchTasksRequest): void {
  const fields = new Fields();
  if (requests.length > batchMaxRequests) {
    fields.check("requests", `must be at most ${batchMaxRequests}, and are ${requests.length}`);
  }
  fields.throwIfBad();
}

/** What a launch asks for; no task id: the server makes one. */
export function checkLaunch(
  request: LaunchTaskRequest,
  limits: TaskLimits,
): { taskId: string | undefined; options: Domain.LaunchOptions } {
  const fields = new Fields();
  fields.check("controller", checkControllerName(request.controller));
  if (request.taskId !== "") fields.check("task_id", checkTaskId(request.taskId));
  const jsonMetadata = checkPayload(fields, request, limits);
  fields.addAll(checkLabels(request.labels, limits));
  fields.checkEnum("if_active", request.ifActive, IfActiveSchema);
  fields.checkEnum("if_ended", request.ifEnded, IfEndedSchema);
  fields.check("request_id", checkRequestId(request.requestId, limits.idMaxBytes));
  fields.throwIfBad();
  return {
    taskId: request.taskId === "" ? undefined : request.taskId,
    options: {
      jsonMetadata,
      labels: request.labels,
      ifActive: ifActives[request.ifActive],
      ifEnded: ifEndeds[request.ifEnded],
      requestId: request.requestId === "" ? undefined : request.requestId,
      ifRevision: request.ifRevision,
    },
  };
}

function checkPayload(fields: Fields, request: LaunchTaskRequest, limits: TaskLimits): string | undefined {
  const { payload } = request;
  if (payload.case === undefined) return undefined;
  if (payload.case === "jsonMetadata") {
    fields.check("json_metadata", checkMetadataText(payload.value, limits));
    return isBlank(payload.value) ? undefined : payload.value;
  }
  const { text, complaints } = structToJson(payload.value, "metadata");
  fields.addAll(complaints);
  fields.check("metadata", checkMetadataText(text, limits));
  return text;
}

/** What a cancel asks for. */
export function checkCancel(
  request: CancelTaskRequest,
  limits: TaskLimits,
): { reason: string | undefined; waitMs: number; runId: string | undefined; ifRevision: bigint | undefined } {
  const fields = new Fields();
  fields.checkTask(request);
  fields.check("reason", checkText(request.reason, limits.messageMaxBytes));
  fields.check("run_id", checkRequestId(request.runId, limits.idMaxBytes));
  if (request.wait !== undefined) fields.check("wait", checkWait(request.wait));
  fields.throwIfBad();
  return {
    reason: request.reason === "" ? undefined : request.reason,
    waitMs: request.wait === undefined ? 0 : durationMs(request.wait),
    runId: request.runId === "" ? undefined : request.runId,
    ifRevision: request.ifRevision,
  };
}

/** Well-formed as google/protobuf/duration.proto has it, and not negative. */
function checkWait(wait: Duration): string | undefined {
  const maxSeconds = 315_576_000_000n;
  const { seconds, nanos } = wait;
  const mixed = (seconds > 0n && nanos < 0) || (seconds < 0n && nanos > 0);
  if (mixed || seconds > maxSeconds || seconds < -maxSeconds || Math.abs(nanos) > 999_999_999) {
    return "must be a valid duration: at most 10,000 years, nanos below 1 s, and both of one sign";
  }
  return seconds < 0n || nanos < 0 ? "must not be negative" : undefined;
}

/** What a read asks for. */
export function checkGet(request: GetTaskStatusRequest): { options: Domain.ReadOptions; mask: ReadMask | undefined } {
  const fields = new Fields();
  fields.checkTask(request);
  if (request.logLimit !== undefined && request.logLimit > logLimitMax) {
    fields.check("log_limit", `must be at most ${logLimitMax}, and is ${request.logLimit}`);
  }
  const { mask, complaints } = parseReadMask(request.readMask?.paths ?? []);
  fields.addAll(complaints);
  fields.throwIfBad();
  const wants = (name: string): boolean => mask === undefined || mask.has(name);
  const without = (["metadata", "result"] as const).filter((name) => !wants(name));
  return { mask, options: { revision: request.revision, logLimit: wants("logs") ? request.logLimit : 0, without } };
}

/** What a list asks for. */
export function checkList(
  request: ListTasksRequest,
  limits: TaskLimits,
): { options: Domain.QueryOptions; mask: ReadMask | undefined } {
  const fields = new Fields();
  fields.check("controller", checkControllerName(request.controller));
  fields.check("page_token", checkRequestId(request.pageToken, pageTokenMaxBytes));
  fields.checkFilter(request, limits);
  fields.checkEnum("order_by", request.orderBy, TaskOrderSchema);
  const { mask, complaints } = parseReadMask(request.readMask?.paths ?? []);
  fields.addAll(complaints);
  fields.throwIfBad();
  const include = (name: string): boolean => mask?.has(name) ?? !unlistedFields.includes(name);
  return {
    mask,
    options: {
      pageSize: pageSizeOf(request),
      pageToken: request.pageToken === "" ? undefined : request.pageToken,
      states: request.states.length === 0 ? undefined : [...new Set(request.states)],
      labels: request.labels,
      idPrefix: request.idPrefix === "" ? undefined : request.idPrefix,
      order: request.orderBy === TaskOrder.NEWEST ? "newest" : "id",
      include: { metadata: include("metadata"), result: include("result"), logs: include("logs") },
    },
  };
}

/** What a page of log entries asks for. */
export function checkLogs(request: ListTaskLogsRequest): Domain.LogsOptions {
  const fields = new Fields();
  fields.checkTask(request);
  fields.check("page_token", checkRequestId(request.pageToken, pageTokenMaxBytes));
  fields.throwIfBad();
  return {
    pageSize: pageSizeOf(request),
    pageToken: request.pageToken === "" ? undefined : request.pageToken,
    minLevel: request.minLevel,
    afterSeq: request.afterSeq,
  };
}

function pageSizeOf({ pageSize }: { pageSize: number }): number {
  return Math.min(pageSize === 0 ? pageSizeDefault : pageSize, pageSizeMax);
}

/** What a watch asks for. */
export function checkWatch(request: WatchTaskRequest, limits: TaskLimits): Domain.WatchTaskOptions {
  const fields = new Fields();
  fields.checkTask(request);
  fields.check("run_id", checkRequestId(request.runId, limits.idMaxBytes));
  fields.throwIfBad();
  return {
    sinceRevision: request.sinceRevision,
    includeLogs: request.includeLogs,
    waitForLaunch: request.waitForLaunch,
    runId: request.runId === "" ? undefined : request.runId,
  };
}

/** What a watch of many tasks asks for. */
export function checkWatchTasks(request: WatchTasksRequest, limits: TaskLimits): Domain.WatchTasksOptions {
  const fields = new Fields();
  if (request.controller !== "") fields.check("controller", checkControllerName(request.controller));
  fields.checkFilter(request, limits);
  fields.throwIfBad();
  return {
    states: request.states.length === 0 ? undefined : [...new Set(request.states)],
    labels: request.labels,
    idPrefix: request.idPrefix === "" ? undefined : request.idPrefix,
    sinceRevision: request.sinceRevision,
    skipSnapshot: request.skipSnapshot,
  };
}

/** What a wait asks for; no timeout: as long as may be. */
export function checkWaitTask(
  request: WaitTaskRequest,
  limits: TaskLimits,
): { timeoutMs: number | undefined; runId: string | undefined } {
  const fields = new Fields();
  fields.checkTask(request);
  fields.check("run_id", checkRequestId(request.runId, limits.idMaxBytes));
  if (request.timeout !== undefined) fields.check("timeout", checkWait(request.timeout));
  fields.throwIfBad();
  return {
    timeoutMs: request.timeout === undefined ? undefined : durationMs(request.timeout),
    runId: request.runId === "" ? undefined : request.runId,
  };
}

/** What a deletion asks for. */
export function checkDelete(request: DeleteTaskRequest): { ifRevision: bigint | undefined } {
  const fields = new Fields();
  fields.checkTask(request);
  fields.throwIfBad();
  return { ifRevision: request.ifRevision };
}

/** The name of a controller that is to be forgotten. */
export function checkDeleteController(request: DeleteControllerRequest): void {
  const fields = new Fields();
  fields.check("controller", checkControllerName(request.controller));
  fields.throwIfBad();
}

const maxViolations = 256;

/** Collects what is wrong, field by field. */
class Fields {
  readonly #violations: FieldViolation[] = [];

  check(field: string, description: string | undefined): void {
    if (description !== undefined && this.#violations.length < maxViolations) {
      this.#violations.push({ field, description });
    }
  }

  checkTask(request: { controller: string; taskId: string }): void {
    this.check("controller", checkControllerName(request.controller));
    this.check("task_id", checkTaskId(request.taskId));
  }

  checkFilter(
    { states, labels, idPrefix }: Pick<ListTasksRequest, "states" | "labels" | "idPrefix">,
    limits: TaskLimits,
  ): void {
    for (const [index, state] of states.entries()) this.checkEnum(`states[${index}]`, state, TaskStateSchema);
    this.addAll(checkLabels(labels, limits));
    if (idPrefix !== "") this.check("id_prefix", checkTaskId(idPrefix));
  }

  /** A number that the enum does not define is refused: nobody knows what it was to mean. */
  checkEnum(field: string, value: number, desc: DescEnum): void {
    if (desc.value[value] !== undefined) return;
    const names = desc.values.map((each) => each.name).join(", ");
    this.check(field, `must be one of ${names}, not ${value}`);
  }

  addAll(violations: readonly FieldViolation[]): void {
    for (const { field, description } of violations) this.check(field, description);
  }

  throwIfBad(): void {
    if (this.#violations.length > 0) throw invalidArgument(this.#violations);
  }
}
