/**
 * From requests to the arguments of the controller: everything that is wrong
 * with a request is found at once, before anything is looked up, and what these
 * functions return needs no further check. They throw INVALID_ARGUMENT.
 *
 * The rules of the proto are checked first. What stands here is what they cannot
 * say, and limits that the configuration may have lowered.
 */
import type { DescMessage, Message } from "@bufbuild/protobuf";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import {
  type BatchLaunchTasksRequest,
  BatchLaunchTasksRequestSchema,
  type CancelTaskRequest,
  CancelTaskRequestSchema,
  type DeleteControllerRequest,
  DeleteControllerRequestSchema,
  type DeleteTaskRequest,
  DeleteTaskRequestSchema,
  type GetTaskStatusRequest,
  GetTaskStatusRequestSchema,
  IfActive,
  IfEnded,
  type LaunchTaskRequest,
  LaunchTaskRequestSchema,
  type ListTaskLogsRequest,
  ListTaskLogsRequestSchema,
  type ListTasksRequest,
  ListTasksRequestSchema,
  TaskOrder,
  type WaitTaskRequest,
  WaitTaskRequestSchema,
  type WatchTaskRequest,
  WatchTaskRequestSchema,
  type WatchTasksRequest,
  WatchTasksRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import type * as Domain from "../controller/controller.ts";
import { type FieldViolation, invalidArgument } from "../controller/error.ts";
import { checkPageToken, logPageTokens, type PageTokens, taskPageTokens } from "../controller/page-token.ts";
import { checkLabels, checkText } from "../task/ids.ts";
import type { TaskLimits } from "../task/limits.ts";
import { checkMetadataText, isBlank } from "../task/metadata.ts";
import { parseReadMask, type ReadMask, unlistedFields } from "./read-mask.ts";
import { checkRules } from "./rules.ts";
import { structToJson } from "./struct-json.ts";

/** What a request may ask for at most; of log entries the proto says so too. */
export const requestLimits = { pageSizeMax: 1_000, logLimitMax: 1_000 } as const;

const pageSizeDefault = 100;

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
export function checkBatchLaunch(request: BatchLaunchTasksRequest): void {
  new Fields(BatchLaunchTasksRequestSchema, request).throwIfBad();
}

/** What a launch asks for; no task id: the server makes one. */
export function checkLaunch(
  request: LaunchTaskRequest,
  limits: TaskLimits,
): { taskId: string | undefined; options: Domain.LaunchOptions } {
  const fields = new Fields(LaunchTaskRequestSchema, request);
  const jsonMetadata = checkPayload(fields, request, limits);
  fields.checkLabels(request.labels, limits);
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
  const fields = new Fields(CancelTaskRequestSchema, request);
  fields.check("reason", checkText(request.reason, limits.messageMaxBytes));
  if (request.wait !== undefined) fields.check("wait", checkDuration(request.wait));
  fields.throwIfBad();
  return {
    reason: request.reason === "" ? undefined : request.reason,
    waitMs: request.wait === undefined ? 0 : durationMs(request.wait),
    runId: request.runId === "" ? undefined : request.runId,
    ifRevision: request.ifRevision,
  };
}

/** What is wrong with a duration that is not negative, by google/protobuf/duration.proto. */
function checkDuration({ seconds, nanos }: Duration): string | undefined {
  if (seconds <= 315_576_000_000n && nanos >= 0 && nanos <= 999_999_999) return undefined;
  return "must be a valid duration: at most 10,000 years, nanos below 1 s, and both of one sign";
}

/** What a read asks for. */
export function checkGet(request: GetTaskStatusRequest): { options: Domain.ReadOptions; mask: ReadMask | undefined } {
  const fields = new Fields(GetTaskStatusRequestSchema, request);
  const mask = fields.checkMask(request.readMask?.paths ?? []);
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
  const fields = new Fields(ListTasksRequestSchema, request);
  fields.checkLabels(request.labels, limits);
  const mask = fields.checkMask(request.readMask?.paths ?? []);
  const include = (name: string): boolean => mask?.has(name) ?? !unlistedFields.includes(name);
  const options: Domain.QueryOptions = {
    pageSize: pageSizeOf(request),
    pageToken: request.pageToken === "" ? undefined : request.pageToken,
    states: request.states.length === 0 ? undefined : [...new Set(request.states)],
    labels: request.labels,
    idPrefix: request.idPrefix === "" ? undefined : request.idPrefix,
    order: request.orderBy === TaskOrder.NEWEST ? "newest" : "id",
    include: { metadata: include("metadata"), result: include("result"), logs: include("logs") },
  };
  fields.checkPageToken(request.pageToken, () => taskPageTokens(request.controller, options));
  fields.throwIfBad();
  return { mask, options };
}

/** What a page of log entries asks for. */
export function checkLogs(request: ListTaskLogsRequest): Domain.LogsOptions {
  const fields = new Fields(ListTaskLogsRequestSchema, request);
  const options: Domain.LogsOptions = {
    pageSize: pageSizeOf(request),
    pageToken: request.pageToken === "" ? undefined : request.pageToken,
    minLevel: request.minLevel,
    afterSeq: request.afterSeq,
  };
  fields.checkPageToken(request.pageToken, () => logPageTokens(request.controller, request.taskId, options));
  fields.throwIfBad();
  return options;
}

function pageSizeOf({ pageSize }: { pageSize: number }): number {
  return Math.min(pageSize === 0 ? pageSizeDefault : pageSize, requestLimits.pageSizeMax);
}

/** What a watch asks for. */
export function checkWatch(request: WatchTaskRequest): Domain.WatchTaskOptions {
  new Fields(WatchTaskRequestSchema, request).throwIfBad();
  return {
    sinceRevision: request.sinceRevision,
    includeLogs: request.includeLogs,
    waitForLaunch: request.waitForLaunch,
    runId: request.runId === "" ? undefined : request.runId,
  };
}

/** What a watch of many tasks asks for. */
export function checkWatchTasks(request: WatchTasksRequest, limits: TaskLimits): Domain.WatchTasksOptions {
  const fields = new Fields(WatchTasksRequestSchema, request);
  fields.checkLabels(request.labels, limits);
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
export function checkWaitTask(request: WaitTaskRequest): { timeoutMs: number | undefined; runId: string | undefined } {
  const fields = new Fields(WaitTaskRequestSchema, request);
  if (request.timeout !== undefined) fields.check("timeout", checkDuration(request.timeout));
  fields.throwIfBad();
  return {
    timeoutMs: request.timeout === undefined ? undefined : durationMs(request.timeout),
    runId: request.runId === "" ? undefined : request.runId,
  };
}

/** What a deletion asks for. */
export function checkDelete(request: DeleteTaskRequest): { ifRevision: bigint | undefined } {
  new Fields(DeleteTaskRequestSchema, request).throwIfBad();
  return { ifRevision: request.ifRevision };
}

/** The name of a controller that is to be forgotten. */
export function checkDeleteController(request: DeleteControllerRequest): void {
  new Fields(DeleteControllerRequestSchema, request).throwIfBad();
}

const maxViolations = 256;

/** Collects what is wrong, field by field, beginning with the rules of the proto; of one field what was found first. */
class Fields {
  readonly #violations = new Map<string, FieldViolation>();

  constructor(desc: DescMessage, request: Message) {
    this.addAll(checkRules(desc, request));
  }

  check(field: string, description: string | undefined): void {
    if (description === undefined || this.#violations.has(field) || this.#violations.size >= maxViolations) return;
    this.#violations.set(field, { field, description });
  }

  /** Where the rules have a complaint about how many there are, none is looked at. */
  checkLabels(labels: Readonly<Record<string, string>>, limits: TaskLimits): void {
    if (!this.#violations.has("labels")) this.addAll(checkLabels(labels, limits));
  }

  /** The mask of the paths; undefined where there are none, or far too many. */
  checkMask(paths: readonly string[]): ReadMask | undefined {
    if (this.#violations.has("read_mask")) return undefined;
    const { mask, complaints } = parseReadMask(paths);
    this.addAll(complaints);
    return mask;
  }

  /** A token of which the rules have no complaint: that it is one of this list. */
  checkPageToken(text: string, tokens: () => PageTokens): void {
    if (text !== "" && !this.#violations.has("page_token")) this.check("page_token", checkPageToken(text, tokens()));
  }

  addAll(violations: readonly FieldViolation[]): void {
    for (const { field, description } of violations) this.check(field, description);
  }

  throwIfBad(): void {
    if (this.#violations.size > 0) throw invalidArgument([...this.#violations.values()]);
  }
}
