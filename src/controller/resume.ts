/**
 * Opening a controller: makes of what the last process left what is to become of it, before anything is offered.
 *
 * 1. A run that a remote runner may still have is taken up as it is: it goes on, or its host says that it is lost. What is
 *    asked of it on disk (a cancel, a stored launch) its runner is told.
 * 2. Any other run that was offered and has not ended goes back to Pending with one attempt more, in its old place in the queue;
 *    unless a cancel is stored (it ends as Canceled), a launch is stored (that takes its place), or it is the one that kills the process (CRASH_LOOP), which
 *    no task of an isolated runner is.
 * 3. A run that was never offered waits on as it is.
 * 4. An end that the runner was not told of is told; where nobody is there to be told, it is kept.
 * 5. A stored launch whose run before has ended takes place after the runner was told of that end.
 * 6. Each step is one commit, so that a crash in the middle of opening leaves only less to do.
 */
import { create, fromBinary } from "@bufbuild/protobuf";
import { type Lease, LeaseSchema } from "#gen/stint/store/v1/record_pb.js";
import {
  deliveryKey,
  leaseKey,
  listedTaskId,
  listPrefix,
  parseIndexKey,
  parseWaitingKey,
  releasedKey,
  statePrefix,
  type TaskListName,
  waitingKey,
} from "../store/keys.ts";
import { type Change, type Entry, getMarked } from "../store/store.ts";
import { isActive, StatePending, StateRunning } from "../task/state.ts";
import type { Task } from "../task/task.ts";
import { commit, isConflict, untilDone } from "./commit.ts";
import { ControllerError } from "./error.ts";
import { decodeIntent } from "./intent.ts";
import type { Seat } from "./host.ts";
import type { Parts } from "./parts.ts";
import { resumeTask, type Resuming } from "./resume-task.ts";
import type { TaskActor } from "./task-actor.ts";

const pageSize = 256;

/** Brings everything into order and begins to offer. Throws UNAVAILABLE when closed meanwhile. */
export async function resume(parts: Parts): Promise<void> {
  await loadIntents(parts);
  await resumeAll(parts);
  parts.runs.dispatcher.open();
}

async function resumeAll(parts: Parts): Promise<void> {
  const { core } = parts;
  const left = { resumed: 0, told: 0 };
  // Not `+= await`: many are under way, and each would add to what there was before it began.
  await forEachEntry(parts, "leases", async (entry) => {
    const resumed = await resumeLeased(parts, entry);
    left.resumed += resumed;
  });
  await forEachEntry(parts, "released", async (entry) => {
    const resumed = await resumeOffered(parts, entry, { how: "stopped" });
    left.resumed += resumed;
  });
  left.resumed += await resumeRunning(parts);
  await seedWaiting(parts);
  await forEachEntry(parts, "deliveries", (entry) => {
    left.told += 1;
    return deliverAgain(parts, entry);
  });
  await launchIntents(parts);
  parts.trash.emptyAll();
  if (left.resumed > 0 || left.told > 0) core.log.info(left, `controller "${core.name}": took up what was left`);
}

/** The stored launches are given to their actors, which stay in memory until those have taken place. */
async function loadIntents(parts: Parts): Promise<void> {
  await forEachEntry(parts, "intents", async (entry) => {
    const intent = decodeIntent(entry);
    if (intent === undefined) {
      const error = new Error(`the stored launch ${JSON.stringify(entry.key)} is damaged`);
      return parts.core.quarantine.note(listedTaskId(entry.key), error);
    }
    await parts.actors.use(listedTaskId(entry.key), async (actor) => {
      actor.intent = intent;
    });
  });
}

/** A task whose attempt has a lease; 1 when it was resumed or ended. */
async function resumeLeased(parts: Parts, entry: Entry): Promise<number> {
  const lease = decodeLease(entry);
  // An attempt in another process did not die with this one.
  if (lease.instanceId === "") return resumeOffered(parts, entry, { how: "died", lease });
  return resumeOffered(parts, entry, { how: "stopped", lease });
}

/** A task whose attempt was offered before; 1 when it was resumed or ended. */
async function resumeOffered(
  parts: Parts,
  entry: Entry,
  { how, lease }: { how: Resuming["how"]; lease?: Lease },
): Promise<number> {
  const { core, runs } = parts;
  const keyOf = lease === undefined ? releasedKey : leaseKey;
  return withTask(parts, listedTaskId(entry.key), async (actor) => {
    const { task } = await actor.load("until-done");
    const gone: Change = { type: "unindex", key: entry.key };
    const isCurrent =
      task !== undefined &&
      isActive(task.status.state) &&
      entry.key === keyOf(core.name, actor.taskId, task.status.runId, task.status.attempt);
    if (!isCurrent) {
      await commit(core, [gone], [], "until-done");
      return 0;
    }
    if (!(await isWaiting(parts, actor.taskId, task))) actor.offered();
    const seat = lease && recall(parts, { entry, lease, taskId: actor.taskId });
    if (seat !== undefined) {
      runs.takeUp(actor, { fence: entry.revision, seat });
      return 0;
    }
    await resumeTask(parts, actor, { how, alone: lease?.alone === true, extra: [gone] });
    return 1;
  });
}

/** The seat of a run that another process may still have. */
function recall(
  { core }: Parts,
  { entry, lease, taskId }: { entry: Entry; lease: Lease; taskId: string },
): Seat | undefined {
  const { runId, attempt, instanceId, runner } = lease;
  if (instanceId === "") return undefined;
  return core.host.recall({ taskId, runId, attempt, fence: entry.revision, instanceId, runner });
}

/** A lease that is damaged accuses nobody, and is nobody's. */
function decodeLease(entry: Entry): Lease {
  try {
    return fromBinary(LeaseSchema, entry.value);
  } catch {
    return create(LeaseSchema);
  }
}

/** Running tasks that nobody was offered: a program put them into the store itself. */
async function resumeRunning(parts: Parts): Promise<number> {
  const { core } = parts;
  let count = 0;
  const prefix = statePrefix(core.name, StateRunning);
  await forEachKey(parts, prefix, async (entry) => {
    await withTask(parts, parseIndexKey(entry.key).taskId, async (actor) => {
      const { task } = await actor.load("until-done");
      if (task?.status.state !== StateRunning || actor.run !== undefined) return 0;
      await resumeTask(parts, actor, { how: "stopped", alone: false, extra: [] });
      count += 1;
      return 1;
    });
  });
  return count;
}

/** Whether the task has a place in the line: one that was offered has, where a program has put it into the store as Pending since. */
async function isWaiting({ core }: Parts, taskId: string, task: Task): Promise<boolean> {
  if (task.status.state !== StatePending) return false;
  const key = waitingKey(core.name, task.record.queueNumber, taskId);
  return (await untilDone(core, () => getMarked(core.store, key))) !== undefined;
}

/** Launches whose run before has ended already; the others wait for theirs, which was taken up. */
async function launchIntents(parts: Parts): Promise<void> {
  for (const actor of [...parts.actors.all()]) {
    const { intent } = actor;
    if (intent === undefined) continue;
    await withTask(parts, actor.taskId, async () => {
      await actor.load("until-done");
      if (actor.intent !== intent || actor.delivery !== undefined || actor.run !== undefined) return 0;
      await parts.runs.launchIntent(actor, intent, []);
      return 1;
    });
  }
}

async function seedWaiting(parts: Parts): Promise<void> {
  const { core, runs, actors } = parts;
  const [last] = await untilDone(core, () =>
    core.store.scan({ prefix: listPrefix("waiting", core.name), limit: 1, reverse: true }),
  );
  const counts = await untilDone(core, () => core.counts.read());
  // What is Pending waits, but for the runs that were taken up.
  const offered = [...actors.all()].filter(
    ({ run, known }) => run !== undefined && known?.task?.status.state === StatePending,
  );
  runs.dispatcher.seedWaiting(
    Number(counts.get(StatePending) ?? 0n) - offered.length,
    last ? parseWaitingKey(last.key).queueNumber : 0n,
  );
}

/** Tells of the end that an entry of the deliveries is for, unless nobody is there, or that is under way. */
export async function deliverAgain(parts: Parts, entry: Entry): Promise<void> {
  const { core } = parts;
  const taskId = listedTaskId(entry.key);
  const isTold = await withTask(parts, taskId, async (actor) => {
    const { task } = await actor.load("until-done");
    if (actor.delivery !== undefined) return 1;
    // An end that this opening has made may have been told since the entry was read.
    if ((await untilDone(core, () => getMarked(core.store, entry.key))) === undefined) return 1;
    if (task === undefined || isActive(task.status.state)) return 0;
    if (entry.key !== deliveryKey(core.name, taskId, task.status.runId)) return 0;
    // The runner of this process does not want to know; one that is not there yet may.
    if (!core.host.canTell) return core.host.kind === "local" ? 0 : 1;
    parts.runs.deliver(actor, { fence: 0n, seat: undefined, isKept: true, revision: entry.revision });
    return 1;
  });
  if (isTold === 0) await commit(core, [{ type: "unindex", key: entry.key }], [], "until-done");
}

/**
 * Runs `step` in the task's turn, and again where somebody else wrote the task meanwhile; a task that is damaged, or
 * that it fails for, is left as it is, and stops nothing.
 */
async function withTask(parts: Parts, taskId: string, step: (actor: TaskActor) => Promise<number>): Promise<number> {
  for (;;) {
    try {
      return await parts.actors.use(taskId, (actor) => actor.serialize(() => step(actor)));
    } catch (error) {
      if (isConflict(error)) continue;
      if (parts.core.closing.aborted || (error instanceof ControllerError && error.code === "UNAVAILABLE")) throw error;
      if (error instanceof ControllerError && error.code === "DATA_LOSS") parts.core.quarantine.note(taskId, error);
      else
        parts.core.faults.note(
          "background_errors",
          { err: error, taskId },
          "a task could not be taken up; it is left to the next opening",
        );
      return 1;
    }
  }
}

function forEachEntry(parts: Parts, list: TaskListName, step: (entry: Entry) => Promise<void>): Promise<void> {
  return forEachKey(parts, listPrefix(list, parts.core.name), step);
}

/** Runs `step` for every entry, a page of them side by side, so that their commits share groups. */
async function forEachKey(parts: Parts, prefix: string, step: (entry: Entry) => Promise<void>): Promise<void> {
  const { core } = parts;
  let after: string | undefined;
  for (;;) {
    const page = await untilDone(core, () => core.store.scan({ prefix, after, limit: pageSize }));
    await Promise.all(page.map(step));
    if (page.length < pageSize) return;
    after = page.at(-1)?.key;
  }
}
