/**
 * All the remote runners of a controller, as its host: hands out their seats, and counts the time of their leases.
 *
 * 1. An offer is on disk before it is sent, and a runner is told nothing about a run before the commit that it tells of.
 * 2. The oldest task goes to the runner with the most free capacity in proportion; between equals, to the one that was given a seat
 *    the longest time ago. So one of little capacity gets its share beside one of much.
 * 3. A lease is judged over only after a tick in which the sockets could be read (remote-lease.ts), and never while the server does not
 *    serve or its store fails.
 * 4. Closing changes no lease: what a runner has it has after the next opening, for its whole time again.
 */
import type { PhaseEnd, RunnerHello, RunRequest, TaskWrite } from "#gen/stint/v1/runner_pb.js";
import { RecentMap } from "../async/recent-map.ts";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import { storeUnavailable } from "./commit.ts";
import { ControllerError, invalidArgument, limitError } from "./error.ts";
import type { EndToTell, HeldLease, Host, Seat } from "./host.ts";
import { RemoteInstance } from "./remote-instance.ts";
import { type Tick, Ticker } from "./remote-lease.ts";
import type { Attachment, Detachment, RemoteOptions, RemoteRunners, RunnerLink } from "./remote-link.ts";
import type { InstancePorts, RefusedMessage } from "./remote-holder.ts";
import { describeWaiting } from "./remote-words.ts";
import type { StoreGuard } from "./store-guard.ts";

/** What the host needs of the controller that it is of. */
export interface RemoteHostPorts {
  isOnDisk(said: TaskWrite | PhaseEnd): Promise<boolean | undefined>;
  noteRejected(refused: RefusedMessage, runner: string): Promise<void> | undefined;
  /** Ends that were kept can be told from now on. */
  onTeller(): void;
}

export interface RemoteHostOptions extends RemoteOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly guard: StoreGuard;
  readonly activeMax: number;
}

/** A run that is under its fence no more. */
interface PastRun {
  readonly taskId: string;
  readonly attempt: number;
  /** Up to this seq its runner was answered, having ended it; 0n where it was lost. */
  readonly answered: bigint;
}

/** The version of the protocol (docs/protocol.md) that is spoken. */
const protocolVersion = 1;
const pastMin = 1_024;

export class RemoteHost implements Host, RemoteRunners {
  readonly kind = "remote";
  readonly isIsolated = true;
  readonly #options: RemoteHostOptions;
  readonly #instances = new Map<string, RemoteInstance>();
  readonly #ticker: Ticker;
  /**
   * The runs that were under fences which no run has any more: twice as many as can be active, about, as a runner that comes back may say the ends of all
   * again. What is said of one that is not in it any more is looked up on disk.
   */
  readonly #past: RecentMap<bigint, PastRun>;
  readonly #ports: RemoteHostPorts;
  #onSeat: () => void = () => {};
  #seatings = 0;
  #couldTell = false;
  #isOpen = false;
  #isClosed = false;

  constructor(options: RemoteHostOptions, ports: RemoteHostPorts) {
    this.#options = options;
    this.#ports = ports;
    const { leaseMs, clock, guard, activeMax } = options;
    this.#past = new RecentMap({ maxEntries: Math.max(pastMin, 2 * activeMax), maxWeight: Infinity, weigh: () => 1 });
    const isServing = (): boolean => this.#isOpen && guard.healthy && (options.isServing?.() ?? true);
    this.#ticker = new Ticker({ leaseMs, clock, isServing, onTick: (tick) => this.#tick(tick) });
  }

  get connected(): number {
    let count = 0;
    for (const { link } of this.#instances.values()) if (link !== undefined) count += 1;
    return count;
  }

  get known(): number {
    return this.#instances.size;
  }

  get canTell(): boolean {
    for (const { listens } of this.#instances.values()) if (listens) return true;
    // That nobody wants to know can be said as soon as somebody is there.
    return this.connected > 0 && !this.#isWanted;
  }

  /** Some runner, if it is connected or not, asked to be told of ends, or may ask when it comes back. */
  get #isWanted(): boolean {
    for (const { wantsCompleted } of this.#instances.values()) if (wantsCompleted !== false) return true;
    return false;
  }

  /** The controller is open: leases run from now on. */
  open(): void {
    this.#isOpen = true;
  }

  whatIsWaitedFor(): string {
    return describeWaiting([...this.#instances.values()].filter(({ link }) => link !== undefined));
  }

  takeSeat(): Seat | undefined {
    let best: RemoteInstance | undefined;
    let bestPart = 0;
    let seated = 0;
    for (const instance of this.#instances.values()) {
      const { freePart } = instance;
      seated += instance.seated;
      if (freePart < bestPart || freePart === 0) continue;
      if (best !== undefined && freePart === bestPart && instance.seatedAt > best.seatedAt) continue;
      best = instance;
      bestPart = freePart;
    }
    if (best === undefined || this.#isClosed || seated >= this.#options.activeMax) return undefined;
    best.seatedAt = this.#seatings += 1;
    return best.takeSeat("reserved");
  }

  recall({ instanceId, runner }: HeldLease): Seat | undefined {
    if (this.#isClosed) return undefined;
    const instance = this.#instances.get(instanceId) ?? this.#add({ instanceId, runner });
    return instance.takeSeat("recalled");
  }

  onSeat(listener: () => void): void {
    this.#onSeat = listener;
  }

  keepsEnd({ attempt, seat }: { readonly attempt: number; readonly seat: Seat | undefined }): boolean {
    // A run that was never offered is in its first attempt still.
    if (seat === undefined && attempt <= 1) return false;
    return this.#isWanted || this.connected === 0;
  }

  async tellEnd(end: EndToTell): Promise<"told" | "kept"> {
    while (!this.#isClosed) {
      const listener = this.#listenerFor(end.seat);
      if (listener === undefined) return this.canTell ? "told" : "kept";
      if ((await listener.tell(end)) === "told") return "told";
    }
    return "kept";
  }

  /** The one that had the run, or else the one that is told the fewest just now. */
  #listenerFor(seat: Seat | undefined): RemoteInstance | undefined {
    const own = seat === undefined ? undefined : this.#instances.get(seat.instanceId);
    if (own?.listens === true) return own;
    let fewest: RemoteInstance | undefined;
    for (const each of this.#instances.values()) {
      if (each.listens && each.tellings < (fewest?.tellings ?? Infinity)) fewest = each;
    }
    return fewest;
  }

  attach(hello: RunnerHello, link: RunnerLink): Attachment {
    this.#checkHello(hello);
    const instance = this.#instances.get(hello.instanceId) ?? this.#add(hello);
    const welcome = instance.attach(hello, link);
    this.#changed();
    this.#onSeat();
    const isCurrent = (): boolean => instance.link === link;
    return {
      welcome,
      receive: (message: RunRequest) => (isCurrent() ? instance.receive(message) : undefined),
      holdBack: (isHeldBack: boolean) => {
        if (isCurrent()) instance.holdBack(isHeldBack);
      },
      detach: (how: Detachment) => {
        if (instance.detach(link, how)) this.#remove(instance);
        this.#changed();
      },
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#ticker.stop();
    const error = this.#closedError();
    for (const instance of this.#instances.values()) instance.close(error);
  }

  #checkHello({ instanceId, capacity, protocolVersion: version }: RunnerHello): void {
    const { guard, runnerCapacityMax, runnersMax } = this.#options;
    if (this.#isClosed) throw this.#closedError();
    if (version !== protocolVersion) {
      throw new ControllerError(
        "FAILED_PRECONDITION",
        `the runner speaks version ${version} of the protocol, and this server version ${protocolVersion}`,
      );
    }
    if (capacity < 1 || capacity > runnerCapacityMax) {
      throw invalidArgument([{ field: "hello.capacity", description: `must be from 1 to ${runnerCapacityMax}` }]);
    }
    if (!guard.healthy) throw storeUnavailable(guard.failure);
    if (this.#instances.has(instanceId) || this.#instances.size < runnersMax) return;
    throw limitError("runners_max", runnersMax, `this controller has ${runnersMax} runners, which is the limit`, 5_000);
  }

  #closedError(): ControllerError {
    return new ControllerError("UNAVAILABLE", `the controller "${this.#options.name}" closes; try again`, {
      reason: "DRAINING",
      retryDelayMs: 1_000,
    });
  }

  #add(name: { readonly instanceId: string; readonly runner: string }): RemoteInstance {
    const { leaseMs, clock, faults } = this.#options;
    const ports: InstancePorts = {
      leaseMs,
      nowMs: () => clock.mono(),
      onSeat: () => this.#onSeat(),
      onHeard: () => this.#changed(),
      isOnDisk: async (said) => {
        const past = this.#past.get(said.fence);
        if (past?.taskId === said.taskId && said.seq <= past.answered) return true;
        return this.#ports.isOnDisk(said);
      },
      onDrop: ({ taskId, attempt }, fence, answered) => this.#past.set(fence, { taskId, attempt, answered }),
      noteRejected: (refused, runner) => {
        const { taskId } = refused;
        faults.note("stale_writes_refused", { taskId, runner }, "a runner said something of a run that it has no more");
        const attempt = refused.attempt > 0 ? refused.attempt : (this.#past.get(refused.fence)?.attempt ?? 0);
        return this.#ports.noteRejected({ ...refused, attempt }, runner);
      },
      onLapse: ({ runner, seated: tasks }) => {
        const what = tasks === 0 ? "it had no tasks" : "its tasks are its own no more";
        faults.note("leases_expired", { runner, tasks }, `the lease of a runner is over; ${what}`);
      },
      onToldBadly: (fields, message) => faults.note("completions_failed", fields, message),
    };
    const instance = new RemoteInstance(name, ports);
    this.#instances.set(name.instanceId, instance);
    this.#ticker.start();
    return instance;
  }

  #remove(instance: RemoteInstance): void {
    if (this.#instances.get(instance.instanceId) === instance) this.#instances.delete(instance.instanceId);
    if (this.#instances.size === 0) this.#ticker.stop();
  }

  #tick(tick: Tick): void {
    for (const instance of [...this.#instances.values()]) if (instance.tick(tick)) this.#remove(instance);
    this.#changed();
  }

  /** A runner has come or gone, or is heard again. */
  #changed(): void {
    const { canTell } = this;
    const isNew = canTell && !this.#couldTell;
    this.#couldTell = canTell;
    if (isNew) this.#ports.onTeller();
  }
}
