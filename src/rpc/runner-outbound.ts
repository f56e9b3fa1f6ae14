/**
 * What a runner is told on its stream, in the order that docs/protocol.md promises: keepalives and aborts, then answers, then offers.
 * It owns the queues of one stream, which is pulled from at the pace of whoever reads it.
 *
 * States: open -> ending (what was queued is still sent) -> over.
 *
 * 1. Of several aborts of a fence the last counts, and so of several `written`: who reads slowly is told less, and nothing that is wrong. A
 *    `written` comes after the refusals before it, which it covers.
 * 2. An offer is loaded when its turn has come, so that it tells of the task as it is then. Nothing else waits for that.
 * 3. So many answers wait at most, and no more: the runner does not read, its stream is over, and what waited is dropped.
 * 4. After its end it is told nothing more, and `onEnd` was called once.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { StatusSchema } from "#gen/google/rpc/status_pb.js";
import {
  type RunnerKeepalive,
  type RunResponse,
  RunResponseSchema,
  type TaskAbort,
  type TaskOffer,
  type TaskWritten,
} from "#gen/stint/v1/runner_pb.js";
import { type ControllerError, limitError } from "../controller/error.ts";
import type { Refusal, RunnerLink } from "../controller/remote-link.ts";
import { raceSignal } from "./call.ts";
import { runnerLimits } from "./runner-limits.ts";

const { runnerUnreadMax: unreadMax } = runnerLimits;

export interface OutboundOptions {
  /** The status of a refusal. */
  readonly toStatus: (error: ControllerError) => MessageInitShape<typeof StatusSchema>;
  /** An offer could not be loaded; it lapses. */
  readonly onUnloadable: (error: unknown) => void;
  /** Nothing more is taken. */
  readonly onEnd: () => void;
}

type Load = () => Promise<TaskOffer | undefined>;
type Message = Exclude<MessageInitShape<typeof RunResponseSchema>["message"], undefined>;

export class RunnerOutbound implements RunnerLink {
  readonly #options: OutboundOptions;
  /** By what they are about, in the order in which they are sent. */
  readonly #urgent = new Map<string, Message>();
  readonly #answers = new Map<string, Message>();
  readonly #offers: Load[] = [];
  #loaded: TaskOffer | undefined;
  #isLoading = false;
  /** With what the stream ends. */
  #end: { readonly error: Error | undefined } | undefined;
  #count = 0;
  #wake: () => void = () => {};

  constructor(options: OutboundOptions) {
    this.#options = options;
  }

  keepalive(answer: RunnerKeepalive): void {
    this.#add(this.#urgent, `keepalive ${(this.#count += 1)}`, { case: "keepalive", value: answer });
  }

  abort(abort: TaskAbort): void {
    this.#add(this.#urgent, `abort ${abort.taskId} ${abort.fence}`, { case: "abort", value: abort });
  }

  written(written: TaskWritten): void {
    this.#add(this.#answers, `written ${written.taskId} ${written.fence}`, { case: "written", value: written });
  }

  refuse({ error, ...named }: Refusal): void {
    const value = { ...named, error: this.#options.toStatus(error) };
    this.#add(this.#answers, `refused ${(this.#count += 1)}`, { case: "refused", value });
  }

  offer(load: Load): void {
    if (this.#end !== undefined) return;
    this.#offers.push(load);
    this.#wake();
  }

  close(error: Error): void {
    this.#finish({ error });
  }

  /** Ends the stream with OK, after what was queued before. */
  finish(): void {
    this.#finish({ error: undefined });
  }

  /** What is to be sent, as it comes. Ends as the stream is to end; throws the signal's reason when that is aborted and nothing is queued. */
  async *messages(signal: AbortSignal): AsyncGenerator<RunResponse> {
    for (;;) {
      const message = this.#take();
      if (message !== undefined) {
        yield create(RunResponseSchema, { message });
        continue;
      }
      if (this.#end !== undefined) {
        if (this.#end.error !== undefined) throw this.#end.error;
        return;
      }
      this.#loadOffer();
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await raceSignal(woken, signal);
    }
  }

  #add(lane: Map<string, Message>, key: string, message: Message): void {
    if (this.#end !== undefined) return;
    lane.delete(key);
    lane.set(key, message);
    if (this.#urgent.size + this.#answers.size > unreadMax) this.#overflow();
    this.#wake();
  }

  #overflow(): void {
    this.#urgent.clear();
    this.#answers.clear();
    this.close(limitError("runner_unread_max", unreadMax, `the runner has left ${unreadMax} messages unread`));
  }

  #finish(end: { readonly error: Error | undefined }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#offers.length = 0;
    this.#loaded = undefined;
    this.#wake();
    this.#options.onEnd();
  }

  #take(): Message | undefined {
    const queued = takeFirst(this.#urgent) ?? takeFirst(this.#answers);
    if (queued !== undefined || this.#loaded === undefined) return queued;
    const value = this.#loaded;
    this.#loaded = undefined;
    return { case: "offer", value };
  }

  /** Loads the next offer, if it is one's turn and none is being loaded. */
  #loadOffer(): void {
    if (this.#isLoading) return;
    const load = this.#offers.shift();
    if (load === undefined) return;
    this.#isLoading = true;
    load()
      .then(
        (offer) => {
          if (this.#end === undefined) this.#loaded = offer;
        },
        (error: unknown) => this.#options.onUnloadable(error),
      )
      .finally(() => {
        this.#isLoading = false;
        this.#wake();
      });
  }
}

function takeFirst(lane: Map<string, Message>): Message | undefined {
  for (const [key, message] of lane) {
    lane.delete(key);
    return message;
  }
  return undefined;
}
