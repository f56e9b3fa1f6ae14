import { setMaxListeners } from "node:events";
import { type Clock, systemClock } from "../clock.ts";
import { Lifetime } from "../async/lifetime.ts";
import { onAbort } from "../async/signals.ts";
import { Faults } from "../faults.ts";
import { type Log, silentLog } from "../log.ts";
import { type Random, systemRandom } from "../random.ts";
import type { Store } from "../store/store.ts";
import { checkControllerName } from "../task/ids.ts";
import { defaultTaskLimits } from "../task/limits.ts";
import { parseTaskKey, taskKey } from "../store/keys.ts";
import { Actors } from "./actors.ts";
import { Callbacks } from "./callbacks.ts";
import { cancelTask } from "./cancel-task.ts";
import { closedMeanwhile, once } from "./commit.ts";
import { closeParts } from "./close-controller.ts";
import type { Controller } from "./controller.ts";
import type { BatchHooks } from "./served-launches.ts";
import type { ControllerLimits, Core, HostCore } from "./core.ts";
import { deleteTask } from "./delete-task.ts";
import { Deliveries } from "./deliveries.ts";
import { ControllerError, type FieldViolation, invalidArgument } from "./error.ts";
import type { Host } from "./host.ts";
import { launchTask } from "./launch-task.ts";
import { launchTasks } from "./launch-tasks.ts";
import { taskLogs } from "./list-logs.ts";
import { LocalHost } from "./local-host.ts";
import { createNoHost } from "./no-host.ts";
import { checkOpen, type Parts } from "./parts.ts";
import type { PhaseTimeouts } from "./phase.ts";
import { Quarantine } from "./quarantine.ts";
import { queryTasks } from "./query.ts";
import { resume } from "./resume.ts";
import { type Retention, sweepForever, sweepTasks } from "./retention.ts";
import { Runs } from "./runs.ts";
import { createStoreGuard, type StoreGuard } from "./store-guard.ts";
import { TaskCounts } from "./task-counts.ts";
import type { TaskRunner } from "./task-runner.ts";
import { Trash } from "./trash.ts";
import { waitTask } from "./wait-task.ts";
import { WatchHub } from "./watch-hub.ts";
import { watchTask } from "./watch-task.ts";
import { watchedTasksOf, watchTasks } from "./watch-tasks.ts";
import { readTask } from "./read-task.ts";

/** What a controller is opened with. */
export interface ControllerOptions {
  /** 1 to 63 lower case letters, digits and "-". Only one open controller may have the name in a store. */
  readonly name: string;
  /** Where tasks are kept. The controller does not close it. */
  readonly store: Store;
  readonly runner: TaskRunner;
  /** Closes the controller when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** What is kept of ended tasks. Default: until the controller is opened next. */
  readonly retention?: Retention | undefined;
  /** How many tasks run at one time; the others wait, Pending. Default and at most `limits.activeMax`. */
  readonly concurrency?: number | undefined;
  /**
   * How long the runner's onTaskPending may take in each attempt, in ms. Its signal is then aborted with the reason TIMEOUT, and what
   * the phase does after that decides (see AbortReason); it is waited for however long that takes. Waiting for a place is no part of it. Default: for ever.
   */
  readonly pendingTimeoutMs?: number | undefined;
  /** The same for onTaskRunning. */
  readonly runningTimeoutMs?: number | undefined;
  /** How long `close` waits for runners that do not stop, in ms. Default 30,000. */
  readonly closeGraceMs?: number | undefined;
  /** Why no new run is taken just now; undefined while they are, which is the default. */
  readonly refuseLaunch?: (() => ControllerError | undefined) | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  /** Default: says nothing. */
  readonly log?: Log | undefined;
  /** Counts and logs what goes wrong. Default: one of its own, which logs to `log`. */
  readonly faults?: Faults | undefined;
  readonly limits?: Partial<ControllerLimits> | undefined;
  /** Brings the store back when it fails; shared by controllers on one store. Default: one of its own. */
  readonly guard?: StoreGuard | undefined;
}

/** The limits of a controller that names none. */
export const defaultControllerLimits: ControllerLimits = {
  ...defaultTaskLimits,
  activeMax: 10_000,
  waitingMax: 1_000_000,
  watchersMax: 10_000,
  progressPerSecondMax: Infinity,
};

/**
 * Opens a controller: resumes what was Pending and Running, tells the runner of
 * ends it was not told of, and cleans ended tasks, unless `retention` keeps them. Resolves when that is done.
 * Throws INVALID_ARGUMENT that names every bad option, FAILED_PRECONDITION where the name is open on the store, UNAVAILABLE where the signal is aborted while the store fails.
 */
export function openController(options: ControllerOptions): Promise<Controller> {
  const { runner, concurrency } = options;
  return openCore(options, {
    isRetired: false,
    complaints: (limits) => runnerComplaints(options, limits),
    createHost: (core) => new LocalHost(core, { runner, concurrency: concurrency ?? core.limits.activeMax }),
  });
}

/**
 * Opens a controller that nothing names any more. It has no runner: its tasks can be read, watched, canceled and deleted, and
 * those that have not ended wait. It refuses launches.
 */
export function openRetiredController(options: Omit<ControllerOptions, RunnerOption>): Promise<Controller> {
  return openCore(options, {
    isRetired: true,
    complaints: () => [],
    createHost: ({ name }) => createNoHost(name),
  });
}

/** What says how tasks are run. */
type RunnerOption = "runner" | "concurrency" | "pendingTimeoutMs" | "runningTimeoutMs";

/** Where the runs of a controller take place. */
export interface Hosting {
  readonly isRetired: boolean;
  /** What is wrong with the options that say it. */
  complaints(limits: ControllerLimits): FieldViolation[];
  /** Makes the host. `parts` are there when it is made, and not before. */
  createHost(core: HostCore, parts: () => Parts): Host;
}

/** What a controller is opened with whatever its host. */
export type CoreOptions = Omit<ControllerOptions, "runner" | "concurrency">;

/** The names that are open on each store of this process: two of a name would each run the other's tasks. */
const openNames = new WeakMap<Store, Set<string>>();

/** Throws FAILED_PRECONDITION where the name is open on the store; the returned function gives it back. */
function takeName({ store, name }: { store: Store; name: string }): () => void {
  const names = openNames.get(store) ?? new Set<string>();
  openNames.set(store, names);
  if (names.has(name)) {
    throw new ControllerError(
      "FAILED_PRECONDITION",
      `the controller "${name}" is open on this store already; close it first`,
    );
  }
  names.add(name);
  return () => names.delete(name);
}

/** Opens a controller whose runs take place on the host that `hosting` makes; see openController. */
export async function openCore(options: CoreOptions, hosting: Hosting): Promise<Controller> {
  const resolved = resolveOptions(options, hosting);
  const giveBackName = takeName(resolved.core);
  const ownGuard = options.guard === undefined;
  const closing = new AbortController();
  // Every watch, wait and delivery listens to it: no number of them is a leak.
  setMaxListeners(0, closing.signal);
  const lifetime = new Lifetime(() => closedMeanwhile());
  const quarantine = new Quarantine(resolved.core.faults);
  const hostCore: HostCore = {
    ...resolved.core,
    closing: closing.signal,
    lifetime,
    hub: new WatchHub(),
    quarantine,
    counts: new TaskCounts(resolved.core),
  };
  const core: Core = { ...hostCore, host: hosting.createHost(hostCore, () => parts) };
  const parts = createParts(core, resolved.timeouts);
  const opening = open(parts, resolved.retention);
  // What the controller does of itself, and closing waits for.
  let working: Promise<void> = opening.catch(() => {});
  let closed: Promise<void> | undefined;

  function close(): Promise<void> {
    closed ??= closeParts(parts, closing, { graceMs: resolved.closeGraceMs, ownGuard, working }).finally(giveBackName);
    return closed;
  }

  const offSignal = options.signal === undefined ? () => {} : onAbort(options.signal, () => void close());
  closing.signal.addEventListener("abort", offSignal, { once: true });
  try {
    await opening;
  } catch (error) {
    await close();
    throw error;
  }
  working = sweepForever(parts, resolved.retention);

  return {
    name: core.name,
    launchTask: (taskId, launch = {}, onWait?: () => void) => launchTask(parts, taskId, launch, onWait),
    launchTasks: (launches, batch = {}, hooks?: BatchHooks) => launchTasks(parts, launches, batch, hooks),
    cancelTask: (taskId, cancel = {}) => cancelTask(parts, taskId, cancel),
    listTasks: () => listTasks(parts),
    queryTasks: (query = {}) => queryTasks(parts, query),
    taskStatus: async (taskId, read = {}) => (await readTask(parts, taskId, read)).status,
    readTask: (taskId, read = {}) => readTask(parts, taskId, read),
    taskLogs: (taskId, logs = {}) => taskLogs(parts, taskId, logs),
    watchTask: (taskId, watch = {}) => watchTask(parts, taskId, watch),
    watchTasks: (watch = {}) => watchTasks(watchedTasksOf(parts), watch),
    waitTask: (taskId, wait = {}) => waitTask(parts, taskId, wait),
    deleteTask: (taskId, del = {}) => deleteTask(parts, taskId, del.ifRevision),
    countTasks: async () => {
      checkOpen(parts);
      return once(core, () => core.counts.read());
    },
    quarantinedTasks: () => quarantine.taskIds,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function createParts(core: Core, timeouts: PhaseTimeouts): Parts {
  const actors = new Actors(core);
  const callbacks = new Callbacks(core.log);
  const trash = new Trash(core);
  const deliveries = new Deliveries(core, callbacks);
  return { core, actors, callbacks, trash, runs: new Runs(core, { actors, deliveries, trash, timeouts }) };
}

function runnerComplaints(
  { runner, concurrency }: ControllerOptions,
  { activeMax }: ControllerLimits,
): FieldViolation[] {
  const violations: FieldViolation[] = [];
  if (typeof runner?.onTaskRunning !== "function") {
    violations.push({ field: "runner", description: "must have a function onTaskRunning" });
  }
  const isCount = Number.isInteger(concurrency ?? activeMax);
  if (!isCount || (concurrency ?? activeMax) < 1 || (concurrency ?? activeMax) > activeMax) {
    violations.push({ field: "concurrency", description: `must be a whole number from 1 to ${activeMax}` });
  }
  return violations;
}

function resolveOptions(options: CoreOptions, hosting: Hosting) {
  const limits: ControllerLimits = { ...defaultControllerLimits, ...options.limits };
  const { clock = systemClock, random = systemRandom, log = silentLog, store } = options;
  const { faults = new Faults({ clock, log }) } = options;
  const { closeGraceMs = 30_000, retention = {}, refuseLaunch = () => undefined } = options;
  const { pendingTimeoutMs = Infinity, runningTimeoutMs = Infinity } = options;
  const violations: FieldViolation[] = [];
  const nameComplaint = checkControllerName(options.name ?? "");
  if (nameComplaint !== undefined) violations.push({ field: "name", description: nameComplaint });
  if (store === undefined)
    violations.push({ field: "store", description: 'must be set: openStore("level:DIR") opens one' });
  violations.push(...hosting.complaints(limits));
  if (!(closeGraceMs >= 0)) {
    violations.push({ field: "closeGraceMs", description: "must be a number of ms, not negative" });
  }
  if (retention.afterEndMs !== undefined && !(retention.afterEndMs >= 0)) {
    violations.push({ field: "retention.afterEndMs", description: "must be a number of ms, not negative" });
  }
  for (const [field, timeoutMs] of Object.entries({ pendingTimeoutMs, runningTimeoutMs })) {
    if (!(timeoutMs > 0)) violations.push({ field, description: "must be a number of ms, more than 0" });
  }
  if (violations.length > 0) throw invalidArgument(violations);
  const guard = options.guard ?? createStoreGuard({ store, clock, random, log, faults });
  const core = {
    name: options.name,
    store,
    isRetired: hosting.isRetired,
    refuseLaunch,
    clock,
    random,
    log,
    faults,
    limits,
    guard,
  };
  const timeouts = { pending: pendingTimeoutMs, running: runningTimeoutMs };
  return { core, timeouts, closeGraceMs, retention };
}

async function open(parts: Parts, retention: Retention): Promise<void> {
  const openedAt = parts.core.store.revision();
  await resume(parts);
  if (retention.afterEndMs === undefined) await cleanAtOpening(parts, openedAt);
}

/**
 * The library's default: what has ended is gone when the controller is opened next, after the runner was told. What
 * ends in this opening, by a stored cancel or soon after its resume, nobody has seen yet: it stays until the next.
 */
async function cleanAtOpening(parts: Parts, upToRevision: bigint): Promise<void> {
  await Promise.all([...parts.actors.all()].map(async (actor) => actor.delivery));
  await sweepTasks(parts, { endedBeforeMs: Number.MAX_SAFE_INTEGER, upToRevision });
}

async function listTasks(parts: Parts): Promise<string[]> {
  checkOpen(parts);
  const { core } = parts;
  const ids: string[] = [];
  let after: string | undefined;
  for (;;) {
    const page = await once(core, () => core.store.scan({ prefix: taskKey(core.name, ""), after, limit: 1_000 }));
    ids.push(...page.flatMap((entry) => parseTaskKey(entry.key)?.taskId ?? []));
    if (page.length < 1_000) return ids;
    after = page.at(-1)?.key;
  }
}
