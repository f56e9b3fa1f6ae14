/** The clients of a world: what they do, what they were answered, and what they saw. */
import { sleep } from "../../src/clock.ts";
import type { Controller, LaunchedRun, TaskPage } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { isEnded } from "../../src/task/state.ts";
import { listAll, manyIds, type Shown, use } from "./client-calls.ts";
import { Follow } from "./follow.ts";
import { FollowAll } from "./follow-all.ts";
import type { Ledger } from "./ledger.ts";
import type { Call, Outcome } from "./linearizability.ts";
import type { Network } from "./network.ts";
import type { PlannedOp } from "./plan.ts";
import type { Server } from "./server.ts";
import type { Sim, SimNode } from "./sim.ts";
import type { Work } from "./work.ts";

export interface ClientParts {
  readonly sim: Sim;
  readonly network: Network;
  readonly server: Server;
  readonly ledger: Ledger;
  /** The calls about each task. */
  readonly calls: Map<string, Call[]>;
  readonly follows: Follow[];
  readonly followsAll: FollowAll[];
  /** How many calls of each kind were acknowledged. */
  readonly acknowledged: Record<string, number>;
}

/** What a client hears of a call: an answer, an error, or nothing. */
type Heard<T> = { readonly value: T } | { readonly error: ControllerError } | "nothing";

const answerMaxMs = 2_000;
const never = Number.POSITIVE_INFINITY;

export class Client {
  readonly node: SimNode;
  readonly #parts: ClientParts;
  /** Makes the numbers of its launches its own. */
  readonly #nth: number;
  #launches = 0;

  constructor(parts: ClientParts, nth: number) {
    this.#parts = parts;
    this.#nth = nth;
    this.node = parts.sim.node(`client ${nth}`);
  }

  /** Does one after the other, each when its time has come. */
  async play(ops: readonly PlannedOp[]): Promise<void> {
    for (const op of [...ops].sort((a, b) => a.atMs - b.atMs)) {
      await sleep(this.node, op.atMs - this.node.mono());
      await this.do(op, `t${op.task}`);
    }
  }

  async do(op: PlannedOp, taskId: string): Promise<boolean> {
    switch (op.kind) {
      case "launch":
      case "launch unless active":
        return this.#launch(op, op.kind, taskId);
      case "launch many":
        return this.#launchMany(op, taskId);
      case "list":
        return this.#list(op);
      case "watch":
        this.#parts.follows.push(new Follow(this.#parts, this.node, { taskId, slowMs: op.work.deafMs / 4 }));
        return true;
      case "watch all":
        this.#parts.followsAll.push(
          new FollowAll(this.#parts, this.node, { lists: op.tries % 2 === 0, slowMs: op.work.deafMs / 8 }),
        );
        return true;
      default:
        return this.#repeat(op, async () => {
          // The end of a wait is a read like any other.
          const call = this.#call(op.kind === "wait" ? "get" : (op.kind as Call["kind"]), taskId, 0);
          const heard = await this.#ask(op.kind, (controller) => use(controller, op.kind, taskId), {
            answered: (status) => this.#answered(call, taskId, status),
            failed: (error) => this.#failed(call, taskId, error),
          });
          // What only reads has done nothing where it was not answered.
          if (call.answered === never && call.kind === "get") this.#forget(taskId, call);
          return heard;
        });
    }
  }

  /** All tries are one launch: they have its request id. */
  #launch(op: PlannedOp, kind: "launch" | "launch unless active", taskId: string): Promise<boolean> {
    const run = this.#nth * 1_000 + (this.#launches += 1);
    const work: Work = { ...op.work, op: run };
    const call = this.#call(kind, taskId, run);
    const options = {
      metadata: { ...work },
      requestId: `launch-${run}`,
      ifActive: kind === "launch" ? ("restart" as const) : ("fail" as const),
    };
    return this.#repeat(op, async (nth) => {
      const heard = await this.#ask(kind, (controller) => controller.launchTask(taskId, options), {
        answered: ({ status, revision }) => {
          this.#parts.ledger.shown(taskId, status, revision);
          this.#settle(call, { kind: "done" });
        },
        failed: (error) => {
          // It was launched by a try before, and deleted since.
          if (error.code === "NOT_FOUND") return this.#settle(call, { kind: "done" });
          if (error.code !== "ALREADY_EXISTS") this.#unexpected(kind, taskId, error);
        },
      });
      // Only where this is heard, as it is tried again otherwise; and one before may still be under way.
      const isRefused = heard !== "nothing" && "error" in heard && heard.error.code === "ALREADY_EXISTS";
      if (isRefused && nth === 0) this.#settle(call, { kind: "refused" });
      return heard;
    });
  }

  /** One call for several, each of which is done or refused for itself; again as a whole, until all are. */
  #launchMany(op: PlannedOp, taskId: string): Promise<boolean> {
    const launches = manyIds(taskId).map((id) => {
      const run = this.#nth * 1_000 + (this.#launches += 1);
      const work: Work = { ...op.work, op: run };
      const call = this.#call("launch", id, run);
      return { call, options: { taskId: id, metadata: { ...work }, requestId: `launch-${run}` } };
    });
    const ask = (controller: Controller) => controller.launchTasks(launches.map(({ options }) => options));
    return this.#repeat(op, async () => {
      let isDone = false;
      const heard = await this.#ask("launch many", ask, {
        answered: (results) => {
          const outcomes = launches.map(({ call, options }, i) => this.#launched(call, options.taskId, results[i]));
          isDone = outcomes.every((outcome) => outcome);
        },
        failed: (error) => this.#unexpected("launch many", taskId, error),
      });
      return isDone ? heard : "nothing";
    });
  }

  /** Whether nothing is left to do for one launch of many. */
  #launched(call: Call, taskId: string, result: PromiseSettledResult<LaunchedRun> | undefined): boolean {
    const { ledger } = this.#parts;
    const error: unknown = result?.status === "rejected" ? result.reason : undefined;
    if (error instanceof ControllerError && error.code === "UNAVAILABLE") return false;
    const isGone = error instanceof ControllerError && error.code === "NOT_FOUND";
    if (error !== undefined && !isGone) this.#unexpected("launch many", taskId, error);
    else if (!ledger.isStored(call.run)) ledger.broken(`launch ${call.run} of ${taskId}, one of many, is not on disk`);
    this.#settle(call, { kind: "done" });
    return true;
  }

  #list(op: PlannedOp): Promise<boolean> {
    const { ledger } = this.#parts;
    return this.#repeat(op, () => {
      let began = 0n;
      const ask = (controller: Controller): Promise<TaskPage["tasks"]> => {
        began = ledger.changes.last;
        return listAll(controller);
      };
      return this.#ask("list", ask, {
        answered: (tasks) => {
          for (const { taskId, status, revision } of tasks) ledger.shown(taskId, status, revision);
          const listed = new Set(tasks.map(({ taskId }) => taskId));
          const now = ledger.changes.tasksAt(ledger.changes.last);
          for (const taskId of ledger.changes.tasksAt(began).keys())
            if (!listed.has(taskId) && now.has(taskId) && !ledger.changes.isDeletedAfter(taskId, began))
              ledger.broken(`${taskId} was left out of a list`);
        },
        failed: (error) => this.#unexpected("list", "all", error),
      });
    });
  }

  async #repeat(op: PlannedOp, once: (nth: number) => Promise<Heard<unknown>>): Promise<boolean> {
    for (let nth = 0; nth < op.tries; nth += 1) {
      const heard = await once(nth);
      if (heard !== "nothing" && !("error" in heard && heard.error.code === "UNAVAILABLE")) return true;
      await sleep(this.node, 200 + this.#parts.sim.random.fraction() * 800);
    }
    return false;
  }

  /** Asks the server. `on` is told as it answers, whether or not that arrives: it is what counts. */
  #ask<T>(
    kind: string,
    ask: (controller: Controller) => Promise<T>,
    on: { answered: (value: T) => void; failed: (error: ControllerError) => void },
  ): Promise<Heard<T>> {
    const { network, server, acknowledged, sim } = this.#parts;
    return new Promise((resolve) => {
      const stopWaiting = this.node.after(answerMaxMs, () => resolve("nothing"));
      const hear = (heard: Heard<T>): void => {
        if (network.loses()) return;
        network.send(this.node, `${kind} answered`, () => {
          stopWaiting();
          resolve(heard);
        });
      };
      const serve = (hear: (heard: Heard<T>) => void): void => {
        const { process } = server;
        if (process === undefined) return hear("nothing");
        void process.node.died.then(() => hear("nothing"));
        sim.at(0, process.node, kind, () => {
          ask(process.controller).then(
            (value) => {
              acknowledged[kind] = (acknowledged[kind] ?? 0) + 1;
              sim.note(kind);
              on.answered(value);
              hear({ value });
            },
            (error: unknown) => {
              if (!(error instanceof ControllerError)) return this.#unexpected(kind, "any", error);
              sim.note(error.code);
              if (error.code !== "UNAVAILABLE") on.failed(error);
              hear({ error });
            },
          );
        });
      };
      if (network.loses()) return;
      // What has a request id may arrive twice, the second time in another process.
      if ((kind === "launch" || kind === "launch many") && network.repeats())
        network.send(network.node, `${kind} again`, () => serve(() => {}));
      network.send(network.node, kind, () => serve(hear));
    });
  }

  #call(kind: Call["kind"], taskId: string, run: number): Call {
    const { calls, sim } = this.#parts;
    const call: Call = { kind, run, began: sim.steps, answered: never, outcome: { kind: "done" } };
    calls.set(taskId, [...(calls.get(taskId) ?? []), call]);
    return call;
  }

  #forget(taskId: string, call: Call): void {
    const { calls } = this.#parts;
    calls.set(
      taskId,
      (calls.get(taskId) ?? []).filter((other) => other !== call),
    );
  }

  #settle(call: Call, outcome: Outcome): void {
    if (call.answered !== never) return;
    call.answered = this.#parts.sim.steps;
    call.outcome = outcome;
  }

  #answered(call: Call, taskId: string, shown: Shown | undefined): void {
    const { ledger } = this.#parts;
    if (shown !== undefined) ledger.shown(taskId, shown.status, shown.revision);
    if (call.kind !== "get" || shown === undefined) return this.#settle(call, { kind: "done" });
    const { state, metadata } = shown.status;
    const { op } = JSON.parse(metadata) as Work;
    this.#settle(call, { kind: "found", run: op, isEnded: isEnded(state) });
  }

  #failed(call: Call, taskId: string, error: ControllerError): void {
    if (error.code === "NOT_FOUND") {
      this.#parts.ledger.saidAbsent(taskId);
      return this.#settle(call, { kind: "not found" });
    }
    if (call.kind === "delete" && error.code === "FAILED_PRECONDITION") return this.#settle(call, { kind: "refused" });
    this.#unexpected(call.kind, taskId, error);
  }

  #unexpected(kind: string, of: string, error: unknown): void {
    if (error instanceof ControllerError && error.code === "DATA_LOSS" && this.#parts.ledger.isRotten(of)) return;
    this.#parts.ledger.broken(`${kind} of ${of} was answered with ${String(error)}`);
  }
}
