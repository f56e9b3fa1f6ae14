/** TaskControllerService: requests in, the controller's answers out. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type BatchLaunchTasksRequest,
  CancelStage,
  type CancelTaskRequest,
  type CancelTaskResponseSchema,
  type DeleteControllerRequest,
  type DeleteTaskRequest,
  type GetServerInfoResponseSchema,
  type GetTaskStatusRequest,
  type GetTaskStatusResponseSchema,
  type LaunchTaskRequest,
  type LaunchTaskResponseSchema,
  type ListControllersResponseSchema,
  type ListTaskLogsRequest,
  type ListTaskLogsResponseSchema,
  type ListTasksRequest,
  type ListTasksResponseSchema,
  TaskControllerService,
  type WaitTaskRequest,
  type WaitTaskResponseSchema,
  type WatchTaskRequest,
  type WatchTasksRequest,
} from "#gen/stint/v1/controller_pb.js";
import type { Clock } from "../clock.ts";
import type * as Domain from "../controller/controller.ts";
import type { Random } from "../random.ts";
import type { TaskLimits } from "../task/limits.ts";
import { serverStreamCall } from "./answer-stream.ts";
import { batchLaunchTasks } from "./batch-launch.ts";
import { type CallContext, type CallPolicy, endOnDrain, type Implementation, unaryCall } from "./call.ts";
import type { LaunchGate } from "./launch-gate.ts";
import { launchOutcomes } from "./launch-outcomes.ts";
import { applyReadMask } from "./read-mask.ts";
import { type ControllerRegistry, findController, type ServedController } from "./registry.ts";
import { warmRules } from "./rules.ts";
import {
  checkCancel,
  checkDelete,
  checkDeleteController,
  checkGet,
  checkLaunch,
  checkList,
  checkLogs,
  checkWaitTask,
  checkWatch,
  checkWatchTasks,
} from "./validate.ts";
import { type OpenTasksWatch, watchTask, watchTasks } from "./watch-stream.ts";

export interface TaskControllerServiceOptions extends CallPolicy {
  readonly registry: ControllerRegistry;
  readonly limits: TaskLimits;
  readonly random: Random;
  readonly clock: Clock;
  /** The most that an answer may have. */
  readonly responseMaxBytes: number;
  /** The longest that CancelTask and WaitTask wait, in ms. */
  readonly waitMaxMs: number;
  /** What all launches go through. */
  readonly launches: LaunchGate;
  /** Watches the tasks of all controllers. */
  readonly watchAllTasks: OpenTasksWatch;
  /** Forgets a controller of the registry. Throws FAILED_PRECONDITION where it has tasks, or something names it. */
  readonly forgetController: (name: string) => Promise<void>;
  /** What GetServerInfo answers. */
  readonly describeServer: () => MessageInitShape<typeof GetServerInfoResponseSchema>;
}

const stages: Readonly<Record<Domain.CancelStage, CancelStage>> = {
  requested: CancelStage.REQUESTED,
  delivered: CancelStage.DELIVERED,
  acknowledged: CancelStage.ACKNOWLEDGED,
  ended: CancelStage.ENDED,
};

export function createTaskControllerService(
  options: TaskControllerServiceOptions,
): Implementation<typeof TaskControllerService> {
  warmRules(TaskControllerService);
  return {
    launchTask: unaryCall(options, (request: LaunchTaskRequest, context) => launchTask(options, request, context)),
    cancelTask: unaryCall(options, (request: CancelTaskRequest, context) => cancelTask(options, request, context)),
    getTaskStatus: unaryCall(options, (request: GetTaskStatusRequest) => getTaskStatus(options, request)),
    listTasks: unaryCall(options, (request: ListTasksRequest) => listTasks(options, request)),
    watchTask: serverStreamCall(options, (request: WatchTaskRequest) => {
      const watch = checkWatch(request);
      return watchTask(findController(options.registry, request.controller), request.taskId, watch);
    }),
    watchTasks: serverStreamCall(options, (request: WatchTasksRequest, { signal }) => {
      const watch = { ...checkWatchTasks(request, options.limits), signal };
      if (request.controller === "") return watchTasks(options.watchAllTasks, watch);
      const controller = findController(options.registry, request.controller);
      return watchTasks((tasks) => controller.watchTasks(tasks), watch);
    }),
    batchLaunchTasks: unaryCall(options, (request: BatchLaunchTasksRequest, context) => {
      const withinMs = Math.min(waitWithin(context), options.waitMaxMs);
      return batchLaunchTasks(options, request, { signal: context.signal, withinMs });
    }),
    listTaskLogs: unaryCall(options, (request: ListTaskLogsRequest) => listTaskLogs(options, request)),
    waitTask: unaryCall(options, (request: WaitTaskRequest, context) => waitTask(options, request, context)),
    deleteTask: unaryCall(options, (request: DeleteTaskRequest) => deleteTask(options, request)),
    deleteController: unaryCall(options, (request: DeleteControllerRequest) => deleteController(options, request)),
    listControllers: unaryCall(options, () => listControllers(options)),
    getServerInfo: unaryCall(options, async () => options.describeServer(), { always: true }),
  };
}

async function launchTask(
  { registry, limits, random, launches }: TaskControllerServiceOptions,
  request: LaunchTaskRequest,
  context: CallContext,
): Promise<MessageInitShape<typeof LaunchTaskResponseSchema>> {
  const launch = checkLaunch(request, limits);
  const controller = findController(registry, request.controller);
  const generatedTaskId = launch.taskId === undefined;
  const taskId = launch.taskId ?? random.id();
  const leave = await launches.enter(1, context);
  let unpark: (() => void) | undefined;
  const onWait = (): void => {
    unpark ??= launches.park(leave, 1, context);
  };
  try {
    const launched = await controller.launchTask(taskId, { ...launch.options, generatedTaskId }, onWait);
    return {
      taskId: launched.taskId,
      runId: launched.runId,
      status: launched.status,
      revision: launched.revision,
      outcome: launchOutcomes[launched.outcome],
    };
  } finally {
    leave();
    unpark?.();
  }
}

async function cancelTask(
  options: TaskControllerServiceOptions,
  request: CancelTaskRequest,
  context: CallContext,
): Promise<MessageInitShape<typeof CancelTaskResponseSchema>> {
  const { waitMs, ...cancel } = checkCancel(request, options.limits);
  const controller = findController(options.registry, request.controller);
  // Where the caller leaves or the server drains, the wait is over, and the cancel stands.
  using ending = endOnDrain(options, context.signal);
  // A cancel is never refused because others wait: it is answered at once then.
  const giveBack = waitMs > 0 ? options.streams.tryTake() : undefined;
  try {
    const canceled = await controller.cancelTask(request.taskId, {
      ...cancel,
      waitMs: giveBack === undefined ? 0 : Math.min(waitMs, options.waitMaxMs, waitWithin(context)),
      signal: ending.signal,
    });
    return { status: canceled.status, revision: canceled.revision, stage: stages[canceled.stage] };
  } finally {
    giveBack?.();
  }
}

async function getTaskStatus(
  { registry }: TaskControllerServiceOptions,
  request: GetTaskStatusRequest,
): Promise<MessageInitShape<typeof GetTaskStatusResponseSchema>> {
  const { options: read, mask } = checkGet(request);
  const { status, revision } = await findController(registry, request.controller).readTask(request.taskId, read);
  return { status: mask === undefined ? status : applyReadMask(status, mask), revision };
}

async function listTasks(
  { registry, limits }: TaskControllerServiceOptions,
  request: ListTasksRequest,
): Promise<MessageInitShape<typeof ListTasksResponseSchema>> {
  const { options: query, mask } = checkList(request, limits);
  const page = await findController(registry, request.controller).queryTasks(query);
  return {
    tasks: page.tasks.map(({ taskId, status, revision }) => ({
      taskId,
      status: mask === undefined ? status : applyReadMask(status, mask),
      revision,
    })),
    nextPageToken: page.nextPageToken,
    totalSize: page.totalSize,
    revision: page.revision,
  };
}

async function listTaskLogs(
  { registry }: TaskControllerServiceOptions,
  request: ListTaskLogsRequest,
): Promise<MessageInitShape<typeof ListTaskLogsResponseSchema>> {
  const options = checkLogs(request);
  const page = await findController(registry, request.controller).taskLogs(request.taskId, options);
  return { entries: [...page.entries], nextPageToken: page.nextPageToken };
}

async function waitTask(
  options: TaskControllerServiceOptions,
  request: WaitTaskRequest,
  context: CallContext,
): Promise<MessageInitShape<typeof WaitTaskResponseSchema>> {
  const { timeoutMs = options.waitMaxMs, runId } = checkWaitTask(request);
  const controller = findController(options.registry, request.controller);
  // When the server drains, the answer is the task as it is: the client asks again, elsewhere.
  using ending = endOnDrain(options, context.signal);
  const giveBack = timeoutMs > 0 ? options.streams.take() : undefined;
  try {
    return await controller.waitTask(request.taskId, {
      runId,
      timeoutMs: Math.min(timeoutMs, options.waitMaxMs, waitWithin(context)),
      signal: ending.signal,
    });
  } finally {
    giveBack?.();
  }
}

async function deleteTask(
  { registry }: TaskControllerServiceOptions,
  request: DeleteTaskRequest,
): Promise<Record<string, never>> {
  const options = checkDelete(request);
  await findController(registry, request.controller).deleteTask(request.taskId, options);
  return {};
}

async function deleteController(
  { registry, forgetController }: TaskControllerServiceOptions,
  request: DeleteControllerRequest,
): Promise<Record<string, never>> {
  checkDeleteController(request);
  const { name } = findController(registry, request.controller);
  await forgetController(name);
  return {};
}

async function listControllers({
  registry,
}: TaskControllerServiceOptions): Promise<MessageInitShape<typeof ListControllersResponseSchema>> {
  const controllers = [];
  for (const served of registry.list()) controllers.push(await describeController(served));
  return { controllers };
}

async function describeController({ controller, runnerKind, runnersConnected }: ServedController) {
  const counts = await controller.countTasks();
  const tasks = [...counts]
    .filter(([, count]) => count > 0n)
    .sort(([a], [b]) => a - b)
    .map(([state, count]) => ({ state, count }));
  return { name: controller.name, runnerKind, tasks, runnersConnected: runnersConnected() };
}

/** How long a call may wait so that its answer still arrives before its deadline. */
function waitWithin(context: CallContext): number {
  const leftMs = context.timeoutMs();
  if (leftMs === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(0, leftMs - Math.min(500, leftMs * 0.2));
}
