/**
 * The one writer of a task. Whatever changes a task takes its turn here, works
 * on the newest version and commits under the condition that it still is.
 *
 * States: unloaded -> loaded (absent | present) -> ... The actor stays in
 * memory while somebody uses it or a run of the task is offered in this process.
 *
 * 1. Turns never overlap (`serialize`).
 * 2. `entry`, once loaded, is what is on disk: it changes only after a commit.
 * 3. Every version names the transition before it, so that watchers can walk back (previous_transition_revision).
 * 4. After a lost race (somebody wrote the key past the controller) the entry is dropped and loaded anew.
 */
import assert from "node:assert/strict";
import type { LogEntry } from "#gen/core/v1/core_pb.js";
import { promised } from "../async/promised.ts";
import { taskChanges } from "../store/codec.ts";
import { taskKey, waitingKey } from "../store/keys.ts";
import type { Change, Condition, NextChanges } from "../store/store.ts";
import { nextRecord } from "../task/next-version.ts";
import { StatePending } from "../task/state.ts";
import { nextTask, type Task } from "../task/task.ts";
import { adopt, adoptedLogChanges } from "./adopt.ts";
import { commit, type CommitMode, isConflict, once, untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import type { PendingIntent } from "./intent.ts";
import type { Run } from "./run.ts";
import { loadTask } from "./task-reader.ts";

export interface ActorEntry {
  readonly task: Task | undefined;
  /** The revision of the task's last change; 0n when there is none. */
  readonly revision: bigint;
}

/** What a turn answers that has to wait until the runner was told of the end. */
export const endUntold = Symbol("the end is untold");

/**
 * Runs the turn, and again after each delivery that it has to wait for. The wait is outside the turn, as
 * the runner may take its time: whoever else comes is answered meanwhile, and the turn decides anew.
 * `onWait` is called before each wait.
 */
export async function afterDelivery<T>(
  actor: TaskActor,
  turn: () => Promise<T | typeof endUntold>,
  onWait?: () => void,
): Promise<T> {
  for (;;) {
    const done = await actor.serialize(turn);
    if (done !== endUntold) return done;
    onWait?.();
    await actor.delivery;
  }
}

export interface WriteOptions {
  /** The run waits for a runner: Pending and offered to none. */
  readonly waits: boolean;
  /** What else belongs to the commit. */
  readonly extra?: readonly Change[];
  readonly conditions?: readonly Condition[];
  readonly mode: CommitMode;
  /** Makes of the version, as it is stored, one that follows it with it, where the store can do both at once. Called once. */
  readonly next?: ((task: Task) => Task) | undefined;
}

export class TaskActor {
  readonly taskId: string;
  /** The run that is offered in this process, from then until it has let go. */
  run: Run | undefined;
  /** Settles when the runner was told of the end. */
  delivery: Promise<void> | undefined;
  /** How many hold the actor; see Actors. */
  users = 0;

  readonly #core: Core;
  readonly #key: string;
  #entry: ActorEntry | undefined;
  /** The task of `entry` to the byte, as what it was adopted from. */
  #stored: Task | undefined;
  #adoptedLogs: readonly LogEntry[] = [];
  #waits = false;
  #intent: PendingIntent | undefined;
  #isInTurn = false;
  /** Begin the turns that wait. */
  readonly #line: Array<() => void> = [];

  constructor(core: Core, taskId: string) {
    this.#core = core;
    this.taskId = taskId;
    this.#key = taskKey(core.name, taskId);
  }

  /** `run`, if the task is still its own: one that lost its fence only has to let go. */
  get ownRun(): Run | undefined {
    return this.run?.kind === "LOST_FENCE" ? undefined : this.run;
  }

  /** A stored launch that takes place when `run` has stopped and its end was delivered. */
  get intent(): PendingIntent | undefined {
    return this.#intent;
  }

  /** Who watches for the run of the one before is woken. */
  set intent(intent: PendingIntent | undefined) {
    if (this.#intent === intent) return;
    this.#intent = intent;
    this.#core.hub.wake(this.taskId);
  }

  /** What is on disk, if it is known. */
  get known(): ActorEntry | undefined {
    return this.#entry;
  }

  /** What is known has been given something, such as a run, that is not on disk. */
  get isAdopted(): boolean {
    return this.#entry?.task !== this.#stored;
  }

  /** The run waits for a runner. */
  get waits(): boolean {
    return this.#waits;
  }

  /** The run was offered to a runner, as its lease says; what is loaded cannot tell. */
  offered(): void {
    this.#waits = false;
  }

  /**
   * Runs `turn` when all turns before it are over: at once where there are none. However it fails, the turn ends and the promise is
   * rejected; nobody has to take that, whether the turn had to wait or not.
   */
  serialize<T>(turn: () => Promise<T>): Promise<T> {
    if (!this.#isInTurn) return this.#begin(turn);
    const result = new Promise<void>((begin) => this.#line.push(begin)).then(() => this.#begin(turn));
    void result.catch(() => {});
    return result;
  }

  #begin<T>(turn: () => Promise<T>): Promise<T> {
    this.#isInTurn = true;
    const result = promised(turn);
    void result.then(this.#endTurn, this.#endTurn);
    return result;
  }

  /** The turn of who came next is begun by its promise: until then it is nobody else's. */
  readonly #endTurn = (): void => {
    const begin = this.#line.shift();
    if (begin === undefined) this.#isInTurn = false;
    else begin();
  };

  /** What is on disk. Throws DATA_LOSS; with mode "once", UNAVAILABLE. What is known costs no wait. */
  load(mode: CommitMode): ActorEntry | Promise<ActorEntry> {
    return this.#entry ?? this.#load(mode);
  }

  async #load(mode: CommitMode): Promise<ActorEntry> {
    const read = (): ReturnType<typeof loadTask> => loadTask(this.#core, this.taskId);
    const loaded = await (mode === "once" ? once(this.#core, read) : untilDone(this.#core, read));
    this.#stored = loaded?.task;
    const adopted = loaded && adopt(this.#core, loaded.task);
    this.#adoptedLogs = adopted?.logs ?? [];
    this.#entry = { task: adopted?.task, revision: loaded?.revision ?? 0n };
    this.#waits = this.run === undefined && loaded?.task.status.state === StatePending;
    return this.#entry;
  }

  /**
   * Commits `after` (undefined: delete the task) as the next version, and with it what `next` makes of that. Resolves to the
   * revision of the first. Throws StoreError CONFLICT when the race was lost, ControllerError UNAVAILABLE.
   */
  async write(after: Task | undefined, options: WriteOptions): Promise<bigint> {
    const entry = this.#entry;
    assert(entry !== undefined, "a task is loaded before it is written");
    checkInvariants(after);
    const next = after && chained(entry, after, this.#stored);
    const offering = { waitedBefore: this.#waits, waitsAfter: options.waits };
    const { changes, stored } = taskChanges(this.#core.name, this.taskId, this.#stored, next, offering);
    if (this.#adoptedLogs.length > 0)
      changes.push(...adoptedLogChanges(this.#core, this.taskId, this.#adoptedLogs, after));
    for (const change of options.extra ?? []) changes.push(change);
    const second = stored && options.next?.(stored);
    checkInvariants(second);
    let last: Task | undefined;
    const following: NextChanges | undefined =
      stored &&
      second &&
      ((revision) => {
        const version = chained({ task: stored, revision }, second, stored);
        const unmoved = { waitedBefore: options.waits, waitsAfter: options.waits };
        const made = taskChanges(this.#core.name, this.taskId, stored, version, unmoved);
        last = made.stored;
        return made.changes;
      });
    const revision = await this.#commit(changes, entry, options, following);
    this.#adoptedLogs = [];
    this.#stored = last ?? stored;
    const newest = last === undefined ? revision : revision + 1n;
    this.#entry = { task: this.#stored, revision: this.#stored === undefined ? 0n : newest };
    this.#waits = options.waits;
    this.#forgetIntent(options.extra ?? []);
    this.#core.hub.wake(this.taskId);
    return revision;
  }

  /**
   * Commits changes beside the task, under the condition that the task has not changed. What a task that was
   * adopted was given, such as its run, is written with the first of them: nothing may refer to what is not on disk.
   */
  async writeBeside(
    changes: readonly Change[],
    options: { waits?: boolean; conditions?: readonly Condition[]; mode: CommitMode },
  ): Promise<bigint> {
    const entry = this.#entry;
    assert(entry !== undefined, "a task is loaded before it is written beside");
    const { waits = this.#waits } = options;
    const { task } = entry;
    if (task !== undefined && task !== this.#stored) {
      const first = nextTask(task);
      first.record.isTransition = false;
      return this.write(first, { ...options, waits, extra: changes });
    }
    const moves: Change[] = [];
    if (this.#waits && !waits && task !== undefined) {
      moves.push({ type: "unindex", key: waitingKey(this.#core.name, task.record.queueNumber, this.taskId) });
    }
    const revision = await this.#commit([...moves, ...changes], entry, options);
    this.#waits = waits;
    this.#forgetIntent(changes);
    return revision;
  }

  /** The changes that take away a stored launch which a newer call replaces. */
  intentChanges(): Change[] {
    return this.intent === undefined ? [] : [{ type: "unindex", key: this.intent.key }];
  }

  /** What is not on disk any more is not in memory either. */
  #forgetIntent(changes: readonly Change[]): void {
    const { intent } = this;
    if (intent !== undefined && changes.some(({ type, key }) => type === "unindex" && key === intent.key))
      this.intent = undefined;
  }

  /** Under the condition that the task is as it is known, and what else is asked for. */
  async #commit(
    changes: readonly Change[],
    { revision }: ActorEntry,
    options: Pick<WriteOptions, "conditions" | "mode">,
    next?: NextChanges,
  ): Promise<bigint> {
    const conditions: Condition[] = [{ key: this.#key, revision }];
    for (const condition of options.conditions ?? []) conditions.push(condition);
    try {
      return await commit(this.#core, changes, conditions, options.mode, next);
    } catch (error) {
      if (isConflict(error)) this.#entry = undefined;
      throw error;
    }
  }
}

/** The next version, with the way back to the transition before. What a task was given when it was adopted may be one that is not `stored`. */
function chained(entry: ActorEntry, after: Task, stored: Task | undefined): Task {
  const before = entry.task;
  const isAdopted = before !== undefined && before.status.transitions.length !== stored?.status.transitions.length;
  const previousTransitionRevision =
    before === undefined ? 0n : before.record.isTransition ? entry.revision : before.record.previousTransitionRevision;
  const isTransition = after.record.isTransition || isAdopted;
  const record = nextRecord(after.record);
  record.isTransition = isTransition;
  record.previousTransitionRevision = previousTransitionRevision;
  return { status: after.status, record };
}

/** The invariants of src/task/apply.ts, asserted in production too: a bug must not reach the disk. */
function checkInvariants(after: Task | undefined): void {
  if (after === undefined) return;
  const { status } = after;
  assert(status.transitions.at(-1)?.state === status.state, "the last transition equals the state");
  assert(status.logs.length === 0, "log entries are records of their own");
  assert(status.runId !== "" && status.attempt > 0, "a task has a run and an attempt");
}
