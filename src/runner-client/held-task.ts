/**
 * A task in the hands of a runner, as its session knows it, by its fence.
 *
 * offered -> working -> ending -> over, or, where a done PENDING has ended, between -> offered (RUNNING) -> working -> ...
 *
 * 1. What was said and not answered is kept, in order, to be sent again.
 * 2. It counts as held from its acceptance in PENDING to the answer to its last end. An offer of COMPLETED is never held.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type HeldTaskSchema, type PhaseEnd, RunPhase, type RunRequest } from "#gen/stint/v1/runner_pb.js";

/** Something that has a seq. */
export type SaidMessage = Extract<RunRequest["message"], { case: "write" | "end" }>;

export class HeldTask {
  readonly taskId: string;
  readonly fence: bigint;
  phase: RunPhase;
  stage: "offered" | "working" | "ending" | "between" = "offered";
  /** Stops the timer after which a task whose next phase does not come is forgotten. */
  stopTimer: () => void = () => {};

  #unanswered: SaidMessage[] = [];
  #end: PhaseEnd | undefined;

  constructor(offer: { readonly taskId: string; readonly fence: bigint; readonly phase: RunPhase }) {
    this.taskId = offer.taskId;
    this.fence = offer.fence;
    this.phase = offer.phase;
  }

  get unanswered(): readonly SaidMessage[] {
    return this.#unanswered;
  }

  get isHeld(): boolean {
    if (this.phase === RunPhase.COMPLETED) return false;
    return this.phase === RunPhase.RUNNING || this.stage !== "offered";
  }

  /** The end under way is the last that is said of it: its answer tells what became of the task. */
  get isLeaving(): boolean {
    return this.#end !== undefined && !this.#leadsOn;
  }

  get #leadsOn(): boolean {
    return this.phase === RunPhase.PENDING && this.#end?.outcome.case === "done";
  }

  /** As a hello lists it. The next phase is its own only when it was accepted. */
  describe(): MessageInitShape<typeof HeldTaskSchema> {
    const phase = this.stage === "offered" ? RunPhase.PENDING : this.phase;
    return { taskId: this.taskId, fence: this.fence, phase };
  }

  offerNext(): void {
    this.stopTimer();
    this.phase = RunPhase.RUNNING;
    this.stage = "offered";
    this.#unanswered = [];
    this.#end = undefined;
  }

  say(said: SaidMessage): void {
    this.#unanswered.push(said);
    if (said.case !== "end") return;
    this.#end = said.value;
    this.stage = "ending";
  }

  /** Everything up to `seq` was answered. Tells whether the phase has ended by that, and leads on to the next or not. */
  answer(seq: bigint): "goes on" | "between" | "over" {
    this.#unanswered = this.#unanswered.filter(({ value }) => value.seq > seq);
    if (this.#end === undefined || seq < this.#end.seq) return "goes on";
    const outcome = this.#leadsOn ? "between" : "over";
    this.#end = undefined;
    if (outcome === "between") this.stage = "between";
    return outcome;
  }

  /** What was said under `seq` was refused, and the task goes on: where it was the end, there will be another. */
  refuse(seq: bigint): void {
    this.#unanswered = this.#unanswered.filter(({ value }) => value.seq !== seq);
    if (this.#end?.seq !== seq) return;
    this.#end = undefined;
    this.stage = "working";
  }
}
