/**
 * What the clients do while the server is killed. A driver owns a task and its calls follow each other, so what must
 * become of it is known; others launch and cancel the same few ids at the same time, or launch as much as they can.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { IfActive, IfEnded, LaunchOutcome } from "#gen/stint/v1/controller_pb.js";
import { isEnded } from "../../../src/task/state.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";
import type { Caller, LaunchAsk } from "./caller.ts";
import type { Follower } from "./follower.ts";
import { type DeathMoment, deathMoments, type LedgerSettings } from "./ledger-line.ts";
import type { Launch, Told } from "./told.ts";

/** `ledger` and `narrow` have the runner of ../runners/ledger.ts, `narrow` with few places; `countdown` has the example's. */
export const controllers = { ledger: "ledger", narrow: "narrow", countdown: "countdown" } as const;

/** How long a task may take once the server is no longer killed. */
const settleMaxMs = 120_000;

const manyAtOnce = 8;
const batchSize = 30;

/** What all drivers share. */
export interface Field {
  readonly told: Told;
  /** Aborted when no more tasks are to be begun: the server is up for good. */
  readonly ending: AbortSignal;
  newCaller(): Caller;
  /** Watches a task, until it is stopped. */
  follow(task: { controller: string; taskId: string }): Follower;
}

/** One task after the other, each with its own script. */
export async function driveTasks(field: Field): Promise<void> {
  const caller = field.newCaller();
  while (!field.ending.aborted) {
    const controller = caller.random.weighted({ ledger: 6, narrow: 2, countdown: 2 });
    await new TaskDriver(field, caller, controller).drive(caller.random.int(0, 3));
  }
}

/** A task whose runner kills the server. */
export function driveDeath(field: Field): Promise<void> {
  const caller = field.newCaller();
  const { random } = caller;
  const dieAt: DeathMoment = random.pick(deathMoments);
  const settings = { ...settingsOf(random), onAbort: "throw", dieAt, dieAfterMs: random.int(-1, 3) } as const;
  return new TaskDriver(field, caller, controllers.ledger).drive(0, settings);
}

/** Short tasks, as many as the server takes. */
export async function driveMany(field: Field): Promise<void> {
  const caller = field.newCaller();
  const { random, told } = caller;
  const launch = (): LaunchAsk => {
    const metadata = { steps: random.int(0, 2), pauseMs: 0, tellMs: random.chance(0.2) ? random.int(1, 200) : 0 };
    return { controller: controllers.ledger, taskId: `many-${told.nonce()}`, isAlone: true, metadata };
  };
  while (!field.ending.aborted) {
    if (random.chance(0.5)) await caller.launchBatch(Array.from({ length: batchSize }, launch));
    else await Promise.all(Array.from({ length: manyAtOnce }, () => caller.launch(launch())));
    await sleep(random.int(0, 12));
  }
}

/** Launches and cancels ids that others launch and cancel too. */
export async function driveShared(field: Field, ids: readonly string[]): Promise<void> {
  const caller = field.newCaller();
  const { random } = caller;
  const about = { controller: controllers.ledger, isAlone: false };
  // Each is there at the end, however little else a busy machine has got done by then.
  for (const taskId of ids) await caller.launch({ ...about, taskId, metadata: settingsOf(random) });
  while (!field.ending.aborted) {
    const task = { ...about, taskId: random.pick(ids) };
    if (random.chance(0.7)) await caller.launch({ ...task, metadata: settingsOf(random) });
    else await caller.cancel({ ...task, waitMs: 0 });
    await sleep(random.int(0, 60));
  }
}

class TaskDriver {
  readonly #field: Field;
  readonly #caller: Caller;
  readonly #random: SeededRandom;
  readonly #controller: string;
  readonly #launches: Launch[] = [];
  /** Empty where the server is to make it. */
  #taskId = "";
  /** The run that must be the last one. */
  #runId = "";

  constructor(field: Field, caller: Caller, controller: string) {
    this.#field = field;
    this.#caller = caller;
    this.#random = caller.random;
    this.#controller = controller;
  }

  /** Launches, does so many things more, and sees the task to its end. */
  async drive(steps: number, settings?: Partial<LedgerSettings>): Promise<void> {
    const isEarly = this.#random.chance(0.5);
    if (isEarly || this.#random.chance(0.8)) this.#taskId = `task-${this.#field.told.nonce()}`;
    const early = isEarly ? this.#field.follow(this.#task) : undefined;
    await this.#launchFirst(settings);
    const follower = early ?? this.#field.follow(this.#task);
    for (let i = 0; i < steps; i += 1) {
      await sleep(this.#random.int(0, 80));
      await this.#step();
    }
    const revision = await this.#settled();
    if (revision !== undefined && !(await follower.passed(revision, this.#deadline())))
      this.#complain(`a watch stays at ${follower.position}, the end is at ${revision} (${follower.lastError})`);
    await follower.stop();
  }

  get #task(): { controller: string; taskId: string; isAlone: true } {
    return { controller: this.#controller, taskId: this.#taskId, isAlone: true };
  }

  async #launchFirst(settings: Partial<LedgerSettings> | undefined): Promise<void> {
    const random = this.#random;
    const metadata = settings ?? this.#metadata();
    // Without a request id: that it cannot happen twice is enough to repeat it.
    const isOnce = this.#taskId !== "" && random.chance(0.2);
    const once = isOnce ? { ifActive: IfActive.FAIL, ifEnded: IfEnded.FAIL, hasRequestId: false } : {};
    const launch = await this.#caller.launch({ ...this.#task, metadata, ...once });
    this.#taskId = launch.taskId;
    if (launch.answer !== undefined) return this.#took(launch);
    const { status } = await this.#caller.status(this.#controller, this.#taskId);
    if (!isOnce || launch.tries < 2) this.#complain(`its first launch was refused (${launch.refusal})`);
    this.#runId = status.runId;
  }

  async #step(): Promise<void> {
    const caller = this.#caller;
    const steps = {
      relaunch: 28,
      cancel: 24,
      use: 10,
      refuse: 6,
      look: 12,
      repeat: 10,
      misuse: 3,
      "relaunch the ended": 12,
    };
    switch (this.#random.weighted(steps)) {
      case "relaunch":
        return this.#relaunch();
      case "cancel": {
        const waitMs = this.#random.chance(0.3) ? this.#random.int(1, 100) : 0;
        const { answer, refusal } = await caller.cancel({ ...this.#task, waitMs });
        if (answer === undefined) return this.#complain(`a cancel was refused (${refusal})`);
        this.#runId = answer.runId;
        return;
      }
      case "use": {
        const policy = { ifActive: IfActive.USE_EXISTING, ifEnded: IfEnded.USE_EXISTING };
        const { answer } = await caller.launch({ ...this.#task, metadata: this.#metadata(), ...policy });
        if (answer?.outcome !== LaunchOutcome.USED_EXISTING) this.#complain("a launch that uses what is there did not");
        return;
      }
      case "refuse": {
        const policy = { ifActive: IfActive.FAIL, ifEnded: IfEnded.FAIL };
        const { answer } = await caller.launch({ ...this.#task, metadata: this.#metadata(), ...policy });
        if (answer !== undefined) this.#complain("a launch that must be refused was not");
        return;
      }
      case "look":
        await caller.status(this.#controller, this.#taskId);
        return;
      case "repeat":
        return this.#again((launch) => caller.repeat(launch));
      case "misuse":
        return this.#again((launch) => caller.misuse(launch));
      case "relaunch the ended":
        await this.#settled();
        return this.#relaunch();
    }
  }

  async #relaunch(): Promise<void> {
    const metadata = this.#random.chance(0.2) ? undefined : this.#metadata();
    const launch = await this.#caller.launch({ ...this.#task, metadata });
    if (launch.answer === undefined) this.#complain(`a launch was refused (${launch.refusal})`);
    else this.#took(launch);
  }

  #took(launch: Launch): void {
    if (launch.requestId !== "") this.#launches.push(launch);
    if (launch.answer !== undefined && launch.answer.outcome !== LaunchOutcome.USED_EXISTING)
      this.#runId = launch.answer.runId;
  }

  async #again(what: (launch: Launch) => Promise<void>): Promise<void> {
    if (this.#launches.length > 0) await what(this.#random.pick(this.#launches));
  }

  /** Waits until the run that must be the last one has ended; its revision, or undefined when that does not come. */
  async #settled(): Promise<bigint | undefined> {
    for (const isOverdue = this.#deadline(); ; ) {
      const { status, revision } = await this.#caller.status(this.#controller, this.#taskId);
      if (isEnded(status.state) && status.runId === this.#runId) return revision;
      if (isOverdue()) {
        this.#complain(`run ${this.#runId} does not end; there is run ${status.runId}, in state ${status.state}`);
        return undefined;
      }
      await sleep(this.#random.int(10, 40));
    }
  }

  /** Whether what is waited for should have come: while the server is killed nothing is overdue. */
  #deadline(): () => boolean {
    let sinceMs: number | undefined;
    return () => {
      if (!this.#field.ending.aborted) return false;
      sinceMs ??= performance.now();
      return performance.now() - sinceMs > settleMaxMs;
    };
  }

  #metadata(): object {
    const random = this.#random;
    if (this.#controller !== controllers.countdown) return settingsOf(random);
    const limit = random.int(1, 20);
    return { limit, intervalMs: random.int(0, 12), failAt: random.chance(0.15) ? limit : 0 };
  }

  #complain(problem: string): void {
    this.#field.told.complain(`${this.#taskId}: ${problem}`);
  }
}

function settingsOf(random: SeededRandom): LedgerSettings & { padding?: string } {
  return {
    steps: random.int(1, 40),
    pauseMs: random.int(0, 10),
    pendingMs: random.chance(0.3) ? random.int(1, 50) : 0,
    tellMs: random.chance(0.3) ? random.int(1, 100) : 0,
    onAbort: random.pick(["throw", "throw", "return", "fail", "late"] as const),
    end: random.chance(0.15) ? "fail" : "return",
    // Above a kilobyte both are records of their own.
    ...(random.chance(0.1) ? { padding: "p".repeat(2_000) } : {}),
    ...(random.chance(0.1) ? { resultBytes: 2_000 } : {}),
  };
}
