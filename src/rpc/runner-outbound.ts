/**
 * What a runner is told on its stream, in the order that docs/protocol.md promises: keepalives and aborts, then answers, then offers.
 * It owns the queues of one stream, which is pulled from at the pace of whoever reads it.
 *
 * States: open -> ending (what was queued is still sent) -> over.
 *
 * 1. Of several aborts of a fence the last counts, and so of several `written`: who reads slowly is told less, and nothing that is wrong. A
 *    `written` comes after the refusals before it, which it covers.
 * 2. An offer is loaded when its turn has come, so that it tells of the task as it is then. Nothing else waits for that. While what is to be
 *    sent is waited for, the next ones follow, as many as are sent at once.
 * 3. So many answers wait at most, and no more: the runner does not read, its stream is over, and what waited is dropped.
 * 4. After its end it is told nothing more, and `onEnd` was called once.
 * 5. What was offered has to be answered: each offer brings room for some messages beside the rate that there is for all others.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { StatusSchema } from "#gen/google/rpc/status_pb.js";
import {
  type RunnerKeepalive,
  type RunResponse,
  type TaskAbort,
  type TaskOffer,
  TaskRefusedSchema,
  type TaskWritten,
} from "#gen/stint/v1/runner_pb.js";
import { type ControllerError, limitError } from "../controller/error.ts";
import type { LoadOffer, Refusal, RunnerLink } from "../controller/remote-link.ts";
import { raceSignal } from "./call.ts";
import { runnerLimits } from "./runner-limits.ts";

const { runnerUnreadMax: unreadMax, messagesForEachOffer, allowanceMax } = runnerLimits;
/** Messages that are sent at once. */
const batchMax = 256;
/** Offers among them, as many as may be under way, and from how much of their texts on there are no more: one may have some hundred KiB. */
const loadedMax = 64;
const loadedMaxUnits = 64 * 1024;

export interface OutboundOptions {
  /** The status of a refusal. */
  readonly toStatus: (error: ControllerError) => MessageInitShape<typeof StatusSchema>;
  /** An offer could not be loaded; it lapses. */
  readonly onUnloadable: (error: unknown) => void;
  /** Nothing more is taken. */
  readonly onEnd: () => void;
}

type Message = RunResponse["message"];

export class RunnerOutbound implements RunnerLink {
  readonly #options: OutboundOptions;
  /** By their run where another of the same run takes their place, and by a number where none does, in the order in which they are sent. */
  readonly #urgent = new Map<string | number, Message>();
  readonly #answers = new Map<string | number, Message>();
  readonly #offers: LoadOffer[] = [];
  #loaded: TaskOffer[] = [];
  /** The length of their texts. */
  #loadedUnits = 0;
  #isLoading = false;
  /** Somebody waits for what is to be sent. */
  #isPulled = false;
  /** How many messages it may say beside its rate. */
  #allowance = 0;
  /** With what the stream ends. */
  #end: { readonly error: Error | undefined } | undefined;
  #count = 0;
  #wake: () => void = () => {};

  constructor(options: OutboundOptions) {
    this.#options = options;
  }

  keepalive(answer: RunnerKeepalive): void {
    this.#add(this.#urgent, (this.#count += 1), { case: "keepalive", value: answer });
  }

  abort(abort: TaskAbort): void {
    this.#add(this.#urgent, runKey(abort), { case: "abort", value: abort });
  }

  written(written: TaskWritten): void {
    this.#add(this.#answers, runKey(written), { case: "written", value: written });
  }

  refuse({ error, ...named }: Refusal): void {
    const value = create(TaskRefusedSchema, { ...named, error: this.#options.toStatus(error) });
    this.#add(this.#answers, (this.#count += 1), { case: "refused", value });
  }

  offer(load: LoadOffer): void {
    if (this.#end !== undefined) return;
    this.#offers.push(load);
    this.#loadOffers();
    this.#wake();
  }

  close(error: Error): void {
    this.#finish({ error });
  }

  /** Ends the stream with OK, after what was queued before. */
  finish(): void {
    this.#finish({ error: undefined });
  }

  /**
   * What is to be sent, in order, as much at once as there is when `turn` has passed since the first of it came. Ends as the stream is to end; throws
   * the signal's reason when that is aborted and nothing is queued.
   */
  async *batches(signal: AbortSignal, turn: () => Promise<void>): AsyncGenerator<readonly RunResponse[]> {
    for (;;) {
      const batch = this.#takeBatch();
      if (batch.length > 0) {
        yield batch;
        continue;
      }
      if (this.#end !== undefined) {
        if (this.#end.error !== undefined) throw this.#end.error;
        return;
      }
      this.#isPulled = true;
      this.#loadOffers();
      if (this.#loaded.length === 0) await raceSignal(new Promise<void>((resolve) => (this.#wake = resolve)), signal);
      await turn();
      this.#isPulled = false;
    }
  }

  #add(lane: Map<string | number, Message>, key: string | number, message: Message): void {
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
    this.#takeLoaded(loadedMax);
    this.#wake();
    this.#options.onEnd();
  }

  #takeBatch(): RunResponse[] {
    const batch: RunResponse[] = [];
    takeFrom(this.#urgent, batch);
    takeFrom(this.#answers, batch);
    for (const value of this.#takeLoaded(batchMax - batch.length)) {
      this.#allowance = Math.min(this.#allowance + messagesForEachOffer, allowanceMax);
      batch.push(responseOf({ case: "offer", value }));
    }
    return batch;
  }

  #takeLoaded(max: number): readonly TaskOffer[] {
    const taken = this.#loaded.splice(0, max);
    for (const offer of taken) this.#loadedUnits -= unitsOf(offer);
    return taken;
  }

  /** Whether the runner says something that it has room for by what it was offered; if so there is room for one message less. */
  takeAllowance(): boolean {
    if (this.#allowance === 0) return false;
    this.#allowance -= 1;
    return true;
  }

  /**
   * Loads offers whose turn it is, one after the other: all that are at hand, and where something has to be read for one, it while somebody waits for what is to be
   * sent. Those behind it follow.
   */
  #loadOffers(): void {
    while (
      this.#isPulled &&
      !this.#isLoading &&
      this.#loaded.length < loadedMax &&
      this.#loadedUnits < loadedMaxUnits
    ) {
      const load = this.#offers.shift();
      if (load === undefined) return;
      try {
        const loading = load();
        if (loading instanceof Promise) this.#awaitOffer(loading);
        else this.#keep(loading);
      } catch (error) {
        this.#options.onUnloadable(error);
      }
    }
  }

  #awaitOffer(loading: Promise<TaskOffer | undefined>): void {
    this.#isLoading = true;
    loading
      .then(
        (offer) => this.#keep(offer),
        (error: unknown) => this.#options.onUnloadable(error),
      )
      .finally(() => {
        this.#isLoading = false;
        this.#wake();
        this.#loadOffers();
      });
  }

  #keep(offer: TaskOffer | undefined): void {
    if (offer === undefined || this.#end !== undefined) return;
    this.#loaded.push(offer);
    this.#loadedUnits += unitsOf(offer);
  }
}

/** Moves the first messages of a lane, as many as a batch has room for. */
function takeFrom(lane: Map<string | number, Message>, batch: RunResponse[]): void {
  for (const [key, message] of lane) {
    if (batch.length === batchMax) return;
    lane.delete(key);
    batch.push(responseOf(message));
  }
}

/** As `create` makes it, at a fraction of its cost. */
function responseOf(message: Message): RunResponse {
  return { $typeName: "stint.v1.RunResponse", message };
}

function unitsOf({ status }: TaskOffer): number {
  return (status?.metadata.length ?? 0) + (status?.result?.length ?? 0);
}

/** A runner may name another task under a fence that is another's: what it is told of that is no word of the fence's own. */
function runKey({ taskId, fence }: { readonly taskId: string; readonly fence: bigint }): string {
  return `${fence} ${taskId}`;
}
