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

/** A client that watches all tasks through the store, and goes on behind the last revision when it is cut off. */
export class StoreFollow {
  readonly seen: Array<{ key: string; revision: bigint }> = [];
  readonly over: Promise<void>;
  readonly #world: World;
  readonly #leaving = new AbortController();

  constructor(world: World) {
    this.#world = world;
    this.over = this.#follow();
  }

  /** Ends when it has seen the change with this revision. */
  async leaveAfter(revision: bigint): Promise<void> {
    while ((this.seen.at(-1)?.revision ?? 0n) < revision) await sleep(this.#world.clock, 100);
    this.#leaving.abort();
    await this.over;
  }

  async #follow(): Promise<void> {
    const world = this.#world;
    const { signal } = this.#leaving;
    while (!signal.aborted) {
      const { died } = world;
      const after = this.seen.at(-1)?.revision ?? 0n;
      const events = world.store.watch({ prefix: taskKey(controllerName, ""), after, signal })[Symbol.asyncIterator]();
      try {
        for (let next = await Promise.race([events.next(), died]); next && !next.done; ) {
          this.seen.push(...next.value.map(({ key, revision }) => ({ key, revision })));
          next = await Promise.race([events.next(), died]);
        }
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== "UNAVAILABLE") throw error;
      }
      if (!signal.aborted) await sleep(world.clock, 200);
    }
  }
}

/** A client that watches all tasks of the controller, and goes on where it was when it is cut off. */
export class ListFollow {
  /** The newest state of each task. */
  readonly states = new Map<string, TaskState>();
  readonly over: Promise<void>;
  #position = 0n;
  readonly #world: World;
  readonly #leaving = new AbortController();

  constructor(world: World) {
    this.#world = world;
    this.over = this.#follow();
  }

  /** Ends when it has been told of everything up to this revision. */
  async leaveAfter(revision: bigint): Promise<void> {
    while (this.#position < revision) await sleep(this.#world.clock, 100);
    this.#leaving.abort();
    await this.over;
  }

  async #follow(): Promise<void> {
    const world = this.#world;
    const { signal } = this.#leaving;
    while (!signal.aborted) {
      const { died } = world;
      try {
        const watch = world.controller.watchTasks({ sinceRevision: this.#position, signal });
        const changes = watch[Symbol.asyncIterator]();
        for (let next = await Promise.race([changes.next(), died]); next && !next.done; ) {
          const { taskId, revision, status, bookmark } = next.value;
          if (revision < this.#position) world.broken.push(`the list went from ${this.#position} back to ${revision}`);
          this.#position = revision;
          if (!bookmark && status !== undefined) {
            this.states.set(taskId, status.state);
            world.seen(taskId, status, revision);
          }
          next = await Promise.race([changes.next(), died]);
        }
      } catch (error) {
        if (!(error instanceof ControllerError) || error.code !== "UNAVAILABLE") throw error;
      }
      if (!signal.aborted) await sleep(world.clock, 200);
    }
  }
}
