/** A host of remote runs that is in the hands of the test: it has as many seats as it is given, and each phase on them settles when the test says so. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { EndToTell, HeldLease, Host, HostedTask, Release, Seat } from "../../src/controller/host.ts";
import type { Hosting } from "../../src/controller/open-controller.ts";
import { type PhaseName, SeatLost } from "../../src/controller/phase.ts";
import type { TaskContext } from "../../src/controller/task-runner.ts";
import { type Harness, type HarnessOptions, createHarness } from "./controller-harness.ts";

/** A phase on a seat. */
export class SeatPhase {
  readonly name: PhaseName;
  readonly task: HostedTask;
  readonly context: TaskContext;
  readonly settled: Promise<unknown>;
  readonly #seat: ScriptedSeat;
  #resolve: (value: unknown) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  isSettled = false;

  constructor(seat: ScriptedSeat, name: PhaseName, task: HostedTask, context: TaskContext) {
    this.#seat = seat;
    this.name = name;
    this.task = task;
    this.context = context;
    this.settled = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get abortKind(): string | undefined {
    return (this.context.signal.reason as { kind?: string } | undefined)?.kind;
  }

  /** The runner says, under `seq`, that the phase is done. */
  done(seq: bigint, value?: unknown): void {
    this.#end(seq);
    this.#resolve(value);
  }

  /** The runner says, under `seq`, that its code stopped because it was told to. */
  stopped(seq: bigint): void {
    this.#end(seq);
    this.#reject(this.context.signal.reason);
  }

  lose(kind: "lost" | "left", why = "resumed: the runner is gone"): void {
    this.#end(0n);
    this.#reject(new SeatLost(kind, why));
  }

  #end(seq: bigint): void {
    this.isSettled = true;
    this.#seat.endSeq = seq;
  }
}

export class ScriptedSeat implements Seat {
  readonly skipsPending = false;
  readonly runner: string;
  readonly instanceId: string;
  readonly phases: SeatPhase[] = [];
  readonly released: Release[] = [];
  endSeq = 0n;
  isTaken = true;
  /** Said once the abort has got to the code. */
  hasTold: () => void = () => {};
  readonly #host: ScriptedHost;
  readonly #told: Promise<void>;

  constructor(host: ScriptedHost, { runner, instanceId }: Pick<Seat, "runner" | "instanceId">) {
    this.#host = host;
    this.runner = runner;
    this.instanceId = instanceId;
    this.#told = new Promise((resolve) => {
      this.hasTold = resolve;
    });
  }

  get phase(): SeatPhase {
    const phase = this.phases.at(-1);
    if (phase === undefined) throw new Error("nothing was offered on the seat");
    return phase;
  }

  runPhase(name: PhaseName, task: HostedTask, context: TaskContext): unknown {
    const phase = new SeatPhase(this, name, task, context);
    this.phases.push(phase);
    if (this.#host.isClosed) phase.lose("left");
    // As of a run that was lost: nobody waits for its runner.
    context.signal.addEventListener("abort", () => {
      if (phase.abortKind === "LOST_FENCE") phase.lose("lost");
    });
    return phase.settled;
  }

  stopFor(): void {}

  told(): Promise<void> {
    return this.#told;
  }

  release(how: Release): void {
    this.released.push(how);
    this.hasTold();
    this.#host.freed(how);
  }
}

export class ScriptedHost implements Host {
  readonly kind = "remote";
  readonly isIsolated = true;
  readonly recalled: HeldLease[] = [];
  /** Whether what is recalled may still be with its runner. */
  recalls = true;
  keeps = true;
  canTell = false;
  readonly told: EndToTell[] = [];
  tells: (end: EndToTell) => Promise<"told" | "kept"> = () => Promise.resolve("told");
  /** How often a seat was taken, also in vain. */
  takings = 0;
  isClosed = false;
  #free: number;
  #listener: () => void = () => {};
  readonly #all: ScriptedSeat[] = [];

  constructor(free: number) {
    this.#free = free;
  }

  get free(): number {
    return this.#free;
  }

  /** The newest seat of the task; waits for it as long as anything happens. */
  async seat(taskId: string, phase: PhaseName = "pending"): Promise<ScriptedSeat> {
    const isIt = (seat: ScriptedSeat): boolean =>
      seat.released.length === 0 && seat.phases.at(-1)?.task.taskId === taskId && seat.phase.name === phase;
    for (let turns = 0; turns < 50; turns += 1) {
      const found = this.#all.findLast(isIt);
      if (found !== undefined) return found;
      await nextTurn();
    }
    throw new Error(`task ${taskId} is on no seat in its phase ${phase}`);
  }

  /** The task in its running phase, after the pending one has ended with seq 1. */
  async running(taskId: string): Promise<ScriptedSeat> {
    (await this.seat(taskId)).phase.done(1n);
    return this.seat(taskId, "running");
  }

  whatIsWaitedFor(): string {
    return "a seat of the test";
  }

  takeSeat(): Seat | undefined {
    this.takings += 1;
    if (this.isClosed || this.#free <= 0) return undefined;
    this.#free -= 1;
    const seat = new ScriptedSeat(this, { runner: "host-7", instanceId: "an instance" });
    this.#all.push(seat);
    return seat;
  }

  recall(lease: HeldLease): Seat | undefined {
    this.recalled.push(lease);
    if (!this.recalls) return undefined;
    this.#free -= 1;
    const seat = new ScriptedSeat(this, lease);
    this.#all.push(seat);
    return seat;
  }

  onSeat(listener: () => void): void {
    this.#listener = listener;
  }

  /** More seats are there. */
  add(count: number): void {
    this.#free += count;
    this.#listener();
  }

  freed(how: Release): void {
    this.#free += 1;
    if (how !== "unused") this.#listener();
  }

  /** How each seat on which something was offered was released, oldest first. */
  get releases(): Release[][] {
    return this.#all.filter(({ phases }) => phases.length > 0).map(({ released }) => released);
  }

  keepsEnd(): boolean {
    return this.keeps;
  }

  tellEnd(end: EndToTell): Promise<"told" | "kept"> {
    this.told.push(end);
    return this.tells(end);
  }

  close(): void {
    this.isClosed = true;
    for (const { phases } of this.#all) {
      const phase = phases.at(-1);
      if (phase?.isSettled === false) phase.lose("left");
    }
  }
}

export interface HostHarness extends AsyncDisposable {
  readonly h: Harness;
  /** That of the controller that was opened last. */
  readonly host: ScriptedHost;
  /** What is done to each host before its controller is opened. */
  prepare: (host: ScriptedHost) => void;
}

/** A harness whose controllers each have a host of their own, with as many seats. */
export async function openHostHarness(seats: number, options: HarnessOptions = {}): Promise<HostHarness> {
  const hosts: ScriptedHost[] = [];
  const hosting: Hosting = {
    isRetired: false,
    complaints: () => [],
    createHost: () => {
      const host = new ScriptedHost(seats);
      world.prepare(host);
      hosts.push(host);
      return host;
    },
  };
  const h = await createHarness({ ...options, hosting });
  const world: HostHarness = {
    h,
    prepare: () => {},
    get host() {
      const host = hosts.at(-1);
      if (host === undefined) throw new Error("no host was made");
      return host;
    },
    [Symbol.asyncDispose]: () => h[Symbol.asyncDispose](),
  };
  await h.open();
  return world;
}
