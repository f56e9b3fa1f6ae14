/** What fails in a world, and when. It counts what really did. */
import { taskKey } from "../../src/store/keys.ts";
import { controllerName, type Ledger } from "./ledger.ts";
import type { Network } from "./network.ts";
import type { FaultKind, Plan, PlannedFault } from "./plan.ts";
import type { SimRunner } from "./remote-runner.ts";
import type { Server } from "./server.ts";
import type { Sim, SimNode } from "./sim.ts";
import type { DiskFault, DiskPorts, SimDisk } from "./sim-disk.ts";

/** What can fail; it is there once the faults are begun. */
export interface Fallible {
  readonly disk: SimDisk;
  readonly server: Server;
  readonly runners: readonly SimRunner[];
  readonly tasks: number;
  readonly ledger: Ledger;
}

/** "torn": a power cut took what was written and not synced. */
export type Fired = Partial<Record<FaultKind | "torn", number>>;

/** How long the disk takes at most. */
const workMaxMs = { read: 0.5, write: 1, sync: 4, hang: 4_000 };
const diskWorks = ["read", "write", "sync"] as const;
const slowFactor = 100;
/** How long a server lives in which a run lost its fence. */
const voidMs = 20;
/** Request ids are remembered for 24 h on the wall clock: it does not jump over them. */
const wallRangeMs = 22 * 3_600_000;
const yearsRangeMs = 20 * 365 * 24 * 3_600_000;

export class Faults {
  readonly fired: Fired = {};
  readonly #sim: Sim;
  readonly #network: Network;
  /** What the next commits meet. */
  readonly #ofDisk: DiskFault[] = [];
  #slowUntilMs = 0;
  /** The server dies while the disk does the next work of this kind. */
  #deathAt: { kind: "crash" | "power cut"; downMs: number; work: (typeof diskWorks)[number] } | undefined;
  /** The run of this task loses its fence while the disk writes next. */
  #voidAt: { taskId: string; downMs: number } | undefined;
  #fallible: Fallible | undefined;

  constructor(sim: Sim, network: Network) {
    this.#sim = sim;
    this.#network = network;
  }

  /** The world's disk takes its time from these, and its failures. */
  diskPorts(): DiskPorts {
    const random = this.#sim.random.fork();
    return {
      delay: (user, work) => {
        const slow = work !== "hang" && this.#sim.nowMs < this.#slowUntilMs ? slowFactor : 1;
        const ms = random.fraction() * workMaxMs[work] * slow;
        if (this.#deathAt?.work === work) {
          const { kind, downMs } = this.#deathAt;
          this.#deathAt = undefined;
          this.#sim.at(ms * random.fraction(), this.#network.node, kind, () => this.#kill(kind, downMs));
        }
        if (work === "write" && this.#voidAt !== undefined) {
          const { taskId, downMs } = this.#voidAt;
          this.#sim.at(ms * random.fraction(), this.#network.node, "void", () => void this.#void(taskId, downMs));
        }
        return new Promise((resolve) => this.#sim.at(ms, user as SimNode, work, resolve));
      },
      nextFault: () => {
        const fault = this.#fallible?.disk.isFull === true ? "full" : this.#ofDisk.shift();
        if (fault !== undefined) this.#count(fault);
        return fault;
      },
      choose: (max) => random.int(0, max),
    };
  }

  /** From now on what is planned happens. */
  begin(plan: Plan, fallible: Fallible): void {
    this.#fallible = fallible;
    for (const fault of plan.faults) {
      if (plan.without.includes(fault.kind)) continue;
      this.#sim.at(fault.atMs, this.#network.node, fault.kind, () => this.#strike(fault, fallible));
    }
  }

  /** Everything is sound from now on. */
  heal(): void {
    this.#ofDisk.length = 0;
    this.#deathAt = undefined;
    this.#voidAt = undefined;
    this.#slowUntilMs = 0;
    this.#network.heal();
    if (this.#fallible === undefined) return;
    const { disk, server, runners } = this.#fallible;
    disk.isFull = false;
    server.resume();
    for (const runner of runners) runner.resume();
  }

  #strike({ kind, ms, which }: PlannedFault, { disk, server, runners, tasks, ledger }: Fallible): void {
    const { random } = this.#sim;
    const one = runners[which % Math.max(1, runners.length)];
    switch (kind) {
      case "refused":
      case "lost":
      case "applied":
      case "hang":
        return void this.#ofDisk.push(kind);
      case "full":
        disk.isFull = true;
        return void this.#sim.at(ms, this.#network.node, "room again", () => (disk.isFull = false));
      case "slow":
        this.#slowUntilMs = this.#sim.nowMs + ms;
        return this.#count(kind);
      case "crash":
      case "power cut":
        // Now, or in the midst of what the disk does next; what tells a power cut from the death of a process is not synced yet.
        if (random.chance(0.2)) return this.#kill(kind, ms / 4);
        this.#deathAt = { kind, downMs: ms / 4, work: kind === "crash" ? random.pick(diskWorks) : "sync" };
        return;
      case "rot":
        // What a process has read it does not read again: the damage is found by the next one.
        return this.#rot(`t${which % tasks}`, ms, { disk, server, ledger });
      case "close":
        return this.#countIf(kind, server.close(ms / 4));
      case "pause":
        return this.#countIf(kind, server.pause(ms * 2));
      case "cut":
        this.#network.cutAll();
        return this.#count(kind);
      case "loss":
        this.#network.loseSome(ms);
        return this.#count(kind);
      case "jump":
        server.setWallOffset((random.fraction() - 0.5) * wallRangeMs);
        return this.#count(kind);
      case "years":
        // Ended tasks and request ids may be forgotten by it: less can be said of what becomes of a launch.
        ledger.hasForgotten = true;
        server.setWallOffset((random.fraction() - 0.5) * yearsRangeMs);
        return this.#count(kind);
      case "void":
        // While the disk writes: a fence that was looked at before may be another's by the time of the commit.
        this.#voidAt = { taskId: `t${which % tasks}`, downMs: ms / 4 };
        return;
      case "runner crash":
        return this.#countIf(kind, one?.crash(ms) === true);
      case "runner pause":
        return this.#countIf(kind, one?.pause(ms * 5) === true);
    }
  }

  #rot(taskId: string, downMs: number, { disk, server, ledger }: Pick<Fallible, "disk" | "server" | "ledger">): void {
    const version = ledger.task(taskId);
    if (version === undefined || !server.crash("process", downMs / 4).died) return;
    ledger.rots(taskId, version.revision);
    disk.rot(taskKey(controllerName, taskId), version.revision);
    this.#count("rot");
  }

  /** The fence of a run is taken away, as who hosts it elsewhere would, and the server does not live long after that. */
  async #void(taskId: string, downMs: number): Promise<void> {
    const { disk, server, ledger } = this.#fallible ?? {};
    if (this.#voidAt?.taskId !== taskId || server?.process === undefined || ledger?.isRotten(taskId) !== false) return;
    const changes = ledger.voiding(taskId);
    if (changes === undefined) return;
    this.#voidAt = undefined;
    this.#count("void");
    this.#sim.at(voidMs, this.#network.node, "crash", () => this.#kill("crash", downMs));
    await disk?.synced.commit(changes);
  }

  #kill(kind: "crash" | "power cut", downMs: number): void {
    const crash = this.#fallible?.server.crash(kind === "crash" ? "process" : "power", downMs);
    if (crash?.died === true) this.#count(kind);
    if ((crash?.lost ?? 0) > 0) this.#count("torn");
  }

  #count(kind: FaultKind | "torn"): void {
    this.fired[kind] = (this.fired[kind] ?? 0) + 1;
  }

  #countIf(kind: FaultKind, did: boolean): void {
    if (did) this.#count(kind);
  }
}
