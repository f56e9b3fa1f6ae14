/** Readers of WatchTask, for tests. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { TaskChange, TasksChange } from "../../src/controller/controller.ts";
import { stateName } from "../../src/task/state.ts";

/** Reads a watch as fast as it goes, and keeps what came. */
export class Watching {
  readonly changes: TaskChange[] = [];
  /** Settles when the watch has ended; never rejects. */
  readonly over: Promise<void>;
  error: unknown;
  isOver = false;
  readonly #iterator: AsyncIterator<TaskChange>;

  constructor(watch: AsyncIterable<TaskChange>) {
    this.#iterator = watch[Symbol.asyncIterator]();
    this.over = this.#read();
  }

  async #read(): Promise<void> {
    try {
      for (let next = await this.#iterator.next(); !next.done; next = await this.#iterator.next()) {
        this.changes.push(next.value);
      }
    } catch (error) {
      this.error = error;
    }
    this.isOver = true;
  }

  /** What came, a line each. */
  get lines(): string[] {
    return this.changes.map(lineOf);
  }

  /** The seqs of the log entries that came. */
  get seqs(): number[] {
    return seqsOf(this.changes);
  }

  get lastRevision(): bigint {
    return this.changes.at(-1)?.revision ?? 0n;
  }

  /** What came since the last call, a line each. */
  take(): string[] {
    return this.changes.splice(0).map(lineOf);
  }
}

/** A change on one line: "Running 2/5 +1,2", or "bookmark". */
export function lineOf({ status, logs }: TaskChange): string {
  const state = status === undefined ? (logs.length > 0 ? "entries" : "bookmark") : stateName(status.state);
  const progress = status?.progress === undefined ? "" : ` ${status.progress.current}/${status.progress.total}`;
  return state + progress + (logs.length > 0 ? ` +${logs.map(({ seq }) => seq).join()}` : "");
}

export function seqsOf(changes: readonly TaskChange[]): number[] {
  return changes.flatMap(({ logs }) => logs.map(({ seq }) => Number(seq)));
}

/** Takes messages one by one, so that what is not taken is not asked for. */
export class Puller {
  readonly changes: TaskChange[] = [];
  readonly #iterator: AsyncIterator<TaskChange>;

  constructor(watch: AsyncIterable<TaskChange>) {
    this.#iterator = watch[Symbol.asyncIterator]();
  }

  /** The next message on a line; undefined at the end. */
  async next(): Promise<string | undefined> {
    const { done, value } = await this.#iterator.next();
    if (done) return undefined;
    this.changes.push(value);
    return lineOf(value);
  }

  /** All messages up to the end. */
  async rest(): Promise<string[]> {
    const lines: string[] = [];
    for (let line = await this.next(); line !== undefined; line = await this.next()) lines.push(line);
    return lines;
  }

  async leave(): Promise<void> {
    await this.#iterator.return?.();
  }
}

/** Until something holds, as long as it may take the event loop to get there. */
export async function turnsUntil(holds: () => boolean, maxTurns = 100_000): Promise<void> {
  for (let turns = 0; !holds(); turns += 1) {
    if (turns > maxTurns) throw new Error("it never came to hold");
    await nextTurn();
  }
}

/** Reads a watch of many tasks as fast as it goes, and keeps what came. */
export class TasksWatching {
  readonly changes: TasksChange[] = [];
  /** Settles when the watch has ended; never rejects. */
  readonly over: Promise<void>;
  error: unknown;
  isOver = false;

  constructor(watch: AsyncIterable<TasksChange>) {
    this.over = this.#read(watch);
  }

  async #read(watch: AsyncIterable<TasksChange>): Promise<void> {
    try {
      for await (const change of watch) this.changes.push(change);
    } catch (error) {
      this.error = error;
    }
    this.isOver = true;
  }

  get lastRevision(): bigint {
    return this.changes.at(-1)?.revision ?? 0n;
  }

  /** What came since the last call, a line each: "a Running 2/5", "a deleted", "a Completed left", "bookmark". */
  take(): string[] {
    return this.changes.splice(0).map(tasksLineOf);
  }
}

function tasksLineOf({ taskId, status, deleted, left, bookmark }: TasksChange): string {
  if (bookmark) return "bookmark";
  if (deleted) return `${taskId} deleted`;
  const progress = status?.progress === undefined ? "" : ` ${status.progress.current}/${status.progress.total}`;
  return `${taskId} ${stateName(status?.state ?? 0)}${progress}${left ? " left" : ""}`;
}
