/**
 * BatchLaunchTasks: each request is checked, looked up and launched for itself, and what is wrong with one stands in
 * its result, as LaunchTask would have failed with.
 *
 * 1. There is one result for each request, in order, whatever happens to any of them.
 * 2. The answer comes before the call's deadline; launches that are not done by then say so.
 * 3. Nobody else waits long while it checks what it was sent, or makes its answer.
 * 4. However many are refused, the answer is not larger than an answer may be.
 * 5. Each launch leaves the gate for itself: when it is refused or over, or waits for nothing but a runner.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type {
  BatchLaunchResultSchema,
  BatchLaunchTasksRequest,
  BatchLaunchTasksResponseSchema,
  LaunchTaskRequest,
} from "#gen/stint/v1/controller_pb.js";
import { createGiveWay } from "../async/give-way.ts";
import { onAbort } from "../async/signals.ts";
import type { Clock } from "../clock.ts";
import type { LaunchedRun, TaskLaunch } from "../controller/controller.ts";
import type { ServedLaunches } from "../controller/served-launches.ts";
import type { Faults } from "../faults.ts";
import type { Random } from "../random.ts";
import type { TaskLimits } from "../task/limits.ts";
import { toStatus } from "./errors.ts";
import type { LaunchGate, Launching, Leave } from "./launch-gate.ts";
import { launchOutcomes } from "./launch-outcomes.ts";
import { type ControllerRegistry, findController } from "./registry.ts";
import { checkBatchLaunch, checkLaunch } from "./validate.ts";

export interface BatchLaunchOptions {
  readonly registry: ControllerRegistry;
  readonly limits: TaskLimits;
  readonly random: Random;
  readonly clock: Clock;
  readonly faults: Faults;
  /** Which its launches go through together. */
  readonly launches: LaunchGate;
  /** What an answer may have, in bytes. */
  readonly responseMaxBytes: number;
}

type Result = PromiseSettledResult<LaunchedRun>;
/** A request that is in order, and its place among all. */
type Placed = TaskLaunch & { readonly index: number };
/** A batch in the gate. */
interface Inside {
  readonly signal: AbortSignal;
  readonly leave: Leave;
}

const rpc = "BatchLaunchTasks";

/** Answers `withinMs` at the latest. Once the signal is aborted nothing more is begun. */
export async function batchLaunchTasks(
  options: BatchLaunchOptions,
  request: BatchLaunchTasksRequest,
  call: { readonly signal: AbortSignal; readonly withinMs: number },
): Promise<MessageInitShape<typeof BatchLaunchTasksResponseSchema>> {
  checkBatchLaunch(request);
  using ending = endInTime(options.clock, call);
  // Before anything is looked at: whether it is taken has to be said at once.
  const leave = await enter(options, request.requests.length, {
    method: { name: rpc },
    signal: ending.signal,
    timeoutMs: () => call.withinMs,
  });
  try {
    return { results: await launchEach(options, request, { signal: ending.signal, leave }) };
  } finally {
    leave();
  }
}

async function launchEach(
  options: BatchLaunchOptions,
  request: BatchLaunchTasksRequest,
  inside: Inside,
): Promise<MessageInitShape<typeof BatchLaunchResultSchema>[]> {
  const giveWay = createGiveWay(options.clock);
  const results: Result[] = [];
  const launches = new Map<ServedLaunches, Placed[]>();
  for (const [index, each] of request.requests.entries()) {
    await giveWay();
    try {
      const { controller, launch } = prepare(options, each);
      const found = launches.get(controller);
      if (found === undefined) launches.set(controller, [{ ...launch, index }]);
      else found.push({ ...launch, index });
    } catch (reason) {
      results[index] = { status: "rejected", reason };
      inside.leave(1);
    }
  }
  const launching = [...launches].map(async ([controller, placed]) => {
    const launched = await settleAll(options.launches, { controller, placed }, inside);
    for (const [i, { index }] of placed.entries()) results[index] = launched[i] as Result;
  });
  await Promise.all(launching);
  return toResults(options, results, giveWay);
}

function prepare(
  { registry, limits, random }: BatchLaunchOptions,
  request: LaunchTaskRequest,
): { controller: ServedLaunches; launch: TaskLaunch } {
  const { taskId, options } = checkLaunch(request, limits);
  const controller = findController(registry, request.controller);
  const generatedTaskId = taskId === undefined;
  return { controller, launch: { ...options, taskId: taskId ?? random.id(), generatedTaskId } };
}

/** Waits for the turn of all of them; where the time is over before that, each says so for itself. */
async function enter({ launches: gate }: BatchLaunchOptions, count: number, batch: Launching): Promise<Leave> {
  try {
    return await gate.enter(count, batch);
  } catch (error) {
    if (batch.signal.aborted) return () => {};
    throw error;
  }
}

/** A controller that takes none refuses each of them. */
async function settleAll(
  gate: LaunchGate,
  { controller, placed }: { readonly controller: ServedLaunches; readonly placed: readonly Placed[] },
  { signal, leave }: Inside,
): Promise<Result[]> {
  let inside = placed.length;
  const onFree = (count: number): void => {
    inside -= count;
    leave(count);
  };
  const onWait = (count: number): (() => void) => {
    const unpark = gate.park(leave, count, { method: { name: rpc } });
    inside -= count;
    return unpark;
  };
  try {
    return await controller.launchTasks(placed, { signal }, { onFree, onWait });
  } catch (reason) {
    return placed.map(() => ({ status: "rejected", reason }));
  } finally {
    onFree(inside);
  }
}

/** A signal that is aborted when that of the call is, and when its time is over, with the error of what is not done then. */
function endInTime(
  clock: Clock,
  { signal, withinMs }: { readonly signal: AbortSignal; readonly withinMs: number },
): { signal: AbortSignal } & Disposable {
  const ending = new AbortController();
  const offAbort = onAbort(signal, () => ending.abort(signal.reason));
  const offTimer = clock.after(withinMs, () => ending.abort(notDoneInTime()));
  return {
    signal: ending.signal,
    [Symbol.dispose]() {
      offAbort();
      offTimer();
    },
  };
}

function notDoneInTime(): ConnectError {
  return new ConnectError(
    "the launch was not done before the deadline of the call, and may be done still; repeat it with the same request_id to find out",
    Code.DeadlineExceeded,
  );
}

async function toResults(
  { faults, responseMaxBytes }: BatchLaunchOptions,
  results: readonly Result[],
  giveWay: () => Promise<void> | undefined,
): Promise<MessageInitShape<typeof BatchLaunchResultSchema>[]> {
  const refused = results.filter((result) => result.status === "rejected").length;
  // In JSON, quoted and escaped, an error takes up to four times its bytes.
  const violationsMaxBytes = Math.floor(responseMaxBytes / 4 / refused);
  const sent: MessageInitShape<typeof BatchLaunchResultSchema>[] = [];
  for (const result of results) {
    await giveWay();
    if (result.status === "rejected") {
      const error = toStatus(result.reason, { faults, rpc, violationsMaxBytes });
      sent.push({ result: { case: "error", value: error } });
      continue;
    }
    const { taskId, runId, revision, outcome } = result.value;
    sent.push({ result: { case: "launched", value: { taskId, runId, revision, outcome: launchOutcomes[outcome] } } });
  }
  return sent;
}
