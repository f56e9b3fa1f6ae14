import { setImmediate as nextTurn } from "node:timers/promises";
import type { LaunchOptions } from "../../src/controller/controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Store } from "../../src/store/store.ts";
import { isEnded, StateCanceled } from "../../src/task/state.ts";
import { Harness, type HarnessOptions } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";
import { RunObserver } from "../support/run-observer.ts";
import type { Phase } from "../support/scripted-runner.ts";

const turnsMax = 5_000;

/** Something that a client asked for, and whether it was told that it is done. */
interface Call {
  readonly kind: "launch" | "cancel" | "delete";
  /** The run that was launched or canceled; undefined while that is not known. */
  runId: string | undefined;
  isAcknowledged: boolean;
}

/** One life of task "a" and whatever is beside it, over the deaths of its processes. */
export class Life {
  readonly observer = new RunObserver();
  readonly h: Harness;
  readonly calls: Call[] = [];
  readonly entries: Array<{ runId: string; msg: string }> = [];
  readonly progress = new Map<string, bigint>();
  readonly #cleans: boolean;
  #plan = new FaultPlan();
  #signal: AbortSignal | undefined;
  #hasDied = false;
  #processes = 0;

  constructor(disk: Store, options: HarnessOptions) {
    this.h = new Harness(this.observer.store(disk), options);
    this.#cleans = options.retention !== undefined;
    this.observer.observe(this.h.runner);
  }

  static async create(options: HarnessOptions): Promise<Life> {
    return new Life(await openMemoryStore(), options);
  }

  /** Opens a process that dies as planned, and does `work` in it. Whether it died. */
  async live(plan: FaultPlan, work: () => Promise<void>): Promise<boolean> {
    this.#begin(plan);
    plan.onCrash = () => {
      this.#hasDied = true;
    };
    let isOver = false;
    let failure: unknown;
    const over = (error?: unknown): void => {
      isOver = true;
      failure = error;
    };
    this.open()
      .then(work)
      .then(() => over(), over);
    for (let turns = 0; !isOver && !this.#hasDied; turns += 1) {
      if (turns > turnsMax) throw new Error("nothing happens any more");
      await nextTurn();
    }
    if (this.#hasDied) {
      this.h.handle.cut();
      this.h.runner.abandon();
      this.observer.died();
      // What was under way in it comes to nothing.
      await this.h.settle();
    } else if (failure !== undefined) throw failure;
    // Whoever looks at what has become of it must not be its death.
    plan.clear();
    return this.#hasDied;
  }

  /** Opens a controller that is closed as its `at`-th operation begins, and does `work` with it until then. */
  async liveUntilClosed(at: number, work: () => Promise<void>): Promise<void> {
    const plan = new FaultPlan();
    const stop = new AbortController();
    this.#begin(plan, stop.signal);
    plan.onOperation = (nth) => {
      if (nth !== at) return;
      this.#hasDied = true;
      stop.abort();
    };
    const opened = this.open().then(
      () => true,
      () => false,
    );
    // Its calls are refused from then on, and its script goes on no more.
    void opened.then((isOpen) => (isOpen ? work() : undefined)).catch(() => {});
    let isClosed = false;
    for (let turns = 0; !isClosed; turns += 1) {
      if (turns > turnsMax) throw new Error("nothing happens any more");
      await nextTurn();
      if (!this.#hasDied) continue;
      for (const phase of this.h.runner.phases) if (!phase.isSettled && phase.signal.aborted) phase.stop();
      void opened.then(async (isOpen) => {
        if (isOpen) await this.h.controller.close();
        isClosed = true;
      });
    }
    this.h.runner.abandon();
    this.observer.died();
  }

  /** Of a process that is dead none is opened. */
  async open(): Promise<void> {
    await this.#alive(Promise.resolve());
    await this.h.open({ wrap: (store) => new FaultStore(store, this.#plan), signal: this.#signal });
  }

  #begin(plan: FaultPlan, signal?: AbortSignal): void {
    this.#plan = plan;
    this.#signal = signal;
    this.#hasDied = false;
    this.#processes += 1;
  }

  async close(): Promise<void> {
    const closing = this.h.controller.close();
    for (const phase of this.h.runner.phases) if (!phase.isSettled && phase.signal.aborted) phase.stop();
    await closing;
  }

  async launch(options: LaunchOptions = {}): Promise<void> {
    const call = this.#call("launch");
    call.runId = (await this.h.launch("a", options)).runId;
    call.isAcknowledged = true;
  }

  async cancel(): Promise<void> {
    const call = this.#call("cancel");
    call.runId = (await this.h.controller.cancelTask("a", { reason: "why" })).status.runId;
    call.isAcknowledged = true;
  }

  async delete(): Promise<void> {
    const call = this.#call("delete");
    await this.h.controller.deleteTask("a");
    call.isAcknowledged = true;
  }

  /** The run that the runner has; none comes in a process that is dead. */
  async phase(taskId = "a"): Promise<Phase> {
    for (let turns = 0; turns < 200; turns += 1) {
      await this.#alive(nextTurn());
      const held = this.h.runner.held(taskId);
      if (held !== undefined) return held;
    }
    return this.h.runner.phase(taskId);
  }

  /** Progress and log entries of the run that the runner has. */
  async work(): Promise<Phase> {
    const phase = await this.phase();
    const { runId } = phase.context;
    const log = async (msg: string): Promise<void> => {
      await phase.task.addLogEntry("info", msg);
      this.entries.push({ runId, msg });
    };
    const progress = async (current: number): Promise<void> => {
      await phase.task.setProgress({ current });
      this.progress.set(runId, BigInt(current));
    };
    await progress(1);
    await log(`${runId} one`);
    await Promise.all([progress(2), log(`${runId} two`), log(`${runId} three`)]);
    return phase;
  }

  settle(): Promise<void> {
    return this.#alive(this.h.settle());
  }

  /** What the script of a process waits for: in one that has died it waits for ever. */
  async #alive(work: Promise<void>): Promise<void> {
    const process = this.#processes;
    await work;
    if (this.#hasDied || process !== this.#processes) await new Promise(() => {});
  }

  /** Lets every run end that there is, also those that come after. */
  async finish(): Promise<void> {
    for (;;) {
      await this.settle();
      const held = this.h.runner.phases.filter((phase) => !phase.isSettled && !phase.isAbandoned);
      if (held.length === 0) return;
      for (const phase of held) phase.return("at the end");
    }
  }

  /** What is not as it must be. */
  async complaints(): Promise<string[]> {
    await this.h.check();
    const complaints = this.observer.complaints();
    const task = this.observer.task("a");
    const status = task && (await this.h.controller.taskStatus("a"));
    if (status !== undefined && !isEnded(status.state)) complaints.push(`the task is left in state ${status.state}`);
    complaints.push(...this.#unkeptCalls());
    for (const [runId, current] of this.progress) {
      const last = this.observer.versions("a").findLast((version) => version?.status.runId === runId);
      const is = last?.status.progress?.current ?? 0n;
      if (is < current) complaints.push(`progress ${current} of ${runId} was acknowledged, and ended at ${is}`);
    }
    for (const { runId, msg } of this.entries) {
      const times = status?.logs.filter((entry) => entry.msg === msg).length;
      if (status?.runId === runId && times !== 1) complaints.push(`the entry "${msg}" is there ${times} times`);
    }
    return complaints;
  }

  /** The last call that was acknowledged has had its effect, or the one that was under way after it. */
  #unkeptCalls(): string[] {
    const last = this.calls.findLastIndex((call) => call.isAcknowledged);
    const acknowledged = this.calls[last];
    if (acknowledged === undefined) return [];
    const after = this.calls.slice(last + 1);
    const isKept = this.#isDone(acknowledged) || after.some((call) => this.#isDone(call));
    const task = this.observer.task("a");
    const is = task === undefined ? "not there" : `in state ${task.status.state} of ${task.status.runId}`;
    return isKept ? [] : [`a ${acknowledged.kind} of ${acknowledged.runId} was acknowledged, and the task is ${is}`];
  }

  #isDone({ kind, runId }: Call): boolean {
    const versions = this.observer.versions("a");
    // Where ended tasks are cleaned, what was there last tells.
    const status = (this.#cleans ? versions.findLast((version) => version !== undefined) : versions.at(-1))?.status;
    if (kind === "delete") return versions.at(-1) === undefined;
    if (kind === "cancel") return status?.state === StateCanceled && (runId ?? status.runId) === status.runId;
    const known = this.calls.map((call) => call.runId);
    return status !== undefined && (runId === undefined ? !known.includes(status.runId) : status.runId === runId);
  }

  #call(kind: Call["kind"]): Call {
    const call: Call = { kind, runId: undefined, isAcknowledged: false };
    this.calls.push(call);
    return call;
  }
}
