/** Clients that watch, over every failure. */
import type { LogEntry, TaskState } from "#gen/core/v1/core_pb.js";
import { sleep } from "../../src/clock.ts";
import type { TaskChange } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { taskKey } from "../../src/store/keys.ts";
import { StoreError } from "../../src/store/store.ts";
import { controllerName } from "./faults-process.ts";
import type { World } from "./faults-world.ts";

/** A client that watches a task from before its launch to its end, and goes on where it was when it is cut off. */
export class Follow {
  readonly taskId: string;
  readonly changes: TaskChange[] = [];
  readonly logs: LogEntry[] = [];
  readonly ended: Promise<void>;
  cuts = 0;
  readonly #world: World;

  constructor(world: World, taskId: string) {
    this.#world = world;
    this.taskId = taskId;
    this.ended = this.#follow();
  }

  async #follow(): Promise<void> {
    const world = this.#world;
    let sinceRevision = 0n;
    for (;;) {
      try {
        const options = { sinceRevision, includeLogs: true, waitForLaunch: sinceRevision === 0n };
        const { died } = world;
        const changes = world.controller.watchTask(this.taskId, options)[Symbol.asyncIterator]();
        for (;;) {
          const next = await Promise.race([changes.next(), died]);
          if (next === undefined) break;
          if (next.done) return;
          const change = next.value;
          if (change.revision < sinceRevision)
            world.broken.push(`revision ${change.revision} came after ${sinceRevision}`);
          sinceRevision = change.revision;
          this.logs.push(...change.logs);
          if (change.status === undefined) continue;
          this.changes.push(change);
          world.seen(this.taskId, change.status, change.revision);
        }
        this.cuts += 1;
        await sleep(world.clock, 200);
      } catch (error) {
        if (!(error instanceof ControllerError) || error.code !== "UNAVAILABLE") throw error;
        this.cuts += 1;
        await sleep(world.clock, 200);
      }
    }
  }
}

/** A client that watches all tasks, and goes on where it was whenever it is cut off. */
interface FollowAll {
  readonly over: Promise<void>;
  /** Ends when it was told of everything up to this revision. */
  leaveAfter(revision: bigint): Promise<void>;
}

interface Watching<T> {
  open(signal: AbortSignal): AsyncIterable<T>;
  take(value: T): void;
  /** Up to where it was told of everything. */
  position(): bigint;
}

function followAll<T>(world: World, watching: Watching<T>): FollowAll {
  const leaving = new AbortController();
  const over = followUntil(world, watching, leaving.signal);
  return {
    over,
    async leaveAfter(revision) {
      while (watching.position() < revision) await sleep(world.clock, 100);
      leaving.abort();
      await over;
    },
  };
}

async function followUntil<T>(world: World, { open, take }: Watching<T>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { died } = world;
    try {
      const values = open(signal)[Symbol.asyncIterator]();
      for (let next = await Promise.race([values.next(), died]); next && !next.done; ) {
        take(next.value);
        next = await Promise.race([values.next(), died]);
      }
    } catch (error) {
      const isKnown = error instanceof StoreError || error instanceof ControllerError;
      if (!isKnown || error.code !== "UNAVAILABLE") throw error;
    }
    if (!signal.aborted) await sleep(world.clock, 200);
  }
}

export interface StoreFollow extends FollowAll {
  readonly seen: ReadonlyArray<{ readonly key: string; readonly revision: bigint }>;
}

/** Through the store itself. */
export function followStore(world: World): StoreFollow {
  const seen: Array<{ key: string; revision: bigint }> = [];
  const position = (): bigint => seen.at(-1)?.revision ?? 0n;
  const followed = followAll(world, {
    open: (signal) => world.store.watch({ prefix: taskKey(controllerName, ""), after: position(), signal }),
    take: (events) => void seen.push(...events.map(({ key, revision }) => ({ key, revision }))),
    position,
  });
  return { seen, ...followed };
}

export interface ListFollow extends FollowAll {
  /** The newest state of each task. */
  readonly states: ReadonlyMap<string, TaskState>;
}

/** Through the controller. */
export function followList(world: World): ListFollow {
  const states = new Map<string, TaskState>();
  let position = 0n;
  const followed = followAll(world, {
    open: (signal) => world.controller.watchTasks({ sinceRevision: position, signal }),
    take({ taskId, revision, status, bookmark }) {
      if (revision < position) world.broken.push(`the list went from ${position} back to ${revision}`);
      position = revision;
      if (bookmark || status === undefined) return;
      states.set(taskId, status.state);
      world.seen(taskId, status, revision);
    },
    position: () => position,
  });
  return { states, ...followed };
}
