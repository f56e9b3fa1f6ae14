/** All tasks in the hands of a runner, as its session knows them: what becomes of them by what the server and the handlers say. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "#gen/google/rpc/code_pb.js";
import {
  AbortReason,
  type HeldTaskSchema,
  OfferAcceptedSchema,
  RunPhase,
  type RunRequest,
  type RunnerWelcome,
  type TaskAbort,
  type TaskOffer,
  type TaskRefused,
  type TaskWritten,
} from "#gen/stint/v1/runner_pb.js";
import type { Clock } from "../clock.ts";
import { HeldTask, type SaidMessage } from "./held-task.ts";
import { offeredTask } from "./offered-task.ts";
import { logTo, type ToHandlers } from "./thread-messages.ts";
import { nextPhaseMsOf } from "./welcome-times.ts";

export interface HeldTasksPorts {
  readonly clock: Clock;
  /** To the server; where no stream is open it comes to nothing. */
  readonly send: (message: RunRequest["message"]) => void;
  readonly post: (message: ToHandlers) => void;
  /** One was forgotten because nothing more came of it. */
  readonly forgotten: () => void;
}

export class HeldTasks {
  readonly #ports: HeldTasksPorts;
  readonly #tasks = new Map<bigint, HeldTask>();
  #nextPhaseMs = nextPhaseMsOf(undefined);

  constructor(ports: HeldTasksPorts) {
    this.#ports = ports;
  }

  get size(): number {
    return this.#tasks.size;
  }

  /** What a hello lists. */
  describe(): MessageInitShape<typeof HeldTaskSchema>[] {
    return this.#all.filter((task) => task.isHeld).map((task) => task.describe());
  }

  /** Forgets the offers of tasks that no handler has taken, and none is to take. One of RUNNING stays: its task is held, as PENDING. */
  forgetOffers(): void {
    for (const task of this.#all) if (task.stage === "offered" && !task.isHeld) this.#lost(task);
  }

  /** The stream is over: what a task waits for does not come while there is none. */
  disconnected(): void {
    for (const task of this.#all) task.stopTimer();
  }

  /** After a welcome: sends again what was not answered, and drops what is not this runner's any more. */
  reconcile(welcome: RunnerWelcome): void {
    this.#nextPhaseMs = nextPhaseMsOf(welcome);
    const writtenSeqs = new Map(welcome.held.map(({ fence, writtenSeq }) => [fence, writtenSeq]));
    for (const task of this.#all) {
      const seq = writtenSeqs.get(task.fence);
      if (task.stage === "between") this.#awaitNextPhase(task);
      if (seq !== undefined && seq > 0n) this.written({ fence: task.fence, seq });
      for (const said of task.unanswered) this.#ports.send(said);
      if (seq === undefined && task.isHeld) this.#lostUnlessLeaving(task);
    }
  }

  // What the server says.

  offered(offer: TaskOffer, isDraining: boolean): void {
    const task = this.#tasks.get(offer.fence);
    if (task === undefined) {
      if (isDraining) return;
      if (offer.phase === RunPhase.RUNNING) {
        const fields = { taskId: offer.taskId, fence: String(offer.fence) };
        return logTo(this.#ports.post, "warn", fields, "the next phase of a task was offered that is not held");
      }
      this.#tasks.set(offer.fence, new HeldTask(offer));
    } else if (task.phase === offer.phase) {
      // Repeated: the acceptance was lost, or is still to come.
      if (task.stage === "working") this.#sendAccept(task);
      return;
    } else if (offer.phase === RunPhase.RUNNING && task.stage !== "working") {
      task.offerNext();
    } else return;
    this.#ports.post({ type: "offer", offer: offeredTask(offer) });
  }

  written({ fence, seq }: Pick<TaskWritten, "fence" | "seq">): void {
    const task = this.#tasks.get(fence);
    if (task === undefined) return;
    const outcome = task.answer(seq);
    this.#ports.post({ type: "answered", fence, seq });
    if (outcome === "over") this.#forget(task);
    if (outcome === "between") this.#awaitNextPhase(task);
  }

  refused({ fence, seq, error }: TaskRefused): void {
    const task = this.#tasks.get(fence);
    if (task === undefined) return;
    const { code, message } = error ?? { code: Code.UNKNOWN, message: "" };
    if (code !== Code.INVALID_ARGUMENT) return this.#lost(task);
    const fields = { taskId: task.taskId, why: message };
    logTo(this.#ports.post, "warn", fields, "the server refused what was said of a task");
    if (seq === 0n) return;
    task.refuse(seq);
    this.#ports.post({ type: "answered", fence, seq, error: { code, message } });
  }

  aborted({ fence, reason }: TaskAbort): void {
    const task = this.#tasks.get(fence);
    if (task === undefined) return;
    if (reason === AbortReason.LOST_FENCE) return this.#lostUnlessLeaving(task);
    this.#ports.post({ type: "abort", fence, reason });
  }

  loseAll(): void {
    for (const task of this.#all) this.#lost(task);
  }

  // What the handlers say.

  accept(fence: bigint): void {
    const task = this.#tasks.get(fence);
    if (task === undefined) return this.#ports.post({ type: "lost", fence });
    if (task.stage !== "offered") return;
    task.stage = "working";
    this.#sendAccept(task);
  }

  say(said: SaidMessage): void {
    const task = this.#tasks.get(said.value.fence);
    if (task === undefined) return;
    task.say(said);
    this.#ports.send(said);
  }

  /** A task that was canceled while the end of its first phase was on its way has ended by that, and nothing more is said of it. */
  #awaitNextPhase(task: HeldTask): void {
    task.stopTimer = this.#ports.clock.after(this.#nextPhaseMs, () => {
      this.#lost(task);
      this.#ports.forgotten();
    });
  }

  /** A copy: what is done with them takes some away. */
  get #all(): HeldTask[] {
    return [...this.#tasks.values()];
  }

  #sendAccept({ taskId, fence, phase }: HeldTask): void {
    this.#ports.send({ case: "accept", value: create(OfferAcceptedSchema, { taskId, fence, phase }) });
  }

  /** The answer to its last end tells better what became of it than that it is gone. */
  #lostUnlessLeaving(task: HeldTask): void {
    if (!task.isLeaving) this.#lost(task);
  }

  #lost(task: HeldTask): void {
    if (this.#tasks.has(task.fence)) this.#ports.post({ type: "lost", fence: task.fence });
    this.#forget(task);
  }

  #forget(task: HeldTask): void {
    task.stopTimer();
    this.#tasks.delete(task.fence);
  }
}
