/** The stream of a remote runner in the hands of a test: keeps what the controller tells it, and speaks for the runner. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  AbortReason,
  type HeldTask,
  RunnerHelloSchema,
  RunPhase,
  RunRequestSchema,
  type RunnerHello,
  type TaskAbort,
  type TaskOffer,
} from "#gen/stint/v1/runner_pb.js";
import type { ControllerError } from "../../src/controller/error.ts";
import type { Attachment, LoadOffer, Refusal, RemoteRunners, RunnerLink } from "../../src/controller/remote-link.ts";

type Said = Exclude<MessageInitShape<typeof RunRequestSchema>["message"], undefined>;
type Outcome = NonNullable<Extract<Said, { case: "end" }>["value"]["outcome"]>;

/** What a message is said about. */
export type Of = Pick<TaskOffer, "taskId" | "fence">;

export function helloOf(instance: string, hello: MessageInitShape<typeof RunnerHelloSchema> = {}): RunnerHello {
  const instanceId = instance.padEnd(16, "-");
  const all = { controller: "tests", runner: instance, instanceId, capacity: 10, protocolVersion: 1, ...hello };
  return create(RunnerHelloSchema, all);
}

export class FakeLink implements RunnerLink {
  /** What it was told, in order: "offer a PENDING 5", "written a 5 1", "refused a 5 1 STALE_FENCE", "abort a 5 CANCEL", "keepalive 1", "closed ABORTED". */
  readonly told: string[] = [];
  readonly offers: TaskOffer[] = [];
  readonly aborts: TaskAbort[] = [];
  readonly refusals: Refusal[] = [];
  closedWith: ControllerError | undefined;
  /** The runner does not read: what it is offered stays in the queue. */
  isStuck = false;
  #attachment: Attachment | undefined;
  /** The last seq under each fence. */
  readonly #seqs = new Map<bigint, bigint>();

  get attachment(): Attachment {
    if (this.#attachment === undefined) throw new Error("the link was not attached");
    return this.#attachment;
  }

  /** What it says it holds when it says hello again. */
  attach(runners: RemoteRunners, hello: RunnerHello): this {
    this.#attachment = runners.attach(hello, this);
    return this;
  }

  get held(): string[] {
    return this.attachment.welcome.held.map(
      ({ taskId, fence, phase, writtenSeq }) => `${taskId} ${fence} ${RunPhase[phase]} ${writtenSeq}`,
    );
  }

  say(message: Said): Promise<void> | undefined {
    return this.attachment.receive(create(RunRequestSchema, { message }));
  }

  keepalive(answer: { number: bigint }): void {
    this.told.push(`keepalive ${answer.number}`);
  }

  abort(abort: TaskAbort): void {
    const { taskId, fence, reason } = abort;
    this.aborts.push(abort);
    this.told.push(`abort ${taskId} ${fence} ${AbortReason[reason]}`);
  }

  written({ taskId, fence, seq }: { taskId: string; fence: bigint; seq: bigint }): void {
    this.told.push(`written ${taskId} ${fence} ${seq}`);
  }

  refuse(refusal: Refusal): void {
    this.refusals.push(refusal);
    const { taskId, fence, seq, error } = refusal;
    this.told.push(`refused ${taskId} ${fence} ${seq} ${error.details.reason ?? error.code}`);
  }

  offer(load: LoadOffer): void {
    if (this.isStuck) return;
    void Promise.resolve(load()).then((offer) => {
      if (offer === undefined) return;
      this.offers.push(offer);
      this.told.push(`offer ${offer.taskId} ${RunPhase[offer.phase]} ${offer.fence}`);
    });
  }

  close(error: ControllerError): void {
    this.closedWith = error;
    this.told.push(`closed ${error.code}`);
  }

  /** Takes what it was told so far. */
  take(): string[] {
    return this.told.splice(0);
  }

  beAlive(): void {
    void this.say({ case: "keepalive", value: { number: 0n } });
  }

  accept({ taskId, fence }: Of, phase: RunPhase = RunPhase.PENDING): Promise<void> | undefined {
    return this.say({ case: "accept", value: { taskId, fence, phase } });
  }

  /** With the next seq, unless one is given. */
  write(of: Of, write: { current?: number; entries?: string[]; seq?: bigint }): Promise<void> | undefined {
    const { taskId, fence } = of;
    const seq = write.seq ?? this.#nextSeq(fence);
    const progress = write.current === undefined ? undefined : { current: BigInt(write.current) };
    const entries = (write.entries ?? []).map((msg) => ({ msg, level: 0 }));
    return this.say({ case: "write", value: { taskId, fence, seq, progress, entries } });
  }

  end(
    of: Of,
    phase: RunPhase,
    outcome: Outcome = { case: "done", value: {} },
    seq?: bigint,
  ): Promise<void> | undefined {
    const { taskId, fence } = of;
    return this.say({ case: "end", value: { taskId, fence, seq: seq ?? this.#nextSeq(fence), phase, outcome } });
  }

  #nextSeq(fence: bigint): bigint {
    const seq = (this.#seqs.get(fence) ?? 0n) + 1n;
    this.#seqs.set(fence, seq);
    return seq;
  }

  aborted({ taskId, fence }: Of, reason = AbortReason.CANCEL): void {
    void this.say({ case: "aborted", value: { taskId, fence, reason } });
  }
}

/** What a runner says in its hello that it has. */
export function heldOf(of: Of, phase: RunPhase): MessageInitShape<typeof RunnerHelloSchema>["held"] {
  const { taskId, fence } = of;
  return [{ taskId, fence, phase } as HeldTask];
}
