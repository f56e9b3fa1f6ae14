/**
 * Gives the seats of the host to tasks, the oldest first.
 *
 * 1. A seat is taken before the commit that offers a task on it, and released when the run has let go or the commit failed.
 * 2. A launch takes a seat directly only when nobody waits.
 * 3. Of the suspects of a crash loop one is offered at a time; the others are held until it has made progress or is gone.
 */
import { encodeLease } from "../store/codec.ts";
import { leaseKey } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import { isSuspect } from "../task/apply.ts";
import { StatePending } from "../task/state.ts";
import type { Task } from "../task/task.ts";
import type { Actors } from "./actors.ts";
import { isConflict } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Release, Seat } from "./host.ts";
import type { Offer, Run } from "./run.ts";
import type { RunPhases } from "./run-phases.ts";
import { applyEvents } from "./run-writer.ts";
import type { TaskActor } from "./task-actor.ts";
import { WaitingLine, type WaitingTask } from "./waiting-line.ts";

/** Starts the run of a task whose offer is on disk. */
export type StartRun = (actor: TaskActor, offer: Offer) => void;

interface DispatcherParts {
  readonly phases: Pick<RunPhases, "skipsPending">;
  readonly start: StartRun;
}

export class Dispatcher {
  readonly #core: Core;
  readonly #actors: Actors;
  readonly #parts: DispatcherParts;
  readonly #line: WaitingLine;
  #nextNumber: bigint;
  #waiting = 0;
  #held: WaitingTask[] = [];
  #suspect: string | undefined;
  #isOpen = false;
  #isPumping = false;
  #isPumpWanted = false;

  constructor(core: Core, actors: Actors, parts: DispatcherParts) {
    this.#core = core;
    this.#actors = actors;
    this.#parts = parts;
    this.#line = new WaitingLine(core);
    core.host.onSeat(() => this.pump());
    // Places in the queue rise over restarts too, as far as the clock does; seedWaiting covers what the clock does not.
    this.#nextNumber = BigInt(Math.max(0, Math.floor(core.clock.wall()))) * 1_000n;
  }

  /** How many tasks wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /** What is known at opening: how many wait, and the last place that is taken. */
  seedWaiting(count: number, lastNumber: bigint): void {
    this.#waiting = count;
    if (lastNumber >= this.#nextNumber) this.#nextNumber = lastNumber + 1n;
  }

  /** The next place in the queue. */
  takeNumber(): bigint {
    this.#nextNumber += 1n;
    return this.#nextNumber;
  }

  /** Takes a seat for a task that is just being launched, if nobody waits. */
  tryReserve(): Seat | undefined {
    if (!this.#isOpen || this.#core.closing.aborted || !this.#line.isEmpty) return undefined;
    return this.#core.host.takeSeat();
  }

  /** Gives a seat back that a launch has reserved in vain. */
  giveBack(seat: Seat): void {
    seat.release("unused");
    this.pump();
  }

  /** The run of the task has let go of its seat. */
  release(run: Run, how: Release): void {
    if (this.#suspect === run.taskId) this.#suspect = undefined;
    // The host calls pump.
    run.releaseSeat(how);
  }

  /** The task is no suspect any more. */
  progressed(taskId: string): void {
    if (this.#suspect !== taskId) return;
    this.#suspect = undefined;
    this.pump();
  }

  /** A task that has just been stored as waiting. */
  enqueue(task: WaitingTask): void {
    this.#waiting += 1;
    this.#line.push(task);
    this.pump();
  }

  /** A task that is counted as waiting, and could not be offered when its turn came. */
  requeue(task: WaitingTask): void {
    this.#line.push(task);
  }

  /** A task that waited does so no more. */
  forget(): void {
    this.#waiting -= 1;
  }

  /** Begins to offer; before, tasks only gather. */
  open(): void {
    this.#isOpen = true;
    this.pump();
  }

  /** Offers as many as there are seats. */
  pump(): void {
    this.#isPumpWanted = true;
    if (this.#isPumping || !this.#isOpen || (this.#line.isEmpty && this.#held.length === 0)) return;
    this.#isPumping = true;
    void this.#pumpAll();
  }

  async #pumpAll(): Promise<void> {
    try {
      while (this.#isPumpWanted && !this.#core.closing.aborted) {
        this.#isPumpWanted = false;
        await this.#offerFree();
      }
    } catch (error) {
      if (!this.#core.closing.aborted)
        this.#core.faults.note("background_errors", { err: error }, "waiting tasks could not be offered");
    } finally {
      // In the same tick as the last look: a wish that came after it would be lost.
      this.#isPumping = false;
    }
  }

  async #offerFree(): Promise<void> {
    while (!this.#core.closing.aborted) {
      // The seat is taken before the wait, so that no launch takes it meanwhile.
      const seat = this.#core.host.takeSeat();
      if (seat === undefined) return;
      const taking = this.#takeOldest();
      const task = taking instanceof Promise ? await unused(seat, taking) : taking;
      if (task === undefined) return seat.release("unused");
      this.#offer(task, seat);
    }
  }

  #takeOldest(): ReturnType<WaitingLine["take"]> {
    return (this.#suspect === undefined ? this.#held.shift() : undefined) ?? this.#line.take();
  }

  #offer(waiting: WaitingTask, seat: Seat): void {
    const actor = this.#actors.acquire(waiting.taskId);
    const settled = (isOffered: boolean): void => {
      this.#actors.release(actor);
      if (!isOffered) this.giveBack(seat);
    };
    actor
      .serialize(() => this.#offerTurn(actor, waiting, seat))
      .then(settled, (error: unknown) => {
        if (!this.#core.closing.aborted) {
          const fields = { err: error, taskId: waiting.taskId };
          this.#core.faults.note("background_errors", fields, "a task could not be offered; it is left waiting");
        }
        settled(false);
      });
  }

  async #offerTurn(actor: TaskActor, waiting: WaitingTask, seat: Seat): Promise<boolean> {
    const { task } = actor.known ?? (await actor.load("until-done"));
    if (this.#core.closing.aborted || !isStillWaiting(actor, task, waiting)) return false;
    const suspect = isSuspect(task);
    if (suspect && this.#suspect !== undefined) {
      this.#held.push(waiting);
      return false;
    }
    if (suspect) this.#suspect = actor.taskId;
    let fence: bigint | undefined;
    try {
      fence = await this.#commitOffer(actor, task, { alone: suspect, seat });
    } finally {
      if (suspect && fence === undefined) this.#suspect = undefined;
    }
    if (fence === undefined) {
      this.#line.push(waiting);
      return false;
    }
    this.#waiting -= 1;
    this.#parts.start(actor, { fence, seat });
    return true;
  }

  /** Where the runner has a name the status has it too, so that the offer is a version of the task; the start is one that goes along. */
  async #commitOffer(actor: TaskActor, task: Task, terms: LeaseTerms): Promise<bigint | undefined> {
    const lease = leaseChange(this.#core.name, actor.taskId, task, terms);
    const { runner } = terms.seat;
    try {
      // What a task that was adopted was given is a version of its own.
      const starts = !actor.isAdopted && this.#parts.phases.skipsPending(actor.taskId, terms.seat);
      if (runner === "" && !starts) return await actor.writeBeside([lease], { waits: false, mode: "until-done" });
      const offered = applyEvents(this.#core, task, [starts ? { type: "start" } : { type: "offer", runner }]);
      return await actor.write(offered, { waits: false, extra: [lease], mode: "until-done" });
    } catch (error) {
      if (isConflict(error)) return undefined;
      throw error;
    }
  }
}

/** What an attempt is offered under. */
export interface LeaseTerms {
  /** It is the only suspect of a crash loop that runs. */
  readonly alone: boolean;
  readonly seat: Seat;
}

/** The entry that says that the attempt was offered. */
export function leaseChange(controller: string, taskId: string, task: Task, { alone, seat }: LeaseTerms): Change {
  const { runId, attempt } = task.status;
  const { instanceId, runner } = seat;
  const value = encodeLease({ $typeName: "stint.store.v1.Lease", runId, attempt, alone, instanceId, runner });
  return { type: "index", key: leaseKey(controller, taskId, runId, attempt), value };
}

/** What comes of it; the seat is released where that fails. */
async function unused<T>(seat: Seat, taking: Promise<T>): Promise<T> {
  try {
    return await taking;
  } catch (error) {
    seat.release("unused");
    throw error;
  }
}

function isStillWaiting(actor: TaskActor, task: Task | undefined, waiting: WaitingTask): task is Task {
  return (
    task !== undefined &&
    actor.waits &&
    actor.run === undefined &&
    task.status.state === StatePending &&
    task.record.queueNumber === waiting.queueNumber
  );
}
