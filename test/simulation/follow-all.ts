/**
 * A client that wants to know of all tasks: it lists them and watches from there, or has the watch begin with them. What it was shown is
 * every change of every task, once, in order; where it begins, the tasks that there are.
 */
import type { Controller, TasksChange } from "../../src/controller/controller.ts";
import type { ControllerError } from "../../src/controller/error.ts";
import type { ClientParts } from "./client.ts";
import type { Process } from "./server.ts";
import type { SimNode } from "./sim.ts";
import { Subscription } from "./subscription.ts";

/** What it saw since it began with the tasks that there were. */
interface Stretch {
  /** As of which revision these are; undefined while they come. */
  from: bigint | undefined;
  readonly there: Map<string, bigint>;
  readonly changes: bigint[];
}

const newStretch = (): Stretch => ({ from: undefined, there: new Map(), changes: [] });

export class FollowAll {
  readonly #parts: ClientParts;
  readonly #subscription: Subscription<TasksChange>;
  readonly #stretches: Stretch[] = [];
  readonly #lists: boolean;
  /** Everything up to here was shown. */
  #revision = 0n;

  /** `lists`: what there is comes from a list, and not from the watch. */
  constructor(parts: ClientParts, node: SimNode, { lists, slowMs }: { lists: boolean; slowMs: number }) {
    this.#parts = parts;
    this.#lists = lists;
    this.#subscription = new Subscription<TasksChange>(parts, node, {
      // What was begun and broke off is begun anew.
      begin: () => {
        if (this.#revision === 0n) this.#stretches.push(newStretch());
      },
      open: (process, signal) => this.#open(process, signal),
      take: (change) => this.#take(change),
      end: (error) => this.#end(error),
      isOver: () => false,
      slowMs,
    });
  }

  get resumed(): number {
    return this.#subscription.resumed;
  }

  /** There are changes that it was not shown. */
  get isBehind(): boolean {
    return this.#stretch.from === undefined || this.#revision < this.#parts.ledger.changes.last;
  }

  leave(): void {
    this.#subscription.leave();
  }

  /** What was wrong with what it saw, now that everything is over. */
  complaints(): string[] {
    const { ledger } = this.#parts;
    return this.#stretches.flatMap(({ from, there, changes }) => {
      if (from === undefined) return [];
      const upTo = changes.at(-1) ?? from;
      const due = ledger.changes.between(from, upTo);
      const seen = changes.filter((revision) => !ledger.changes.isOfRotten(revision));
      const complaints: string[] = [];
      if (seen.join() !== due.join())
        complaints.push(`a watch of all from ${from} on showed the changes ${seen.join()}, not ${due.join()}`);
      const wanted = ledger.changes.tasksAt(from);
      // A list may show what has changed since, and either lacks what was deleted; that comes as a change, too.
      const isDue = (taskId: string): boolean =>
        this.#lists ? !ledger.changes.isChangedAfter(taskId, from) : !ledger.changes.isDeletedAfter(taskId, from);
      const lacks = [...wanted].filter(([taskId, at]) => there.get(taskId) !== at && isDue(taskId));
      const more = [...there].filter(([taskId, at]) => !ledger.isRotten(taskId) && wanted.get(taskId) !== at);
      if (lacks.length + more.length > 0)
        complaints.push(`a watch of all began at ${from} with ${[...there].join()}, not ${[...wanted].join()}`);
      return complaints;
    });
  }

  get #stretch(): Stretch {
    return this.#stretches.at(-1) as Stretch;
  }

  async *#open(process: Process, signal: AbortSignal): AsyncIterable<TasksChange> {
    process.watching += 1;
    try {
      yield* this.#watch(process.controller, signal);
    } finally {
      process.watching -= 1;
      if (process.store.watches > process.watching)
        this.#parts.ledger.broken("a watch of all is over, and has left one of the store");
    }
  }

  async *#watch(controller: Controller, signal: AbortSignal): AsyncIterable<TasksChange> {
    if (this.#revision > 0n || !this.#lists)
      return yield* controller.watchTasks({ sinceRevision: this.#revision, signal });
    // What changes while it is listed comes once more, as a change.
    const { tasks, revision } = await controller.queryTasks({ pageSize: 1_000 });
    const named = { controller: "", deleted: false, left: false };
    for (const { taskId, status, revision: at } of tasks)
      if (at <= revision) yield { ...named, taskId, status, revision: at, bookmark: false };
    yield { ...named, taskId: "", status: undefined, revision, bookmark: true };
    if (revision > 0n) yield* controller.watchTasks({ sinceRevision: revision, signal });
  }

  #take({ taskId, revision, status, bookmark, deleted }: TasksChange): void {
    const { ledger } = this.#parts;
    const stretch = this.#stretch;
    if (status !== undefined) ledger.shown(taskId, status, revision);
    if (bookmark) {
      stretch.from ??= revision;
      if (revision < this.#revision) ledger.broken(`a watch of all went back to ${revision}`);
      this.#revision = revision;
    } else if (stretch.from === undefined) {
      if (stretch.there.has(taskId)) ledger.broken(`a watch of all began with ${taskId} twice`);
      stretch.there.set(taskId, revision);
    } else {
      if (revision <= this.#revision)
        ledger.broken(`a watch of all showed ${taskId} at ${revision} after ${this.#revision}`);
      if (deleted !== (status === undefined)) ledger.broken(`a watch of all showed neither ${taskId} nor its deletion`);
      this.#revision = revision;
      stretch.changes.push(revision);
    }
  }

  /** Never over: it is cut off, or begins anew where the history is gone. */
  #end(error: ControllerError | undefined): boolean {
    const { ledger } = this.#parts;
    const isGone = error?.code === "OUT_OF_RANGE" && error.details.reason === "COMPACTED";
    const isDamaged = error?.code === "DATA_LOSS" && ledger.rotten.length > 0;
    if (error !== undefined && error.code !== "UNAVAILABLE" && !isGone && !isDamaged)
      ledger.broken(`a watch of all ended with ${String(error)}`);
    if (isGone || isDamaged) this.#revision = 0n;
    return false;
  }
}
