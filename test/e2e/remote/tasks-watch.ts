/**
 * All tasks of a controller, as somebody outside sees them change by WatchTasks, over restarts of the server; complains of what must
 * not happen, and measures how long tasks are without a runner.
 *
 * 1. A run has one history: transitions are only added, each state follows from the one before, and every Pending is one more attempt.
 * 2. Attempts, progress and the count of refused writes never go back. After the end nothing changes but that count.
 * 3. A task waits from its launch, from the transition that takes it from its runner, or from the moment at which its runner was
 *    silenced, whatever comes first, until it is Running with a runner that is not.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { timestampMs } from "../../../src/task/task.ts";
import { isActive, isEnded, StateRunning, stateName } from "../../../src/task/state.ts";
import type { ServedProcess } from "../../support/served-process.ts";

/** Pending, Running, Completed: P, R, C. */
const legalHistory = /^P(R?P)*(RC?)?$/;

export class TasksWatch implements AsyncDisposable {
  readonly statuses = new Map<string, TaskStatus>();
  readonly problems: string[] = [];
  /** Runners that have brought a task on since this was cleared. */
  readonly workers = new Set<string>();
  /** Streams that went on where one broke off. */
  resumes = 0;
  /** How long a task was without a runner, at most; and which, with its transitions. */
  longestWait = { ms: 0, of: "none" };
  /** How often a task got one attempt more. */
  moves = 0;
  readonly #waitingSince = new Map<string, number>();
  readonly #silent = new Set<string>();
  readonly #stopping = new AbortController();
  readonly #over: Promise<void>;
  #position = 0n;

  constructor(server: ServedProcess, controller: string) {
    this.#over = this.#follow(server, controller);
  }

  /** The tasks that have not ended, of this runner only where it is given. */
  active(runner?: string): string[] {
    const all = [...this.statuses].filter(([, status]) => isActive(status.state));
    return all.filter(([, status]) => runner === undefined || status.runner === runner).map(([taskId]) => taskId);
  }

  hasEnded(taskId: string): boolean {
    return isEnded(this.statuses.get(taskId)?.state ?? 0);
  }

  /** Refused writes that were counted until now. */
  get refusedWrites(): number {
    return [...this.statuses.values()].reduce((sum, { rejectedWrites }) => sum + Number(rejectedWrites), 0);
  }

  /** No task is without a runner. */
  get areAllServed(): boolean {
    return this.#waitingSince.size === 0;
  }

  /** From now on this runner is dead, paused or cut off: its tasks wait for another. */
  silence(runner: string): void {
    this.#silent.add(runner);
    for (const taskId of this.active(runner)) this.#wait(taskId);
  }

  /** It can be heard again, after more than 1.5 leases: nothing is its own any more. */
  heard(runner: string): void {
    const left = this.active(runner).filter((taskId) => this.#waitingSince.has(taskId));
    if (left.length > 0)
      this.problems.push(`${runner} was silent for more than 1.5 leases and still has ${left.join()}`);
    this.#silent.delete(runner);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#over;
  }

  async #follow({ client }: ServedProcess, controller: string): Promise<void> {
    const { signal } = this.#stopping;
    for (let isFirst = true; !signal.aborted; isFirst = true) {
      try {
        for await (const { taskId, revision, status } of client.watchTasks(
          { controller, sinceRevision: this.#position },
          { signal },
        )) {
          if (isFirst && this.#position > 0n) this.resumes += 1;
          isFirst = false;
          this.#position = revision;
          if (status !== undefined) this.#see(taskId, status);
        }
      } catch (error) {
        const { code, message } = ConnectError.from(error);
        // What was shown is on disk: no restart may fall behind it.
        if (code === Code.OutOfRange) return void this.problems.push(`the watch after ${this.#position}: ${message}`);
      }
      await sleep(20);
    }
  }

  #see(taskId: string, status: TaskStatus): void {
    const before = this.statuses.get(taskId);
    this.statuses.set(taskId, status);
    const problem = historyProblem(status) ?? (before && changeProblem(before, status));
    if (problem !== undefined) this.problems.push(`${taskId}: ${problem}`);
    if (before !== undefined && current(status) > current(before)) this.workers.add(status.runner);
    this.moves += status.attempt - (before?.attempt ?? 1);
    if (isEnded(status.state)) this.#waitingSince.delete(taskId);
    else if (status.state !== StateRunning || this.#silent.has(status.runner)) this.#wait(taskId);
    else this.#served(taskId, status);
  }

  #wait(taskId: string): void {
    if (!this.#waitingSince.has(taskId)) this.#waitingSince.set(taskId, performance.now());
  }

  #served(taskId: string, { transitions, runner }: TaskStatus): void {
    const sinceMs = this.#waitingSince.get(taskId);
    if (sinceMs === undefined) return;
    this.#waitingSince.delete(taskId);
    const ms = performance.now() - sinceMs;
    if (ms <= this.longestWait.ms) return;
    const seen = transitions.map((each) => `${stateName(each.state)} at ${timestampMs(each.timestamp)} ${each.reason}`);
    this.longestWait = { ms, of: `${taskId}, which ${runner} has now: ${seen.join("; ")}` };
  }
}

function current({ progress }: TaskStatus): bigint {
  return progress?.current ?? 0n;
}

function historyOf({ transitions }: TaskStatus): string {
  return transitions.map(({ state }) => stateName(state).charAt(0)).join("");
}

function historyProblem(status: TaskStatus): string | undefined {
  const history = historyOf(status);
  if (!legalHistory.test(history)) return `its history is ${history}`;
  const attempts = history.replaceAll(/[^P]/g, "").length;
  if (attempts !== status.attempt) return `is in attempt ${status.attempt}, its history is ${history}`;
  return undefined;
}

function changeProblem(before: TaskStatus, status: TaskStatus): string | undefined {
  const change = `from ${describe(before)} to ${describe(status)}`;
  if (status.runId !== before.runId) return `has another run, ${change}`;
  if (!historyOf(status).startsWith(historyOf(before))) return `its history was changed, ${change}`;
  if (current(status) < current(before)) return `its progress went back, ${change}`;
  if (status.rejectedWrites < before.rejectedWrites) return `refused writes were forgotten, ${change}`;
  const isSame = describe(before) === describe(status) && before.runner === status.runner;
  if (isEnded(before.state) && !isSame) return `changed after its end, ${change}`;
  return undefined;
}

function describe(status: TaskStatus): string {
  return `${historyOf(status)} ${current(status)} in attempt ${status.attempt}`;
}
