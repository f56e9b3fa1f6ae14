/**
 * What is on disk for good, written down as it gets there, and held against all that anybody is told or begins:
 *
 * 1. Every version of a task follows from the one before by a legal transition; a run that has ended stays as it is.
 * 2. What a client is shown is on disk, as it was shown.
 * 3. A phase begins for the current run and attempt only, in its state, once, under a fence above all before, and not after a cancel. Two runs of
 *    a task are never at work at one time, nor is one that has ended. A remote runner may be late, as long as it cannot write.
 * 4. A task whose record was damaged is never said not to be there; else nothing is asked of it any more.
 * 5. What a runner was told is written is on disk, and on disk once.
 * 6. A lease is over only where its runner was not heard for as long; a run whose fence was taken away writes nothing more.
 */
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { decodeIntent } from "../../src/controller/intent.ts";
import type { TaskContext } from "../../src/controller/task-runner.ts";
import { decodeLogChunk, decodeTask } from "../../src/store/codec.ts";
import { leaseKey, parseTaskKey, releasedKey } from "../../src/store/keys.ts";
import type { Change, Store } from "../../src/store/store.ts";
import { isEnded, StateCompleted, StatePending, StateRunning, stateName } from "../../src/task/state.ts";
import { noted } from "../support/noted-next.ts";
import { HistoryCheck, type Version } from "../support/task-history.ts";
import { LeaseCheck } from "./lease-check.ts";
import { TaskChanges } from "./task-changes.ts";

export const controllerName = "simulated";
const lapseReason = "resumed: the lease of its runner is over";

export class Ledger {
  /** Time has jumped over the 24 h for which request ids are remembered, and over what tasks are kept for. */
  hasForgotten = false;
  /** Broken promises. */
  readonly problems: string[] = [];
  readonly #histories = new Map<string, Array<Version | undefined>>();
  readonly #checks = new Map<string, HistoryCheck>();
  readonly #byRevision = new Map<string, Version>();
  readonly #entries = new Map<string, bigint>();
  /** Those of the entries that say what is left to do. */
  readonly #waiting = new Set<string>();
  readonly #fences = new Map<string, bigint>();
  readonly #begun = new Set<string>();
  readonly #logs = new Set<string>();
  /** Which run a launch has made, by its number. */
  readonly #runs = new Map<number, string>();
  /** The launches that were to take place once a run had stopped. */
  readonly #intended = new Set<number>();
  /** The revision of the version that was damaged. */
  readonly #rotten = new Map<string, bigint>();
  /** The runs of whose ends the runner was told. */
  readonly #told = new Set<string>();
  readonly changes = new TaskChanges((taskId) => this.isRotten(taskId));
  readonly leases = new LeaseCheck();
  /** The attempts whose fences were taken away. */
  readonly #void = new Set<string>();
  /** Of each task whose runner is at work: which run, by the process that has it. */
  readonly #atWork = new Map<string, { runId: string; process: unknown }>();

  /** The store whose commits are written down. */
  over(store: Store): Store {
    return {
      kind: store.kind,
      durability: store.durability,
      revision: () => store.revision(),
      firstRevision: () => store.firstRevision(),
      get: (key, options) => store.get(key, options),
      scan: (options) => store.scan(options),
      watch: (options) => store.watch(options),
      reopen: () => store.reopen(),
      close: () => store.close(),
      commit: async (changes, conditions, next) => {
        const following = next && noted(next);
        const revision = await store.commit(changes, conditions, following?.next);
        const second = following?.made() ?? [];
        for (const change of changes) this.#see(change, revision);
        for (const change of second) this.#see(change, revision + 1n);
        for (const change of [...changes, ...second]) this.#seeLog(change);
        return revision;
      },
    };
  }

  get taskIds(): string[] {
    return [...this.#histories.keys()];
  }

  /** All versions of a task so far; undefined is a deletion. */
  versions(taskId: string): ReadonlyArray<Version | undefined> {
    return this.#histories.get(taskId) ?? [];
  }

  task(taskId: string): Version | undefined {
    return this.versions(taskId).at(-1);
  }

  /** The task's run, if it has a lease, and what takes that away from it, as a host elsewhere may. */
  voiding(taskId: string): Change[] | undefined {
    const { runId = "", attempt = 0 } = this.task(taskId)?.status ?? {};
    const key = leaseKey(controllerName, taskId, runId, attempt);
    if (!this.#entries.has(key)) return undefined;
    this.#void.add(`${runId}/${attempt}`);
    const released = releasedKey(controllerName, taskId, runId, attempt);
    return [
      { type: "unindex", key },
      { type: "index", key: released, value: new Uint8Array(0) },
    ];
  }

  /** What became of each task, for who looks for a cause. */
  story(): string[] {
    return [...this.#histories].map(([taskId, versions]) => {
      const lines = versions.map((version) => {
        if (version === undefined) return "deleted";
        const { status, record, revision } = version;
        const what = record.isTransition ? stateName(status.state) : "change";
        return `${revision} ${what} of ${status.runId}/${status.attempt}${status.cancel === undefined ? "" : ", canceled"}`;
      });
      return `${taskId}: ${lines.join("; ")}`;
    });
  }

  /** The launches that wait for a run to stop, and the ends that are to be told. */
  waiting(): string[] {
    return [...this.#waiting].filter((key) => {
      const [, , , taskId = ""] = key.split("/");
      return !this.isRotten(taskId);
    });
  }

  /** Whether the launch of this number has made a run. */
  isLaunched(op: number): boolean {
    return this.#runs.has(op);
  }

  /** Whether it has made a run, or was stored to make one. */
  isStored(op: number): boolean {
    return this.isLaunched(op) || this.#intended.has(op);
  }

  broken(problem: string): void {
    this.problems.push(problem);
  }

  /** The tasks whose records were damaged, though it may be that they were deleted since. */
  get rotten(): string[] {
    return [...this.#rotten.keys()];
  }

  isRotten(taskId: string): boolean {
    return this.#rotten.has(taskId);
  }

  /** The version of the task that has this revision is damaged from now on. */
  rots(taskId: string, revision: bigint): void {
    this.#rotten.set(taskId, revision);
  }

  /** A client was told that there is no such task. */
  saidAbsent(taskId: string): void {
    const revision = this.#rotten.get(taskId);
    if (revision !== undefined && this.task(taskId)?.revision === revision)
      this.broken(`${taskId} is damaged, and was said not to be there`);
  }

  /** A client was shown the task so. */
  shown(taskId: string, status: TaskStatus, revision: bigint): void {
    const version = this.#byRevision.get(`${taskId}@${revision}`);
    const { state, runId } = status;
    if (version?.status.state === state && version.status.runId === runId) return;
    this.broken(`${stateName(state)} of ${taskId} was shown at revision ${revision}, where it is not on disk`);
  }

  /** A phase begins in a process of the server's own. */
  begins(taskId: string, { runId, attempt, fence }: TaskContext, phase: "Pending" | "Running", process: unknown): void {
    const what = `${phase} of ${taskId}, ${runId} attempt ${attempt}`;
    const status = this.task(taskId)?.status;
    const state = phase === "Pending" ? StatePending : StateRunning;
    if (status?.runId !== runId || status.attempt !== attempt || status.state !== state)
      this.broken(
        `${what} began while ${status && `${stateName(status.state)} of ${status.runId} ${status.attempt}`} was on disk`,
      );
    else if (status.cancel !== undefined) this.broken(`${what} began after it was canceled`);
    const other = this.#atWork.get(taskId);
    if (other !== undefined && other.process === process) this.broken(`${what} began beside ${other.runId}`);
    this.#atWork.set(taskId, { runId, process });
    this.#checkFence(taskId, { runId, attempt, fence }, phase);
  }

  /** A remote runner is offered a phase; once it gets there that may have changed. */
  offered(taskId: string, fence: bigint, phase: RunPhase): void {
    const version = this.task(taskId);
    if (version === undefined) return this.broken(`${taskId} was offered after its deletion`);
    const { state, runId, attempt } = version.status;
    const what = `${RunPhase[phase]} of ${taskId} was offered under fence ${fence}`;
    if (phase === RunPhase.COMPLETED) {
      if (!isEnded(state)) this.broken(`${what} while it was ${stateName(state)}`);
      return;
    }
    const due = phase === RunPhase.PENDING ? StatePending : StateRunning;
    if (state !== due) this.broken(`${what} while it was ${stateName(state)}`);
    const lease = this.#entries.get(leaseKey(controllerName, taskId, runId, attempt));
    if (lease !== fence) this.broken(`${what}, and its lease has ${lease}`);
  }

  /** It is over in this process, as far as the runner is concerned. */
  ends(taskId: string, { runId }: TaskContext, process: unknown): void {
    const atWork = this.#atWork.get(taskId);
    if (atWork?.runId === runId && atWork.process === process) this.#atWork.delete(taskId);
  }

  /** The runner was told of an end. */
  told(taskId: string, { runId }: TaskContext, state: number): void {
    this.#told.add(runId);
    const isThere = this.versions(taskId).some((each) => each?.status.runId === runId && each.status.state === state);
    if (!isThere) this.broken(`the runner was told of ${stateName(state)} of ${runId}, which is not on disk`);
  }

  /** The ends that the runner was not told of. */
  untold(): string[] {
    const sound = [...this.#histories].filter(([taskId]) => !this.isRotten(taskId));
    const ends = sound.flatMap(([, versions]) => versions).filter((version) => isEnded(version?.status.state ?? 0));
    return ends.flatMap((version) =>
      this.#told.has(version?.status.runId ?? "") ? [] : [String(version?.status.runId)],
    );
  }

  /** The runner was told that the entry is on disk. */
  logWritten(msg: string): void {
    if (!this.#logs.has(msg)) this.broken(`the entry "${msg}" was acknowledged and is not on disk`);
  }

  /** The runner was told that the progress is on disk. */
  progressWritten(taskId: string, { runId, attempt }: TaskContext, current: number): void {
    const isThere = this.versions(taskId).some(
      (each) =>
        each?.status.runId === runId &&
        each.status.attempt === attempt &&
        Number(each.status.progress?.current ?? 0n) >= current,
    );
    if (!isThere) this.broken(`progress ${current} of ${taskId}, ${runId} was acknowledged and is not on disk`);
  }

  #checkFence(
    taskId: string,
    { runId, attempt, fence }: Pick<TaskContext, "runId" | "attempt" | "fence">,
    phase: "Pending" | "Running",
  ): void {
    const what = `${phase} of ${taskId}, ${runId} attempt ${attempt}`;
    const lease = this.#entries.get(leaseKey(controllerName, taskId, runId, attempt));
    if (lease !== fence) this.broken(`${what} began under fence ${fence}, and its lease has ${lease}`);
    const begun = `${runId}/${attempt}/${phase}`;
    if (this.#begun.has(begun)) this.broken(`${what} began twice`);
    this.#begun.add(begun);
    const before = this.#fences.get(taskId) ?? 0n;
    const isFirst = phase === "Pending" || !this.#begun.has(`${runId}/${attempt}/Pending`);
    if (isFirst ? fence <= before : fence !== before) this.broken(`${what} began under fence ${fence} after ${before}`);
    this.#fences.set(taskId, fence);
  }

  #see(change: Change, revision: bigint): void {
    this.#seeEntry(change, revision);
    const place = parseTaskKey(change.key);
    if (place === undefined || (change.type !== "put" && change.type !== "delete")) return;
    const { taskId } = place;
    const versions = this.#histories.get(taskId) ?? [];
    this.#histories.set(taskId, versions);
    const version = change.type === "delete" ? undefined : { ...decodeTask(change.value), revision };
    const before = versions.at(-1);
    if (version !== undefined || before !== undefined)
      this.changes.push({ taskId, revision, isDeletion: version === undefined });
    versions.push(version);
    const complaints = this.#checkOf(taskId).next(version);
    if (!this.isRotten(taskId)) this.problems.push(...complaints);
    if (version === undefined) return;
    this.#byRevision.set(`${taskId}@${revision}`, version);
    this.#seeRun(taskId, version);
    this.#seeLoss(taskId, before, version);
    this.#seeProgress(taskId, before, version);
  }

  #checkOf(taskId: string): HistoryCheck {
    const check = this.#checks.get(taskId) ?? new HistoryCheck(taskId);
    this.#checks.set(taskId, check);
    return check;
  }

  #seeEntry(change: Change, revision: bigint): void {
    const { key } = change;
    if (change.type === "unindex") {
      this.#entries.delete(key);
      this.#waiting.delete(key);
    }
    if (change.type !== "index") return;
    this.#entries.set(key, revision);
    if (key.startsWith("/intents/")) {
      const { metadata = "" } = decodeIntent({ key, value: change.value, revision, previous: 0n }) ?? {};
      this.#intended.add((JSON.parse(metadata) as { op: number }).op);
    }
    if (key.startsWith("/leases/")) this.leases.see(key, change.value);
    if (key.startsWith("/intents/") || key.startsWith("/deliveries/")) this.#waiting.add(key);
  }

  /** A launch makes one run, however often it is repeated. */
  #seeRun(taskId: string, { status: { metadata, runId } }: Version): void {
    const { op } = JSON.parse(metadata) as { op: number };
    const other = this.#runs.get(op);
    if (other !== undefined && other !== runId && !this.hasForgotten)
      this.broken(`launch ${op} of ${taskId} made ${other}, and ${runId}`);
    this.#runs.set(op, runId);
  }

  #seeLoss(taskId: string, before: Version | undefined, { status, record }: Version): void {
    const { runId, attempt, state, transitions } = status;
    const isWork = !record.isTransition || state === StateRunning || state === StateCompleted;
    // That a write was refused is written by the server.
    const isRefusal = status.rejectedWrites !== before?.status.rejectedWrites;
    if (this.#void.has(`${runId}/${attempt}`) && isWork && !isRefusal && status.cancel === before?.status.cancel)
      this.broken(`${runId} attempt ${attempt} of ${taskId} was written after its fence was taken away`);
    if (!record.isTransition || before === undefined || transitions.at(-1)?.reason !== lapseReason) return;
    const key = leaseKey(controllerName, taskId, before.status.runId, before.status.attempt);
    if (!this.leases.mayBeOver(key)) this.broken(`${taskId} was taken from a runner that was heard`);
  }

  /** Only the runner of the run and attempt sets its progress. */
  #seeProgress(taskId: string, before: Version | undefined, { status }: Version): void {
    const said = status.progress?.message ?? "";
    if (said === "" || said === before?.status.progress?.message) return;
    const { runId, attempt } = status;
    if (said !== stepOf({ runId, attempt }, Number(status.progress?.current)))
      this.broken(`${taskId} has the progress "${said}" in ${runId} attempt ${attempt}`);
  }

  #seeLog(change: Change): void {
    if (change.type !== "index" || !change.key.startsWith("/logs/")) return;
    const [, , , taskId = ""] = change.key.split("/");
    const status = this.task(taskId)?.status;
    for (const { msg } of decodeLogChunk(change.value)) {
      // The controller says something, too, and may say it again.
      const [, run] = stepPattern.exec(msg) ?? [];
      if (run === undefined) continue;
      if (this.#logs.has(msg)) this.broken(`the entry "${msg}" is on disk twice`);
      this.#logs.add(msg);
      if (run !== `${status?.runId} attempt ${status?.attempt}`)
        this.broken(`${taskId} has the entry "${msg}" in ${status?.runId} attempt ${status?.attempt}`);
    }
  }
}

const stepPattern = /^(\S+ attempt \d+) step \d+$/;

/** What a runner says of a step. */
export function stepOf({ runId, attempt }: Pick<TaskContext, "runId" | "attempt">, step: number): string {
  return `${runId} attempt ${attempt} step ${step}`;
}
