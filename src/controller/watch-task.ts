/**
 * WatchTask: a position in a task's history that moves on when the task
 * changes. Nothing is queued for a watcher: what it has not seen is on disk.
 *
 * 1. Every transition after the position is sent once, in order, as the status was then; they are found by walking
 *    back the chain of transitions from the newest version.
 *    That holds over a deletion too: what came before it is shown first.
 * 2. What lies between two transitions (progress, log entries) is sent as the newest at the time; at most every
 *    `progressIntervalMs` where it is not a transition.
 * 3. A log entry is sent once; its message's revision is not below the entry's, so the position covers it.
 * 4. The stream ends right after the first end state after the position it began with.
 * 5. After 15 s in which nothing was sent there is a bookmark, however often the task has changed without anything to
 *    show, as one does whose next run is watched; but for a store that fails, as a commit may be in doubt then.
 * 6. Whatever way it ends, nothing of it stays behind.
 * 7. A watcher that has seen everything costs a place in the hub and one in its line of those who are silent: no timer, no signal, and
 *    no promise but that of whoever waits for the next message with one. Most changes are one newer version in memory, which needs no look at history.
 * 8. Who is told of a message may ask for the next before that returns: to tell it is the last that is done.
 */
import type { AskedIterator, Asking } from "../async/asking.ts";
import { onAbort } from "../async/signals.ts";
import { checkRequestId, checkTaskId } from "../task/ids.ts";
import { isEnded } from "../task/state.ts";
import type { Task } from "../task/task.ts";
import type { TaskChange, WatchTaskOptions } from "./controller.ts";
import { refuseBadFields } from "./error.ts";
import { checkHistory } from "./history.ts";
import { checkOpen, type Parts } from "./parts.ts";
import { lastTransition } from "./task-versions.ts";
import { bookmarkMs, type WatchedTask } from "./watch-hub.ts";
import { bookmark, changesSince, isWatched, newestChange, type Position, type Watched } from "./watch-round.ts";

const progressIntervalMs = 100;

type Answer = IteratorResult<TaskChange, undefined>;

/** See Controller.watchTask. Checked when this returns, and begun by the first `next`. */
export function watchTask(parts: Parts, taskId: string, options: WatchTaskOptions): AsyncIterable<TaskChange> {
  checkOpen(parts);
  refuseBadFields({
    task_id: checkTaskId(taskId),
    run_id: checkRequestId(options.runId ?? "", parts.core.limits.idMaxBytes),
  });
  checkHistory(parts.core.store, options.sinceRevision ?? 0n);
  return { [Symbol.asyncIterator]: () => new TaskWatch(parts, taskId, options) };
}

/** States: new -> waiting (for somebody to ask, or for something to show) <-> looking -> over. */
class TaskWatch implements AskedIterator<TaskChange>, Watched {
  readonly parts: Parts;
  readonly taskId: string;
  readonly options: WatchTaskOptions;
  readonly position: Position;
  /** Undefined before it has begun. */
  #place: WatchedTask | undefined;
  #isOver = false;
  /** Who waits for the next message. */
  #asked: Asking<TaskChange> | undefined;
  /** What `next` has returned last. */
  #answered: Promise<unknown> | undefined;
  /** A look that is under way, or has more to say. */
  #look: AsyncGenerator<TaskChange, boolean> | undefined;
  #isLooking = false;
  #isFirst = true;
  /** What was sent last was the end. */
  #isAtEnd = false;
  /** The version of the place that was looked at last. */
  #seen = -1;
  #sentMs = Number.NEGATIVE_INFINITY;
  #spokenMs = 0;
  /** The store's revision when the silence began in which nothing has changed; undefined where something has. */
  #quietSince: bigint | undefined;
  #cancelPause: (() => void) | undefined;
  #offSignal: (() => void) | undefined;

  constructor(parts: Parts, taskId: string, options: WatchTaskOptions) {
    const revision = options.sinceRevision ?? 0n;
    this.parts = parts;
    this.taskId = taskId;
    this.options = options;
    this.position = { revision, isBlank: revision === 0n, logSeq: -1n, generation: "" };
  }

  next(): Promise<Answer> {
    if (this.#asked !== undefined && this.#answered !== undefined) {
      const again = (): Promise<Answer> => this.next();
      return this.#answered.then(again, again);
    }
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined });
    const answered = new Promise<Answer>((resolve, reject) => {
      this.#asked = { resolve, reject };
    });
    this.#answered = answered;
    this.#goOn();
    return answered;
  }

  /** Nobody who asks so asks by `next`, too. */
  ask(asking: Asking<TaskChange>): void {
    if (this.#isOver) return asking.resolve({ done: true, value: undefined });
    this.#asked = asking;
    this.#goOn();
  }

  /** Ends it at once: whoever waits for a message is told that it is over. */
  return(): Promise<Answer> {
    this.#end()?.resolve({ done: true, value: undefined });
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The task has changed, or 15 s of silence are over, or the controller closes. */
  wake(): void {
    this.#goOn();
  }

  /** It was silent for 15 s. */
  due(): void {
    this.parts.core.hub.tell(this);
  }

  /** Says what there is to say, where somebody has asked for it and it is not looked for yet. */
  #goOn(): void {
    if (this.#asked === undefined || this.#isLooking) return;
    try {
      const place = (this.#place ??= this.#begin());
      if (this.#isOver) return;
      if (this.#isAtEnd) return void this.return();
      if (this.parts.core.closing.aborted) checkOpen(this.parts);
      if (this.#look !== undefined) return void this.#goOnLooking();
      if (this.#isDue()) return this.#sayBookmark(place);
      if (place.version === this.#seen) return this.#waitForChange();
      this.#showNewest(place);
    } catch (error) {
      this.#fail(error);
    }
  }

  #begin(): WatchedTask {
    const { core } = this.parts;
    const { signal } = this.options;
    core.hub.checkRoom(core.limits.watchersMax);
    this.#spokenMs = core.clock.mono();
    const place = core.hub.join(this.taskId, this);
    this.#place = place;
    if (signal !== undefined) this.#offSignal = onAbort(signal, () => void this.return());
    return place;
  }

  #isDue(): boolean {
    const { clock, guard } = this.parts.core;
    return guard.healthy && !this.#isFirst && clock.mono() >= this.#spokenMs + bookmarkMs;
  }

  #sayBookmark(place: WatchedTask): void {
    // Whatever was durable then was of another task, or has woken this watch since.
    if (place.version === this.#seen && this.#quietSince !== undefined) this.#say(bookmark(this.#quietSince));
    else this.#startLook(place, true);
  }

  #waitForChange(): void {
    const { hub, store, clock } = this.parts.core;
    if (hub.silent.has(this)) return;
    // While the store fails it is silent for longer, and a commit may be in doubt that its revision covers.
    this.#quietSince = this.parts.core.guard.healthy ? store.revision() : undefined;
    hub.silent.put(clock, this);
  }

  /** Where the newest version, which is in memory, is all there is to show, that is sent; else the watch looks for what there is. */
  #showNewest(place: WatchedTask): void {
    this.#quietSince = undefined;
    const known = this.parts.actors.peek(this.taskId)?.known;
    if (this.#isFirst || known?.task === undefined) return this.#startLook(place, false);
    const { task, revision } = known;
    if (lastTransition({ task, revision }) <= this.position.revision) {
      const pauseMs = this.#sentMs + progressIntervalMs - this.parts.core.clock.mono();
      if (pauseMs > 0) return this.#pause(pauseMs);
    }
    if (!this.#isNext(task, revision)) return this.#startLook(place, false);
    const change = newestChange(this, place, { task, revision, previous: 0n });
    if (change instanceof Promise) return this.#startLook(place, false);
    const since = this.options.sinceRevision ?? 0n;
    const isOfBefore = since > 0n && lastTransition({ task, revision }) <= since;
    this.#seen = place.version;
    this.position.revision = revision;
    this.#isAtEnd = isEnded(task.status.state) && !(this.options.waitForLaunch === true && isOfBefore);
    this.#say(change);
  }

  /** Whether the version is new, and nothing before it is: no other transition, no log entry, no other run; and nothing of it is a record of its own. */
  #isNext({ status, record }: Task, revision: bigint): boolean {
    const { position, options } = this;
    if (position.isBlank || revision <= position.revision || !isWatched(status.runId, options)) return false;
    if (options.includeLogs === true && this.#hasNewLogs(record)) return false;
    if (record.metadataBytes > 0 || record.resultBytes > 0) return false;
    const { previousTransitionRevision: previous } = record;
    // What has none before it may follow the deletion of another.
    return previous <= position.revision && (previous > 0n || !record.isTransition);
  }

  #hasNewLogs({ generation, logLastSeq }: Task["record"]): boolean {
    return generation !== this.position.generation || logLastSeq > this.position.logSeq;
  }

  /** A transition ends the pause: it wakes the watch, which looks anew. */
  #pause(pauseMs: number): void {
    this.#cancelPause ??= this.parts.core.clock.after(pauseMs, () => {
      this.#cancelPause = undefined;
      this.#goOn();
    });
  }

  #startLook(place: WatchedTask, isDue: boolean): void {
    this.#seen = place.version;
    this.#look = changesSince(this, { isFirst: this.#isFirst, isDue, place });
    this.#isFirst = false;
    void this.#goOnLooking();
  }

  /** Never rejects. */
  async #goOnLooking(): Promise<void> {
    const look = this.#look as AsyncGenerator<TaskChange, boolean>;
    this.#isLooking = true;
    try {
      const { done, value } = await look.next();
      if (this.#isOver) return;
      this.#isLooking = false;
      if (done !== true) return this.#say(value);
      this.#look = undefined;
      this.#isAtEnd = value;
      this.#goOn();
    } catch (error) {
      this.#fail(error);
    }
  }

  #say(change: TaskChange): void {
    const { clock, hub } = this.parts.core;
    this.#spokenMs = clock.mono();
    if (change.status !== undefined || change.logs.length > 0) this.#sentMs = this.#spokenMs;
    this.#cancelPause?.();
    this.#cancelPause = undefined;
    hub.silent.remove(this);
    const asked = this.#asked;
    this.#asked = undefined;
    asked?.resolve({ done: false, value: change });
  }

  #fail(error: unknown): void {
    this.#end()?.reject(error);
  }

  /** Lets go of everything. Returns who waits for a message still. */
  #end(): Asking<TaskChange> | undefined {
    const { hub } = this.parts.core;
    const asked = this.#asked;
    this.#isOver = true;
    this.#asked = undefined;
    this.#cancelPause?.();
    this.#offSignal?.();
    hub.silent.remove(this);
    if (this.#place !== undefined) hub.leave(this.#place, this);
    // It may wait for something that never comes; nobody waits for it.
    this.#look?.return(true).catch(() => {});
    return asked;
  }
}
