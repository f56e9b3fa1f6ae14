/**
 * A remote runner that keeps its side of docs/protocol.md: it goes on with what it has whatever becomes of its streams, and says
 * again what was not answered. Each of its tasks has `entriesPerRun` log entries, which name the fence they were said under.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  AbortReason,
  HeldTaskSchema,
  type RunnerWelcome,
  RunPhase,
  RunRequestSchema,
  type TaskAbort,
  type TaskOffer,
  type TaskWritten,
} from "#gen/stint/v1/runner_pb.js";
import type { ControllerError } from "../../src/controller/error.ts";
import type { Attachment, Refusal, RemoteRunners, RunnerLink } from "../../src/controller/remote-link.ts";
import { helloOf } from "./fake-link.ts";

type Said = Exclude<MessageInitShape<typeof RunRequestSchema>["message"], undefined>;

const entriesPerRun = 4;

interface HeldRun {
  readonly taskId: string;
  readonly fence: bigint;
  phase: RunPhase;
  seq: bigint;
  /** What was not answered. */
  unanswered: Array<{ seq: bigint; message: Said }>;
}

export class HonestRunner {
  /** What was answered with "written", of what it said: "a 5 2" is seq 2 of task a under fence 5. */
  readonly written = new Set<string>();
  /** What was refused, and the aborts. */
  readonly refused: string[] = [];
  readonly #name: string;
  readonly #held = new Map<bigint, HeldRun>();
  #stream: { attachment: Attachment; link: RunnerLink } | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  get isConnected(): boolean {
    return this.#stream !== undefined;
  }

  /** How many messages have no answer yet. */
  get unanswered(): number {
    return [...this.#held.values()].reduce((sum, run) => sum + run.unanswered.length, 0);
  }

  /** Opens a new stream, within its lease. */
  connect(runners: RemoteRunners): void {
    const held = [...this.#held.values()].map(({ taskId, fence, phase }) =>
      create(HeldTaskSchema, { taskId, fence, phase }),
    );
    const queued: Array<() => void> = [];
    let isWelcome = false;
    const after = (step: () => void): void => {
      if (isWelcome) queueMicrotask(step);
      else queued.push(step);
    };
    const link: RunnerLink = {
      keepalive: () => {},
      abort: (abort) => after(() => this.#onAbort(abort)),
      written: (written) => after(() => this.#onWritten(written)),
      refuse: (refusal) => after(() => this.#onRefused(refusal)),
      offer: (load) =>
        after(() => {
          void new Promise<TaskOffer | undefined>((resolve) => resolve(load())).then(
            (offer) => {
              if (offer !== undefined && this.#stream?.link === link) this.#onOffer(offer);
            },
            () => {},
          );
        }),
      close: (error: ControllerError) => {
        this.refused.push(`closed ${error.code}`);
        if (this.#stream?.link === link) this.#stream = undefined;
      },
    };
    const attachment = runners.attach(helloOf(this.#name, { held }), link);
    this.#stream = { attachment, link };
    this.#onWelcome(attachment.welcome);
    isWelcome = true;
    for (const step of queued) step();
  }

  /** The stream breaks: what it was told that it has not seen is lost. */
  breakOff(): void {
    this.#stream?.attachment.detach("broken");
    this.#stream = undefined;
  }

  beAlive(): void {
    this.#say({ case: "keepalive", value: { number: 1n } });
  }

  #onWelcome({ held }: RunnerWelcome): void {
    const kept = new Map(held.map((each) => [each.fence, each.writtenSeq]));
    for (const run of [...this.#held.values()]) {
      const writtenSeq = kept.get(run.fence);
      if (writtenSeq !== undefined) this.#answered(run, writtenSeq);
      // What is not kept is said again, too: its end may be on disk.
      for (const { message } of [...run.unanswered]) this.#say(message);
    }
  }

  #onOffer({ taskId, fence, phase }: TaskOffer): void {
    const known = this.#held.get(fence);
    const run = known ?? { taskId, fence, phase, seq: 0n, unanswered: [] };
    if (known !== undefined && (known.phase === phase || phase === RunPhase.PENDING)) return;
    this.#held.set(fence, run);
    run.phase = phase;
    this.#say({ case: "accept", value: { taskId, fence, phase } });
    if (phase === RunPhase.RUNNING) for (let i = 0; i < entriesPerRun; i += 1) this.#write(run, i);
    this.#end(run, phase);
  }

  #write(run: HeldRun, current: number): void {
    const { taskId, fence } = run;
    const seq = (run.seq += 1n);
    const entries = [{ msg: `${fence} ${seq}`, level: 0 }];
    const progress = { current: BigInt(current) };
    this.#sayOnce(run, seq, { case: "write", value: { taskId, fence, seq, progress, entries } });
  }

  #end(run: HeldRun, phase: RunPhase): void {
    const { taskId, fence } = run;
    const seq = (run.seq += 1n);
    const outcome = { case: "done" as const, value: { result: `"${fence}"` } };
    this.#sayOnce(run, seq, { case: "end", value: { taskId, fence, seq, phase, outcome } });
  }

  #sayOnce(run: HeldRun, seq: bigint, message: Said): void {
    run.unanswered.push({ seq, message });
    this.#say(message);
  }

  #say(message: Said): void {
    void this.#stream?.attachment.receive(create(RunRequestSchema, { message }));
  }

  #answered(run: HeldRun, seq: bigint): void {
    for (const each of run.unanswered.filter((said) => said.seq <= seq)) {
      this.written.add(`${run.taskId} ${run.fence} ${each.seq}`);
    }
    run.unanswered = run.unanswered.filter((said) => said.seq > seq);
  }

  #onWritten({ fence, seq }: TaskWritten): void {
    const run = this.#held.get(fence);
    if (run === undefined) return;
    this.#answered(run, seq);
    // The end of RUNNING is the last that is said under a fence.
    if (run.phase === RunPhase.RUNNING && run.unanswered.length === 0) this.#held.delete(fence);
  }

  #onRefused({ taskId, fence, seq, error }: Refusal): void {
    this.refused.push(`${taskId} ${fence} ${seq} ${error.details.reason ?? error.code}`);
    this.#held.delete(fence);
  }

  #onAbort({ fence, reason }: TaskAbort): void {
    const run = this.#held.get(fence);
    // What was not answered is said all the same, and then it is dropped.
    if (reason === AbortReason.LOST_FENCE && run?.unanswered.length === 0) this.#held.delete(fence);
  }
}
