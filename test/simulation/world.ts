/**
 * A world: a server on a disk that fails, clients, remote runners, and the network between them, played by a plan.
 *
 * Faults come until `healMs`. Then everything is sound, and within a minute every task has ended, every watch is over and every client is
 * answered; what was promised until then is held against what is on disk.
 */
import type { Controller } from "../../src/controller/controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { isEnded, stateName } from "../../src/task/state.ts";
import { checkConsistency } from "../support/check-consistency.ts";
import { Client } from "./client.ts";
import { type Fired, Faults } from "./faults.ts";
import type { Follow } from "./follow.ts";
import type { FollowAll } from "./follow-all.ts";
import { controllerName, Ledger } from "./ledger.ts";
import { type Call, orderComplaint } from "./linearizability.ts";
import { Network } from "./network.ts";
import { keptForEver, type Plan, type PlannedOp } from "./plan.ts";
import { SimRunner } from "./remote-runner.ts";
import { Server } from "./server.ts";
import { Sim } from "./sim.ts";
import { SimDisk } from "./sim-disk.ts";

const livenessMs = 60_000;
const leavingMs = 1_000;
/** A task of its own that each client launches once all is sound. */
const lastOp: PlannedOp = {
  client: 0,
  atMs: 0,
  kind: "launch",
  task: 0,
  tries: 60,
  work: { steps: 1, stepMs: 10, fails: false, deafMs: 0 },
};

/** What a world did. */
export interface WorldReport {
  readonly problems: readonly string[];
  /** What became of each task. */
  readonly story: readonly string[];
  readonly traceHash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly fired: Fired;
  readonly acknowledged: Record<string, number>;
  readonly resumed: number;
}

class Broken extends Error {}

export class World {
  readonly #plan: Plan;
  readonly #sim: Sim;
  readonly #network: Network;
  readonly #ledger = new Ledger();
  readonly #faults: Faults;
  readonly #calls = new Map<string, Call[]>();
  readonly #follows: Follow[] = [];
  readonly #followsAll: FollowAll[] = [];
  readonly #acknowledged: Record<string, number> = {};
  #disk!: SimDisk;
  #server!: Server;
  #runners: SimRunner[] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#sim = new Sim(plan.seed);
    this.#network = new Network(this.#sim);
    this.#faults = new Faults(this.#sim, this.#network);
  }

  /** Plays it to its end, or to the first promise that is broken. */
  async play(): Promise<WorldReport> {
    await this.#build();
    const { problems } = this.#ledger;
    const onUnhandled = (reason: unknown): void => this.#ledger.broken(`a rejection that nobody handles: ${reason}`);
    process.on("unhandledRejection", onUnhandled);
    const clients = Array.from({ length: this.#plan.clients }, (_, i) => new Client(this.#parts, i + 1));
    try {
      const playing = this.#playClients(clients);
      await this.#run(this.#plan.healMs);
      this.#faults.heal();
      await this.#comeToRest(playing, clients);
      await this.#checkEnd();
    } catch (error) {
      if (!(error instanceof Broken)) problems.push(String(error));
    } finally {
      process.off("unhandledRejection", onUnhandled);
    }
    return {
      problems,
      story: this.#ledger.story(),
      traceHash: this.#sim.traceHash,
      events: this.#sim.steps,
      simulatedMs: this.#sim.nowMs,
      fired: this.#faults.fired,
      acknowledged: this.#acknowledged,
      resumed: [...this.#follows, ...this.#followsAll].reduce((sum, { resumed }) => sum + resumed, 0),
    };
  }

  async #build(): Promise<void> {
    const { historyMs, runners, concurrency } = this.#plan;
    const clock = this.#sim.node("disk");
    this.#disk = new SimDisk(this.#ledger.over(await openMemoryStore({ clock, historyMs })), this.#faults.diskPorts());
    this.#server = new Server({ sim: this.#sim, disk: this.#disk, ledger: this.#ledger, plan: this.#plan });
    this.#server.start();
    this.#ledger.leases.servedMs = () => this.#server.servedMs;
    const parts = { ...this.#parts, capacity: concurrency };
    this.#runners = Array.from({ length: runners }, (_, i) => new SimRunner(parts, `runner ${i + 1}`));
    const { tasks } = this.#plan;
    const fallible = { disk: this.#disk, server: this.#server, runners: this.#runners, tasks, ledger: this.#ledger };
    this.#faults.begin(this.#plan, fallible);
  }

  get #parts() {
    return {
      sim: this.#sim,
      network: this.#network,
      server: this.#server,
      ledger: this.#ledger,
      calls: this.#calls,
      follows: this.#follows,
      followsAll: this.#followsAll,
      acknowledged: this.#acknowledged,
    };
  }

  async #playClients(clients: readonly Client[]): Promise<void> {
    const { ops, tasks } = this.#plan;
    await Promise.all(
      clients.map((client, i) => {
        const own = ops.filter((op) => op.client % clients.length === i);
        return client.play(own.map((op) => ({ ...op, task: op.task % tasks })));
      }),
    );
  }

  /** Every client has its answers, one more launch succeeds for each, every task ends, and with it every watch. */
  async #comeToRest(playing: Promise<void>, clients: readonly Client[]): Promise<void> {
    const untilMs = this.#plan.healMs + livenessMs;
    let isAnswered = false;
    let launched = 0;
    const lastLaunches = playing.then(() => Promise.all(clients.map((client, i) => client.do(lastOp, `last${i}`))));
    void lastLaunches.then((done) => {
      launched = done.filter((isDone) => isDone).length;
      isAnswered = true;
    });
    await this.#run(untilMs, () => isAnswered && this.#unfinished().length === 0);
    if (!isAnswered) this.#ledger.broken("a client is not answered a minute after everything is sound");
    else if (launched < clients.length) this.#ledger.broken("a launch failed when everything was sound");
    for (const what of this.#unfinished()) this.#ledger.broken(`${what} a minute after everything is sound`);
    this.#check();
  }

  #unfinished(): string[] {
    const tasks = this.#ledger.taskIds.flatMap((taskId) => {
      const status = this.#ledger.task(taskId)?.status;
      return status === undefined || this.#ledger.isRotten(taskId) || isEnded(status.state)
        ? []
        : [`${taskId} is ${stateName(status.state)}`];
    });
    const watches = this.#follows.flatMap(({ taskId, isOver }) => {
      // One of a task that is not there waits for its launch.
      return isOver || this.#ledger.isRotten(taskId) || this.#ledger.task(taskId) === undefined
        ? []
        : [`a watch of ${taskId} goes on`];
    });
    const behind = this.#followsAll.filter(({ isBehind }) => isBehind).map(() => "a watch of all lacks a change");
    return [...tasks, ...watches, ...behind, ...this.#ledger.waiting().map((key) => `${key} waits`)];
  }

  async #checkEnd(): Promise<void> {
    for (const follow of this.#follows) {
      follow.leave();
      if (this.#ledger.isRotten(follow.taskId)) continue;
      this.#ledger.problems.push(...follow.complaints());
    }
    for (const follow of this.#followsAll) {
      follow.leave();
      this.#ledger.problems.push(...follow.complaints());
    }
    // Where nobody is connected, an end may be dropped for a launch.
    if (this.#plan.runners === 0)
      for (const runId of this.#ledger.untold()) this.#ledger.broken(`the runner was not told of the end of ${runId}`);
    for (const [taskId, calls] of this.#calls) {
      if (this.#ledger.isRotten(taskId) || this.#ledger.hasForgotten) continue;
      const complaint = orderComplaint(
        calls.filter((call) => this.#matters(taskId, call)),
        { expires: this.#plan.retentionMs < keptForEver },
      );
      if (complaint !== undefined) this.#ledger.broken(`${taskId}: ${complaint}`);
    }
    this.#check();
    // Those who have left are let go.
    await this.#run(this.#sim.nowMs + leavingMs);
    const last = this.#server.process;
    if (last === undefined) throw new Error("there is no server in the end");
    await this.#drive(this.#checkDisk(last.controller));
    if (last.store.watches > 0) this.#ledger.broken(`${last.store.watches} watches of the store are left`);
    await this.#drive(last.controller.close());
    // Of a task that was damaged and launched anew nobody waits for the end.
    if (last.node.timers > 0 && this.#ledger.rotten.length === 0)
      this.#ledger.broken(`a closed controller has ${last.node.timers} timers left`);
    this.#check();
  }

  /** What is on disk is whole, and what the controller says; looked at again where a sweep changed it meanwhile. */
  async #checkDisk(controller: Controller): Promise<void> {
    const { synced } = this.#disk;
    for (;;) {
      const revision = synced.revision();
      try {
        return await checkConsistency(synced, controllerName, { controller, except: this.#ledger.rotten });
      } catch (error) {
        if (synced.revision() === revision) throw error;
      }
    }
  }

  /** Whether a call may have changed what others were answered: one without an answer has if it is on disk; of a cancel nothing shows. */
  #matters(taskId: string, { kind, run, answered }: Call): boolean {
    if (answered !== Number.POSITIVE_INFINITY) return true;
    if (kind === "delete") return this.#ledger.versions(taskId).includes(undefined);
    return kind !== "cancel" && this.#ledger.isLaunched(run);
  }

  /** Lets time pass until it is done. */
  async #drive<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    await this.#run(this.#sim.nowMs + livenessMs, () => isOver);
    if (!isOver) throw new Error("it never came to an end");
    return work;
  }

  #run(untilMs: number, isOver?: () => boolean): Promise<void> {
    return this.#sim.run(untilMs, () => this.#check(), isOver);
  }

  #check(): void {
    if (this.#ledger.problems.length > 0) throw new Broken();
  }
}

/** Plays the plan. */
export function playWorld(plan: Plan): Promise<WorldReport> {
  return new World(plan).play();
}
