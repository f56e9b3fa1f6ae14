/** LaunchTask: what a launch does to the task as it is, decided and committed in the task's turn. */
import type { TaskState } from "#gen/core/v1/core_pb.js";
import { decideLaunch } from "../task/relaunch.ts";
import { isActive, stateName, StatePending, StateUnknown } from "../task/state.ts";
import type { LaunchedRun, LaunchedTask, LaunchOptions, LaunchOutcome, TaskLaunch } from "./controller.ts";
import { afterEffect, isConflict } from "./commit.ts";
import { ControllerError, limitError, taskNotFound } from "./error.ts";
import { createIntent } from "./intent.ts";
import { mayTellKeptEnd, tellsKeptEnd } from "./kept-ends.ts";
import { type ResolvedLaunch, resolveLaunch } from "./launch-options.ts";
import { checkOpen, checkRevision, checkTakesLaunches, type Parts, snapshot } from "./parts.ts";
import { findRequest, requestChanges, type UsedRequest } from "./requests.ts";
import { afterDelivery, type ActorEntry, endUntold, type TaskActor } from "./task-actor.ts";

interface Decided {
  readonly runId: string;
  readonly outcome: LaunchOutcome;
  /** The task as the new run was launched; undefined: as it is. */
  readonly launched?: ActorEntry;
}

/** Makes the answer of a launch that was done. */
type Answer<T> = (did: Omit<LaunchedRun, "revision">, entry: ActorEntry) => Promise<T>;

/** What is launched; `onWait` is called whenever the launch begins to wait until the runner was told of an end. */
interface Launching {
  readonly taskId: string;
  readonly options: LaunchOptions;
  readonly onWait: (() => void) | undefined;
}

/** See Controller.launchTask. */
export function launchTask(
  parts: Parts,
  taskId: string,
  options: LaunchOptions,
  onWait?: () => void,
): Promise<LaunchedTask> {
  return launchThen(parts, { taskId, options, onWait }, async (did, entry) => {
    const { status, revision } = await snapshot(parts, did.taskId, entry);
    return { taskId: did.taskId, runId: did.runId, outcome: did.outcome, status, revision };
  });
}

/** The same without the status, which costs reads. */
export function launchRun(parts: Parts, launch: TaskLaunch, onWait: () => void): Promise<LaunchedRun> {
  const { taskId } = launch;
  return launchThen(parts, { taskId, options: launch, onWait }, async (did, { revision }) => ({
    taskId: did.taskId,
    runId: did.runId,
    outcome: did.outcome,
    revision,
  }));
}

async function launchThen<T>(parts: Parts, { taskId, options, onWait }: Launching, answer: Answer<T>): Promise<T> {
  checkOpen(parts);
  const resolved = resolveLaunch(taskId, options, parts.core.limits);
  const used = resolved.requestId === "" ? undefined : await findRequest(parts.core, taskId, resolved);
  if (used !== undefined) return repeated(parts, used, options, answer);
  const actor = parts.actors.acquire(taskId);
  try {
    const launched = await afterDelivery(actor, () => launchTurn(parts, actor, resolved, options), onWait);
    // Not in this task's turn: where the server made the id, the first time was of another task.
    if ("generation" in launched) return await repeated(parts, launched, options, answer);
    const { task, runId, outcome } = launched;
    return await afterEffect(() => answer({ taskId, runId, outcome }, task));
  } finally {
    parts.actors.release(actor);
  }
}

interface LaunchedTurn extends Decided {
  /** The task as the answer shows it. */
  readonly task: ActorEntry;
}

async function launchTurn(
  parts: Parts,
  actor: TaskActor,
  launch: ResolvedLaunch,
  options: LaunchOptions,
): Promise<LaunchedTurn | UsedRequest | typeof endUntold> {
  for (;;) {
    try {
      // Checked again in the turn: the same request may have been under way.
      const used = launch.requestId === "" ? undefined : await findRequest(parts.core, actor.taskId, launch);
      if (used !== undefined) return used;
      checkOpen(parts);
      const did = await launchOnce(parts, actor, launch, actor.known ?? (await actor.load("once")));
      if (did === endUntold) return did;
      parts.callbacks.add(actor.taskId, options);
      const task = did.launched ?? actor.known ?? (await actor.load("once"));
      return { runId: did.runId, outcome: did.outcome, task };
    } catch (error) {
      // Somebody else wrote the task or used the request id meanwhile: look again.
      if (!isConflict(error)) throw error;
    }
  }
}

function launchOnce(
  parts: Parts,
  actor: TaskActor,
  launch: ResolvedLaunch,
  entry: ActorEntry,
): Promise<Decided | typeof endUntold> | typeof endUntold {
  checkRevision(entry, launch.ifRevision);
  checkTakesLaunches(parts);
  // A stored launch was acknowledged: it is the run that is alive, also where the run before it has ended.
  const state = actor.intent === undefined ? entry.task?.status.state : StatePending;
  switch (decideLaunch(state, launch)) {
    case "refuse":
      throw alreadyThere(actor.taskId, state);
    case "use-existing":
      return useExisting(parts, actor, entry, launch);
    case "restart":
      // An offer that was not accepted yet holds nobody up.
      if (actor.ownRun?.seat.isTaken === true || actor.delivery !== undefined)
        return storeIntent(parts, actor, entry, launch);
      return newRun(parts, actor, launch, { entry, outcome: "restarted" });
    default:
      // The runner is told of an end before the id has a new run.
      if (actor.delivery !== undefined) return endUntold;
      return newRun(parts, actor, launch, { entry, outcome: "launched" });
  }
}

async function newRun(
  parts: Parts,
  actor: TaskActor,
  launch: ResolvedLaunch,
  { entry, outcome }: { entry: ActorEntry; outcome: LaunchOutcome },
): Promise<Decided | typeof endUntold> {
  const { core, runs } = parts;
  const { task } = entry;
  if (task !== undefined && mayTellKeptEnd(core, task) && (await tellsKeptEnd(parts, actor))) return endUntold;
  checkTakesRuns(parts);
  // One that waits already makes the line no longer.
  if (!actor.waits && runs.dispatcher.waiting >= core.limits.waitingMax) throw tooManyWait(core.limits.waitingMax);
  const runId = core.random.id();
  const generation = task?.record.generation ?? runId;
  const request = requestChanges(core, actor.taskId, launch, { runId, outcome, generation });
  const decided = { runId, metadata: launch.metadata, labels: launch.labels, owner: launch.owner };
  const launched = await runs.launch(actor, decided, {
    extra: [...actor.intentChanges(), ...request.changes],
    conditions: request.conditions,
    mode: "once",
  });
  return { runId, outcome, launched };
}

/** The run that is alive has a runner, or its end is being delivered: the launch is stored, and takes place after that. */
async function storeIntent(
  parts: Parts,
  actor: TaskActor,
  entry: ActorEntry,
  launch: ResolvedLaunch,
): Promise<Decided> {
  const { core } = parts;
  checkTakesRuns(parts);
  const runId = core.random.id();
  const { intent, change } = createIntent(core.name, actor.taskId, {
    runId,
    metadata: launch.metadata,
    labels: launch.labels,
    owner: launch.owner,
  });
  const did = { runId, outcome: "restarted" as const };
  const request = requestChanges(core, actor.taskId, launch, {
    ...did,
    generation: entry.task?.record.generation ?? runId,
  });
  const changes = [...actor.intentChanges(), change, ...request.changes];
  await actor.writeBeside(changes, { conditions: request.conditions, mode: "once" });
  actor.intent = intent;
  actor.run?.abort("RESTART");
  // Who waits for the run of the launch that this one replaces learns that it never comes.
  core.hub.wake(actor.taskId);
  return did;
}

async function useExisting(
  parts: Parts,
  actor: TaskActor,
  entry: ActorEntry,
  launch: ResolvedLaunch,
): Promise<Decided> {
  const did = { runId: actor.intent?.runId ?? entry.task?.status.runId ?? "", outcome: "used-existing" as const };
  const generation = entry.task?.record.generation ?? "";
  const request = requestChanges(parts.core, actor.taskId, launch, { ...did, generation });
  // The run of a task that a program has put into the store is given out, so it has to be on disk.
  if (request.changes.length > 0 || actor.isAdopted) {
    await actor.writeBeside(request.changes, { conditions: request.conditions, mode: "once" });
  }
  return did;
}

/** The answer of the first time, with today's status. */
function repeated<T>(parts: Parts, used: UsedRequest, options: LaunchOptions, answer: Answer<T>): Promise<T> {
  const { taskId, runId, outcome } = used;
  return parts.actors.use(taskId, async (actor) => {
    const entry = await actor.serialize(async () => {
      const loaded = await actor.load("once");
      if (loaded.task?.record.generation !== used.generation) throw taskNotFound(parts.core.name, taskId);
      // The caller may be one whose first answer was lost: its callbacks are waited for by nobody else.
      if (isActive(loaded.task.status.state) || actor.intent !== undefined) parts.callbacks.add(taskId, options);
      return loaded;
    });
    return answer({ taskId, runId, outcome }, entry);
  });
}

function alreadyThere(taskId: string, state: TaskState = StateUnknown): ControllerError {
  return new ControllerError("ALREADY_EXISTS", `task "${taskId}" is there already, and is ${stateName(state)}`);
}

function checkTakesRuns({ core }: Parts): void {
  const refusal = core.refuseLaunch();
  if (refusal !== undefined) throw refusal;
}

function tooManyWait(max: number): ControllerError {
  return limitError("waiting_max", max, `${max} tasks of this controller wait already, which is the limit`, 5_000);
}
