/** The server of a world: a controller on the disk, in one process after the other. */
import type { Controller } from "../../src/controller/controller.ts";
import { openController } from "../../src/controller/open-controller.ts";
import { openRemoteController } from "../../src/controller/open-remote-controller.ts";
import { ticksPerLease } from "../../src/controller/remote-lease.ts";
import type { RemoteController, RemoteRunners } from "../../src/controller/remote-link.ts";
import { controllerName, type Ledger } from "./ledger.ts";
import { leaseMs, type Plan } from "./plan.ts";
import { createSimRandom, type Sim, type SimNode } from "./sim.ts";
import type { SimDisk, SimStore } from "./sim-disk.ts";
import { createWorker } from "./work.ts";

/** A tick of leases counts for two intervals at most, however late it is (remote-lease.ts). */
const countedOfPauseMs = (2 * leaseMs) / ticksPerLease;

const tightLimits = { logMaxEntries: 3, logMaxBytes: 200, transitionsMax: 3, progressPerSecondMax: 3 };

export interface ServerParts {
  readonly sim: Sim;
  readonly disk: SimDisk;
  readonly ledger: Ledger;
  readonly plan: Pick<Plan, "concurrency" | "prepares" | "runners" | "retentionMs" | "graceMs" | "isTight">;
}

/** One process of it, which takes calls. */
export interface Process {
  readonly node: SimNode;
  readonly store: SimStore;
  readonly controller: Controller;
  readonly runners: RemoteRunners | undefined;
  /** How many watch all tasks. */
  watching: number;
}

export class Server {
  readonly #parts: ServerParts;
  readonly #machine: SimNode;
  #node: SimNode | undefined;
  #process: Process | undefined;
  #lives = 0;
  /** How long the pauses are that it was in, and is in. */
  #heldUpMs = 0;
  #wallOffsetMs = 0;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.#machine = parts.sim.node("machine");
  }

  /** The process that takes calls, if there is one. */
  get process(): Process | undefined {
    return this.#process;
  }

  /** Whether a process is there, one that is starting or closing included. */
  get isUp(): boolean {
    return this.#node !== undefined;
  }

  start(): void {
    const { sim, disk, ledger, plan } = this.#parts;
    this.#lives += 1;
    const node = sim.node(`server ${this.#lives}`);
    node.wallOffsetMs = this.#wallOffsetMs;
    this.#node = node;
    const store = disk.open(node);
    const options = {
      name: controllerName,
      store,
      clock: node,
      random: createSimRandom(sim.random.fork(), `s${this.#lives}`),
      retention: { afterEndMs: plan.retentionMs },
      closeGraceMs: plan.graceMs,
      limits: plan.isTight ? tightLimits : {},
    };
    const opening: Promise<Controller | RemoteController> =
      plan.runners > 0
        ? openRemoteController({ ...options, remote: { leaseMs, runnersMax: 100, runnerCapacityMax: 100 } })
        : openController({
            ...options,
            runner: createWorker(ledger, node, { isRemote: false, prepares: plan.prepares }),
            concurrency: plan.concurrency,
          });
    opening.then(
      (controller) => {
        const runners = "runners" in controller ? controller.runners : undefined;
        this.#process = { node, store, controller, runners, watching: 0 };
        sim.note("open");
      },
      (error: unknown) => ledger.broken(`the controller could not be opened: ${String(error)}`),
    );
  }

  /** Dies as it is; whether there was a process, and how many commits the disk has lost. */
  crash(kind: "process" | "power", downMs: number): { died: boolean; lost: number } {
    if (this.#node === undefined) return { died: false, lost: 0 };
    this.#gone();
    const lost = this.#parts.disk.crash(kind);
    this.#startIn(downMs);
    return { died: true, lost };
  }

  /** Closes as SIGTERM makes it; whether it was open. */
  close(downMs: number): boolean {
    const process = this.#process;
    if (process === undefined) return false;
    this.#process = undefined;
    process.controller.close().then(
      () => {
        if (process.node !== this.#node) return;
        this.#gone();
        // All that it has told anybody is synced, and so is what it had under way.
        this.#parts.disk.crash("process");
        this.#startIn(downMs);
      },
      (error: unknown) => this.#parts.ledger.broken(`the controller could not be closed: ${String(error)}`),
    );
    return true;
  }

  /** How long it was not held up, up to now; of each pause what counts against leases is not taken off. */
  get servedMs(): number {
    return this.#parts.sim.nowMs - this.#heldUpMs;
  }

  pause(ms: number): boolean {
    if (this.#node === undefined) return false;
    const beforeMs = this.#leftOfPauseMs(this.#node);
    this.#node.pause(ms);
    this.#heldUpMs += Math.max(0, this.#leftOfPauseMs(this.#node) - beforeMs - countedOfPauseMs);
    return true;
  }

  /** Goes on, where it stood still; the wall clock stays as wrong as it is. */
  resume(): void {
    if (this.#node === undefined) return;
    this.#heldUpMs -= this.#leftOfPauseMs(this.#node);
    this.#node.resume();
  }

  #leftOfPauseMs({ pausedUntilMs }: SimNode): number {
    return Math.max(0, pausedUntilMs - this.#parts.sim.nowMs);
  }

  /** The wall clock is wrong by so much from now on. */
  setWallOffset(ms: number): void {
    this.#wallOffsetMs = ms;
    if (this.#node !== undefined) this.#node.wallOffsetMs = this.#wallOffsetMs;
  }

  #gone(): void {
    this.resume();
    this.#node?.kill();
    this.#node = undefined;
    this.#process = undefined;
  }

  #startIn(downMs: number): void {
    this.#parts.sim.at(downMs, this.#machine, "start", () => this.start());
  }
}
