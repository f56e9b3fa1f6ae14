/**
 * An end that a remote runner is told of: the offer of its phase COMPLETED. It counts as told when the runner has ended the
 * phase, however, or when that took too long; not when the runner's stream is gone before.
 */
import { type PhaseEnd, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { completedTimeoutMs, type EndToTell } from "./host.ts";
import { Countdown, type Tick } from "./remote-lease.ts";
import type { LoadOffer, RunnerLink } from "./remote-link.ts";
import { offerOf, writtenOf } from "./remote-words.ts";

type TellingOutcome = "told" | "late" | "released" | "gone";

export class RemoteTelling {
  /** Settles when the end was told, was given back, or cannot be told on this stream any more. */
  readonly outcome: Promise<TellingOutcome>;
  readonly #end: EndToTell;
  readonly #link: RunnerLink;
  readonly #time: Countdown;
  #settle: (outcome: TellingOutcome) => void = () => {};
  #isOver = false;

  /** Offers it on the link. */
  constructor(end: EndToTell, options: { link: RunnerLink; nowMs: number }) {
    this.#end = end;
    this.#link = options.link;
    this.#time = new Countdown(completedTimeoutMs, options.nowMs);
    this.outcome = new Promise((resolve) => (this.#settle = resolve));
    this.#link.offer(() => this.#loadOffer());
  }

  get taskId(): string {
    return this.#end.task.taskId;
  }

  get fence(): bigint {
    return this.#end.endRevision;
  }

  /** The runner has ended the phase. */
  end({ taskId, fence, seq, outcome }: PhaseEnd): void {
    this.#link.written(writtenOf(taskId, fence, seq));
    this.#finish(outcome.case === "released" ? "released" : "told");
  }

  /** The stream is over, or the controller closes. */
  gone(): void {
    this.#finish("gone");
  }

  tick(tick: Tick): void {
    if (this.#time.count(tick)) this.#finish("late");
  }

  spare(): void {
    this.#time.spare();
  }

  #finish(outcome: TellingOutcome): void {
    this.#isOver = true;
    this.#settle(outcome);
  }

  #loadOffer(): ReturnType<LoadOffer> {
    if (this.#isOver) return undefined;
    const { task, status, endRevision: fence } = this.#end;
    const { runId, attempt } = status;
    const named = { taskId: task.taskId, runId, phase: RunPhase.COMPLETED, attempt, fence };
    const whole = task.loadStatus();
    return whole instanceof Promise ? whole.then((read) => offerOf(named, read)) : offerOf(named, whole);
  }
}

/** The ends that an instance is told of just now, by their fences. */
export class RemoteTellings {
  readonly #tellings = new Map<bigint, RemoteTelling>();

  get size(): number {
    return this.#tellings.size;
  }

  find({ taskId, fence }: { readonly taskId: string; readonly fence: bigint }): RemoteTelling | undefined {
    const telling = this.#tellings.get(fence);
    return telling?.taskId === taskId ? telling : undefined;
  }

  /** Tells of an end on the link. */
  async tell(end: EndToTell, options: { link: RunnerLink; nowMs: number }): Promise<TellingOutcome> {
    const telling = new RemoteTelling(end, options);
    this.#tellings.set(telling.fence, telling);
    try {
      return await telling.outcome;
    } finally {
      if (this.#tellings.get(telling.fence) === telling) this.#tellings.delete(telling.fence);
    }
  }

  tick(tick: Tick): void {
    for (const telling of this.#tellings.values()) telling.tick(tick);
  }

  spare(): void {
    for (const telling of this.#tellings.values()) telling.spare();
  }

  /** The stream is over: none of them goes on. */
  gone(): void {
    for (const telling of this.#tellings.values()) telling.gone();
    this.#tellings.clear();
  }
}
