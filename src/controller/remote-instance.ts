/**
 * A process that runs tasks of a controller: what it has, the time that its lease has left, and its stream, if there is one.
 *
 *   attached <-> detached -> gone
 *
 * 1. A fence is held by one instance, and a run is in `#seats` from the moment it gets its seat until it is released.
 * 2. It has at most one link; the newest wins, and what an older one still brings is not looked at.
 * 3. The lease is the instance's: every message renews it, and when it is over all its runs are lost. The link stays; who was paused comes
 *    back on it.
 * 4. Its lease stands still while it is not read from.
 * 5. As many new offers are under way as it has shown to take (offer-window.ts): after one that lapsed, and while it gives back what it
 *    takes, none for a pause, and then one. While it is silent for more than one and a half keepalives, drains or has no link, none.
 */
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  type PhaseEnd,
  type RunnerHello,
  type RunnerWelcome,
  RunnerWelcomeSchema,
  type RunRequest,
  type TaskWrite,
} from "#gen/stint/v1/runner_pb.js";
import { ControllerError } from "./error.ts";
import type { EndToTell, Release } from "./host.ts";
import { OfferWindow } from "./offer-window.ts";
import { type InboxOwner, receive } from "./remote-inbox.ts";
import { Countdown, keepaliveMsOf, type Tick } from "./remote-lease.ts";
import type { Detachment, RunnerLink } from "./remote-link.ts";
import type { InstancePorts, RefusedMessage, RunHolder } from "./remote-holder.ts";
import { reconcile } from "./remote-reconcile.ts";
import { RemoteRun } from "./remote-run.ts";
import { type RemoteTelling, RemoteTellings } from "./remote-telling.ts";
import type { Refraining } from "./remote-words.ts";

/** An instance that was silent for more keepalives gets no offers. */
const freshKeepalives = 1.5;

export class RemoteInstance implements RunHolder<RemoteRun>, InboxOwner {
  readonly instanceId: string;
  readonly keepaliveMs: number;
  readonly offerTimeoutMs: number;
  /** When it was given a seat last, as a number that rises. */
  seatedAt = 0;

  readonly #ports: InstancePorts;
  readonly #lease: Countdown;
  readonly #window: OfferWindow;
  readonly #seats = new Set<RemoteRun>();
  /** Those whose first offer was not accepted yet. */
  readonly #unaccepted = new Set<RemoteRun>();
  readonly #runs = new Map<bigint, RemoteRun>();
  readonly #tellings = new RemoteTellings();
  #runner: string;
  #link: RunnerLink | undefined;
  #capacity = 0;
  #wantsCompleted: boolean | undefined;
  #isDraining = false;
  #isHeldBack = false;
  #isLapsed = false;

  constructor(name: { readonly instanceId: string; readonly runner: string }, ports: InstancePorts) {
    this.instanceId = name.instanceId;
    this.#runner = name.runner;
    this.#ports = ports;
    this.keepaliveMs = keepaliveMsOf(ports.leaseMs);
    this.offerTimeoutMs = this.keepaliveMs;
    this.#lease = new Countdown(ports.leaseMs, ports.nowMs());
    this.#window = new OfferWindow(this.offerTimeoutMs);
  }

  get runner(): string {
    return this.#runner;
  }

  get link(): RunnerLink | undefined {
    return this.#link;
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** How many runs are on its seats. */
  get seated(): number {
    return this.#seats.size;
  }

  /** Of how many ends it is told just now. */
  get tellings(): number {
    return this.#tellings.size;
  }

  /** It asked to be told of ends; undefined while it has not said hello in this opening. */
  get wantsCompleted(): boolean | undefined {
    return this.#wantsCompleted;
  }

  /** It can be told of ends just now. */
  get listens(): boolean {
    return this.#link !== undefined && this.#wantsCompleted === true && !this.#isLapsed && !this.#isDraining;
  }

  /** The part of its capacity that is free, if it can be offered something just now; 0 otherwise. */
  get freePart(): number {
    if (this.#link === undefined || this.refrains !== undefined) return 0;
    if (this.#unaccepted.size >= this.#window.size) return 0;
    return Math.max(0, this.#capacity - this.#seats.size) / this.#capacity;
  }

  /** Why it can be offered nothing just now, however much of its capacity is free; undefined where it can. Of one that has a link. */
  get refrains(): Refraining | undefined {
    if (this.#isDraining) return "drains";
    if (this.#isHeldBack || this.#window.size === 0) return "takes none";
    return this.#isFresh ? undefined : "is silent";
  }

  get #isFresh(): boolean {
    return this.#ports.leaseMs - this.#lease.leftMs <= freshKeepalives * this.keepaliveMs;
  }

  nowMs(): number {
    return this.#ports.nowMs();
  }

  takeSeat(state: "reserved" | "recalled"): RemoteRun {
    const run = new RemoteRun(this, state);
    this.#seats.add(run);
    if (state === "reserved") this.#unaccepted.add(run);
    return run;
  }

  /** A stream says hello. What both sides have goes on; what one has alone is lost. */
  attach(hello: RunnerHello, link: RunnerLink): RunnerWelcome {
    this.#link?.close(
      new ControllerError("ABORTED", "the same instance has opened a newer stream", { reason: "CONFLICT" }),
    );
    this.#tellings.gone();
    this.#link = link;
    this.#runner = hello.runner;
    this.#capacity = hello.capacity;
    this.#wantsCompleted = hello.wantsCompleted;
    this.#isHeldBack = false;
    this.#renew();
    return create(RunnerWelcomeSchema, {
      lease: durationFromMs(this.#ports.leaseMs),
      keepalive: durationFromMs(Math.round(this.keepaliveMs)),
      offerTimeout: durationFromMs(Math.round(this.offerTimeoutMs)),
      held: reconcile(this.#runs, hello.held, link),
      protocolVersion: hello.protocolVersion,
    });
  }

  /** The stream `link` is over. True when the instance is to be forgotten. */
  detach(link: RunnerLink, how: Detachment): boolean {
    if (this.#link !== link) return false;
    this.#link = undefined;
    this.#isHeldBack = false;
    this.#tellings.gone();
    if (how === "broken") return false;
    const hasNothing = this.#seats.size === this.#unaccepted.size;
    if (how === "invalid") this.#lapse("resumed: the runner broke the protocol");
    else this.#giveUpOffers("resumed: the runner closed its stream");
    return how === "invalid" || hasNothing;
  }

  /** The service stops to read from it, or reads again. */
  holdBack(isHeldBack: boolean): void {
    if (this.#isHeldBack === isHeldBack) return;
    this.#isHeldBack = isHeldBack;
    if (isHeldBack) return;
    this.#lease.spare();
    for (const run of this.#seats) run.spare();
    this.#tellings.spare();
    this.#ports.onSeat();
  }

  /** True when the instance is to be forgotten. */
  tick(noticed: Tick): boolean {
    const tick = this.#isHeldBack ? { ...noticed, maxMs: 0 } : noticed;
    if (this.#window.tick(tick)) this.#ports.onSeat();
    if (this.#lease.count(tick)) {
      if (!this.#isLapsed) this.#ports.onLapse(this);
      this.#lapse("resumed: the lease of its runner is over");
      if (this.#link === undefined) return true;
    }
    for (const run of this.#seats) run.tick(tick);
    this.#tellings.tick(tick);
    return false;
  }

  /** See Attachment.receive. */
  receive(message: RunRequest): Promise<void> | undefined {
    this.#renew();
    return receive(this, message);
  }

  /** Tells of an end, on the link that it has. */
  async tell(end: EndToTell): Promise<"told" | "gone"> {
    const link = this.#link;
    if (link === undefined) return "gone";
    const outcome = await this.#tellings.tell(end, { link, nowMs: this.nowMs() });
    // Only one that takes no more gives an end back: to another it would come again at once, and again.
    if (outcome === "released") return this.#isDraining ? "gone" : "told";
    if (outcome !== "late") return outcome;
    const named = { taskId: end.task.taskId, runner: this.#runner };
    this.#ports.onToldBadly(named, "a runner took too long to be told of an end; it counts as told");
    return "told";
  }

  /** The controller closes: what it has it keeps. */
  close(error: ControllerError): void {
    for (const run of [...this.#seats]) run.lose("left", "the controller closes");
    this.#tellings.gone();
    this.#link?.close(error);
    this.#link = undefined;
  }

  hold(run: RemoteRun, fence: bigint): void {
    this.#runs.set(fence, run);
  }

  drop(run: RemoteRun, fence: bigint, answered: bigint): void {
    if (this.#runs.get(fence) !== run) return;
    this.#runs.delete(fence);
    this.#ports.onDrop(run, fence, answered);
  }

  accepted(run: RemoteRun): void {
    this.#unaccepted.delete(run);
    this.#window.accepted();
    this.#ports.onSeat();
  }

  offerLapsed(fence: bigint): void {
    this.#window.lapsed(fence, this.nowMs());
  }

  phaseEnds(said: PhaseEnd, isAborted: boolean): void {
    this.#window.phaseEnds(said, { isAborted, nowMs: this.nowMs() });
  }

  released(run: RemoteRun, how: Release): void {
    this.#seats.delete(run);
    this.#unaccepted.delete(run);
    if (how !== "unused" && how !== "left") this.#ports.onSeat();
  }

  refuse(refused: RefusedMessage): Promise<void> | undefined {
    const { taskId, fence, seq, error } = refused;
    this.#link?.refuse({ taskId, fence, seq, error });
    return refused.said && this.#ports.noteRejected(refused, this.#runner);
  }

  drain(): void {
    this.#isDraining = true;
    this.#giveUpOffers("resumed: the runner takes no more tasks");
  }

  findRun({ taskId, fence }: { readonly taskId: string; readonly fence: bigint }): RemoteRun | undefined {
    const run = this.#runs.get(fence);
    return run?.taskId === taskId ? run : undefined;
  }

  findTelling(named: { readonly taskId: string; readonly fence: bigint }): RemoteTelling | undefined {
    return this.#tellings.find(named);
  }

  acceptedLate(fence: bigint): void {
    if (this.#window.acceptedLate(fence)) this.#ports.onSeat();
  }

  isOnDisk(said: TaskWrite | PhaseEnd): Promise<boolean | undefined> {
    return this.#ports.isOnDisk(said);
  }

  toldFailed({ taskId }: RemoteTelling, message: string): void {
    const fields = { taskId, runner: this.#runner, error: message };
    this.#ports.onToldBadly(fields, "a runner failed when it was told of an end");
  }

  #renew(): void {
    const wasFresh = this.#isFresh;
    const wasLapsed = this.#isLapsed;
    this.#lease.renew(this.nowMs());
    this.#isLapsed = false;
    if (!wasFresh) this.#ports.onSeat();
    if (wasLapsed) this.#ports.onHeard();
  }

  #giveUpOffers(why: string): void {
    for (const run of [...this.#unaccepted]) run.lose("lost", why);
  }

  #lapse(why: string): void {
    this.#isLapsed = true;
    for (const run of [...this.#seats]) run.lose("lost", why);
    this.#tellings.gone();
  }
}
