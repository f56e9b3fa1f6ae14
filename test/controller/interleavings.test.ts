/**
 * What happens to a task, in any order: launches, cancels, ends of every kind, crashes and closings, against any order
 * in which the store takes and answers what is asked of it. fast-check's scheduler decides who is next.
 *
 * INTERLEAVINGS: how many (default 400).
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ControllerError } from "../../src/controller/error.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Store } from "../../src/store/store.ts";
import { isEnded, StateCanceled, StateCompleted, StateFailed } from "../../src/task/state.ts";
import { Harness, type HarnessOptions } from "../support/controller-harness.ts";
import { RunObserver } from "../support/run-observer.ts";
import { Watching } from "../support/watching.ts";

const runs = Number(process.env["INTERLEAVINGS"] ?? 400);
const stepsMax = 20_000;

/** What is done to a task. What ends a run does so to the phase that is held then. */
const actions = [
  "launch",
  "launch if ended",
  "cancel",
  "complete",
  "fail",
  "stop",
  "progress",
  "delete",
  "crash",
  "close",
  "jump",
] as const;
type Action = (typeof actions)[number];

/** All of them, several of those that the others race with; and then in any order, and any of them left out. */
const script = fc.shuffledSubarray<Action>(
  [...actions, "launch", "launch", "cancel", "complete", "stop", "progress", "crash"],
  { minLength: 3 },
);

const places = fc.record({ concurrency: fc.integer({ min: 1, max: 2 }), prepares: fc.boolean() });

/** A call of a client: when it began and was answered, in steps. */
interface Call {
  readonly kind: "launch" | "cancel" | "delete";
  readonly began: number;
  answered: number;
  runId: string | undefined;
}

class Interleaving {
  readonly scheduler: fc.Scheduler;
  readonly observer = new RunObserver();
  readonly h: Harness;
  readonly calls: Call[] = [];
  readonly problems: string[] = [];
  /** Of each process: a watch of the task. */
  readonly watches: Array<{ watching: Watching; process: { isDead: boolean } }> = [];
  steps = 0;
  #process = { isDead: false };
  /** Whether the scheduler has its say. */
  #isScheduled = false;

  constructor(disk: Store, scheduler: fc.Scheduler, options: HarnessOptions) {
    this.scheduler = scheduler;
    this.h = new Harness(this.observer.store(disk), { ...options, wrap: (store) => this.#schedule(store) });
    this.observer.observe(this.h.runner);
  }

  /** The task runs, its neighbour waits or runs, and nothing is under way. */
  async begin(): Promise<void> {
    await this.h.open();
    await this.h.launch("a");
    await this.h.launch("b");
    await this.h.runner.phase("a");
    this.#watch();
    await this.h.settle();
    this.#isScheduled = true;
  }

  /** Does one after the other, each when its turn comes; none waits for what the one before does. */
  async play(script: readonly Action[]): Promise<void> {
    for (const action of script) {
      await this.scheduler.schedule(Promise.resolve(), action);
      await this.#act(action);
    }
  }

  /** Lets `work` happen, and all that is under way with it. */
  async drive<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    for (let idle = 0; !isOver || idle < 5; ) {
      await nextTurn();
      idle = this.scheduler.count() > 0 ? 0 : idle + 1;
      if (idle === 0) await this.scheduler.waitNext(1);
      this.steps += 1;
      if (this.steps > stepsMax || idle > 1_000) throw new Error("it never came to an end");
    }
    return work;
  }

  /** Lets every run end, and closes. */
  async end(): Promise<void> {
    for (;;) {
      await this.drive(Promise.resolve());
      const held = this.h.runner.phases.filter((phase) => !phase.isSettled && !phase.isAbandoned);
      if (held.length === 0) break;
      for (const phase of held) phase.return("at the end");
    }
    await this.drive(this.h.check());
    await this.drive(this.h.controller.close());
    this.problems.push(...this.observer.complaints(), ...this.#unkept(), ...this.#unseen());
  }

  async #act(action: Action): Promise<void> {
    const { h } = this;
    const held = h.runner.held("a");
    switch (action) {
      case "launch":
        return this.#call("launch", () => h.launch("a"));
      case "launch if ended":
        return this.#call("launch", () => h.launch("a", { ifActive: "fail" }));
      case "cancel":
        return this.#call("cancel", () => h.controller.cancelTask("a"));
      case "delete":
        return this.#call("delete", () => h.controller.deleteTask("a"));
      case "complete":
        return held?.return(1);
      case "fail":
        return held?.throw(new Error("no"));
      case "stop":
        return held?.signal.aborted ? held.stop() : undefined;
      case "progress":
        void held?.task.setProgress({ current: 1 }).catch(() => {});
        return void held?.task.addLogEntry("info", "x").catch(() => {});
      case "jump":
        return h.clock.jumpWall(-1e10);
      case "crash":
        this.#process.isDead = true;
        this.observer.died();
        await h.crash();
        return this.#watch();
      case "close":
        return this.#close();
    }
  }

  async #close(): Promise<void> {
    const { h } = this;
    const closing = h.controller.close();
    for (const phase of h.runner.phases) if (!phase.isSettled && phase.signal.aborted) phase.stop();
    // A run whose offer was under way begins meanwhile, and is told to stop.
    const { pending, running } = h.runner.scripts;
    h.runner.scripts.running = (phase) => {
      if (typeof running === "function") void running(phase);
      queueMicrotask(() => phase.stop());
      return phase.settled;
    };
    await closing;
    h.runner.scripts.running = running;
    h.runner.scripts.pending = pending;
    await h.open();
    this.#watch();
  }

  #watch(): void {
    const watching = new Watching(this.h.controller.watchTask("a", { waitForLaunch: true }));
    this.watches.push({ watching, process: this.#process });
  }

  #call(kind: Call["kind"], call: () => Promise<object | void>): void {
    const made: Call = { kind, began: this.steps, answered: Number.POSITIVE_INFINITY, runId: undefined };
    this.calls.push(made);
    call().then(
      (answer) => {
        made.answered = this.steps;
        if (answer !== undefined && "runId" in answer) made.runId = String(answer.runId);
      },
      (error: unknown) => {
        const code = error instanceof ControllerError ? error.code : String(error);
        if (["NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"].includes(code) || isDraining(error)) {
          this.calls.splice(this.calls.indexOf(made), 1);
        } else this.problems.push(`a ${kind} was refused with ${code}`);
      },
    );
  }

  /** What was acknowledged, with nothing that came later or beside it, and is not so. */
  #unkept(): string[] {
    const unkept: string[] = [];
    const task = this.observer.task("a");
    if (task !== undefined && !isEnded(task.status.state))
      unkept.push(`the task is left in state ${task.status.state}`);
    for (const call of this.calls) {
      const isLast = this.calls.every((other) => other === call || other.answered < call.began);
      if (!isLast || call.answered === Number.POSITIVE_INFINITY) continue;
      if (call.kind === "launch" && task?.status.runId !== call.runId) {
        unkept.push(`run ${call.runId} was acknowledged last, and the task has ${task?.status.runId}`);
      }
      if (call.kind === "delete" && task !== undefined) unkept.push("the task is there after its deletion");
    }
    return unkept;
  }

  /** What a watch did not show of what is on disk: a transition in between, or the end. */
  #unseen(): string[] {
    const made = this.observer.versions("a").filter((version) => version?.record.isTransition);
    const revisions = made.map((version) => version?.revision ?? 0n);
    return this.watches.flatMap(({ watching, process }) => {
      if (!watching.isOver) return process.isDead ? [] : ["a watch did not end with its controller"];
      const shown = watching.changes.filter(({ status }) => status !== undefined);
      const seen = shown.map(({ revision }) => revision).filter((revision) => revisions.includes(revision));
      const from = revisions.indexOf(seen[0] ?? 0n);
      const isWhole = seen.join() === revisions.slice(from, from + seen.length).join();
      const isEnd = watching.error !== undefined || isEnded(shown.at(-1)?.status?.state ?? 0);
      const what = `a watch showed ${watching.lines.join()} at ${seen.join()} of ${revisions.join()}`;
      return isWhole && isEnd ? [] : [what];
    });
  }

  /** The store of one process: each call waits for its turn, and so does each answer. A dead process reaches it no more. */
  #schedule(store: Store): Store {
    const process = { isDead: false };
    this.#process = process;
    const turn = async (name: string): Promise<void> => {
      if (this.#isScheduled) await this.scheduler.schedule(Promise.resolve(), name);
      if (process.isDead) await new Promise(() => {});
    };
    const scheduled = async <T>(name: string, call: () => Promise<T>): Promise<T> => {
      await turn(name);
      const answer = await call().then(
        (value) => () => value,
        (error: unknown) => () => {
          throw error;
        },
      );
      await turn(`${name}, answered`);
      return answer();
    };
    return {
      ...storeProperties(store),
      get: (key, options) => scheduled("get", () => store.get(key, options)),
      scan: (options) => scheduled("scan", () => store.scan(options)),
      commit: (changes, conditions, next) => scheduled("commit", () => store.commit(changes, conditions, next)),
    };
  }
}

/** Refused as the controller closes: nothing was changed. */
function isDraining(error: unknown): boolean {
  return error instanceof ControllerError && error.details.reason === "DRAINING";
}

function storeProperties(store: Store): Store {
  return {
    kind: store.kind,
    durability: store.durability,
    revision: () => store.revision(),
    firstRevision: () => store.firstRevision(),
    get: (key, options) => store.get(key, options),
    scan: (options) => store.scan(options),
    commit: (changes, conditions, next) => store.commit(changes, conditions, next),
    watch: (options) => store.watch(options),
    reopen: () => store.reopen(),
    close: () => store.close(),
  };
}

test(`in ${runs} orders of launches, cancels, ends, crashes and closings every promise is kept`, {
  timeout: runs > 400 ? 7_200_000 : 180_000,
}, async () => {
  const seen = { canceled: 0, completed: 0, failed: 0, crashes: 0, closings: 0, restarted: 0 };
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), script, places, async (scheduler, actions, options) => {
      const interleaving = new Interleaving(await openMemoryStore(), scheduler, options);
      await interleaving.begin();
      await interleaving.drive(interleaving.play(actions));
      await interleaving.end();
      expect(interleaving.problems).toEqual([]);
      const { observer } = interleaving;
      seen.canceled += observer.count(StateCanceled);
      seen.completed += observer.count(StateCompleted);
      seen.failed += observer.count(StateFailed);
      seen.crashes += actions.filter((action) => action === "crash").length;
      seen.closings += actions.filter((action) => action === "close").length;
      seen.restarted += observer
        .versions("a")
        .filter((v) => v?.status.transitions.at(-1)?.reason.startsWith("restarted")).length;
    }),
    { numRuns: runs },
  );
  // Orders in which nothing happens prove nothing.
  for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(runs / 20);
});
