/**
 * Sees what gets to disk in the moment it does, and whether what the runner is given to do fits it:
 *
 * 1. A phase begins only for the current run and attempt, in its state, under the fence that its lease has on disk, and not
 *    once a cancel of the run is there.
 * 2. Each phase of an attempt begins once, and two runs of a task never at one time in a process.
 * 3. A fence is above all before it.
 * 4. The runner is told only of ends that are on disk.
 */
import { decodeTask } from "../../src/store/codec.ts";
import { leaseKey, parseTaskKey } from "../../src/store/keys.ts";
import type { Change, Store } from "../../src/store/store.ts";
import { isEnded, StatePending, StateRunning, stateName } from "../../src/task/state.ts";
import { controllerName } from "./controller-harness.ts";
import { noted } from "./noted-next.ts";
import type { Phase, ScriptedRunner } from "./scripted-runner.ts";
import { historyComplaints, type Version } from "./task-history.ts";

export class RunObserver {
  readonly problems: string[] = [];
  readonly #histories = new Map<string, Array<Version | undefined>>();
  readonly #entries = new Map<string, bigint>();
  readonly #running = new Map<string, string>();
  readonly #begun = new Set<string>();
  readonly #fences = new Map<string, bigint>();
  readonly #told = new Set<string>();

  /** A store whose every commit is seen. */
  store(disk: Store): Store {
    return {
      kind: disk.kind,
      durability: disk.durability,
      revision: () => disk.revision(),
      firstRevision: () => disk.firstRevision(),
      get: (key, options) => disk.get(key, options),
      scan: (options) => disk.scan(options),
      watch: (options) => disk.watch(options),
      reopen: () => disk.reopen(),
      close: () => disk.close(),
      commit: async (changes, conditions, next) => {
        const following = next && noted(next);
        const revision = await disk.commit(changes, conditions, following?.next);
        for (const change of changes) this.#see(change, revision);
        for (const change of following?.made() ?? []) this.#see(change, revision + 1n);
        return revision;
      },
    };
  }

  /** Looks at each phase as it begins; it is settled by the test. */
  observe(runner: ScriptedRunner): void {
    runner.scripts.pending = (phase) => this.#begin(phase, StatePending);
    runner.scripts.running = (phase) => {
      this.#begin(phase, StateRunning);
      return phase.settled;
    };
    runner.scripts.completed = (phase) => {
      const { runId } = phase.context;
      const ends = this.versions(phase.taskId).filter((version) => version?.status.runId === runId);
      if (!isEnded(phase.state ?? 0) || ends.at(-1)?.status.state !== phase.state) {
        this.problems.push(`the runner was told of ${stateName(phase.state ?? 0)} of ${runId}, which is not on disk`);
      }
      this.#told.add(runId);
    };
  }

  /** The process has died, and all its phases with it. */
  died(): void {
    this.#running.clear();
  }

  /** All versions of a task so far; undefined is a deletion. */
  versions(taskId: string): ReadonlyArray<Version | undefined> {
    return this.#histories.get(taskId) ?? [];
  }

  /** The task as it is on disk. */
  task(taskId: string): Version | undefined {
    return this.versions(taskId).at(-1);
  }

  /** How often a state was entered in all histories. */
  count(state: number): number {
    const all = [...this.#histories.values()].flat();
    return all.filter((version) => version?.record.isTransition && version.status.state === state).length;
  }

  /** Everything that was wrong, once nothing is under way any more. */
  complaints(): string[] {
    const complaints = [...this.problems];
    for (const [taskId, versions] of this.#histories) {
      complaints.push(...historyComplaints(taskId, versions));
      for (const version of versions) {
        if (version === undefined || !isEnded(version.status.state)) continue;
        const { runId } = version.status;
        if (!this.#told.has(runId)) complaints.push(`the runner was not told of the end of ${runId}`);
      }
    }
    return complaints;
  }

  #see(change: Change, revision: bigint): void {
    if (change.type === "index") this.#entries.set(change.key, revision);
    if (change.type === "unindex") this.#entries.delete(change.key);
    const place = parseTaskKey(change.key);
    if (place === undefined || (change.type !== "put" && change.type !== "delete")) return;
    const versions = this.#histories.get(place.taskId) ?? [];
    this.#histories.set(place.taskId, versions);
    versions.push(change.type === "delete" ? undefined : { ...decodeTask(change.value), revision });
  }

  #begin(phase: Phase, state: number): void {
    const { taskId, context } = phase;
    const { runId, attempt, fence } = context;
    const what = `${stateName(state)} of ${taskId}, ${runId} attempt ${attempt}, began`;
    const status = this.task(taskId)?.status;
    if (status?.runId !== runId || status.attempt !== attempt || status.state !== state) {
      const is = status && `${stateName(status.state)} of ${status.runId} attempt ${status.attempt}`;
      this.problems.push(`${what} while ${is} was on disk`);
    }
    if (status?.runId === runId && status.cancel !== undefined) this.problems.push(`${what} after it was canceled`);
    const lease = this.#entries.get(leaseKey(controllerName, taskId, runId, attempt));
    if (lease !== fence) this.problems.push(`${what} under fence ${fence}, and its lease has ${lease}`);
    const begun = `${runId}/${attempt}/${state}`;
    if (this.#begun.has(begun)) this.problems.push(`${what} twice`);
    this.#begun.add(begun);
    if (state === StatePending || !this.#begun.has(`${runId}/${attempt}/${StatePending}`)) {
      const before = this.#fences.get(taskId) ?? 0n;
      if (fence <= before) this.problems.push(`${what} under fence ${fence} after ${before}`);
      this.#fences.set(taskId, fence);
    }
    this.#oneAtATime(phase, what);
  }

  #oneAtATime(phase: Phase, what: string): void {
    const { taskId, context } = phase;
    const other = this.#running.get(taskId);
    if (other !== undefined && other !== context.runId) this.problems.push(`${what} beside ${other}`);
    if (phase.name === "pending") return;
    this.#running.set(taskId, context.runId);
    const over = (): void => {
      if (!phase.isAbandoned) this.#running.delete(taskId);
    };
    phase.settled.then(over, over);
  }
}
