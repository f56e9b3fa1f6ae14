/**
 * What a runner says on its stream: read no faster than it may be said, and no further than what is not on disk yet has room. What answers
 * offers may be said as fast as these come.
 *
 * 1. A message that breaks a rule of the proto is not passed on, and ends the reading with INVALID_ARGUMENT.
 * 2. While it does not read because the runner has sent too much, the controller knows: the runner's lease stands still.
 * 3. The reading ends with OK when the runner has closed its side and all that it had said is answered.
 * 4. However fast one runner says something, the event loop is given to others in between.
 */
import type { DescMessage } from "@bufbuild/protobuf";
import { type RunRequest, RunRequestSchema } from "#gen/stint/v1/runner_pb.js";
import { createGiveWay } from "../async/give-way.ts";
import { createRateLimit } from "../async/rate-limit.ts";
import { type Clock, sleep } from "../clock.ts";
import { invalidArgument } from "../controller/error.ts";
import type { Attachment } from "../controller/remote-link.ts";
import type { MessageReader } from "./batches.ts";
import { abortError, raceSignal } from "./call.ts";
import { checkRules } from "./rules.ts";
import { runnerLimits } from "./runner-limits.ts";

const { runnerUnwrittenMax: unwrittenMax, runnerUnwrittenMaxBytes: unwrittenMaxBytes } = runnerLimits;
/** One that is ahead of the rate by less is not waited for: timers are coarse, and each wait costs something. */
const aheadMs = 50;

export interface InboundOptions {
  readonly attachment: Attachment;
  readonly clock: Clock;
  readonly messagesPerSecondMax: number;
  /** Whether there is room for one more message beside that rate, which is taken by that. */
  readonly takeAllowance: () => boolean;
  /** Ends the reading. */
  readonly signal: AbortSignal;
}

/** Reads all that comes. Rejects with what ends the stream: INVALID_ARGUMENT, the error of a request that cannot be read, or the reason of the signal. */
export async function readMessages(incoming: MessageReader<RunRequest>, options: InboundOptions): Promise<void> {
  const { attachment, clock, messagesPerSecondMax, takeAllowance, signal } = options;
  const unwritten = new Unwritten();
  const overdue = createRateLimit(messagesPerSecondMax, clock);
  const giveWay = createGiveWay(clock);
  for (;;) {
    const received = incoming.take();
    if (received === undefined) {
      if (await raceSignal(incoming.more(), signal)) continue;
      break;
    }
    unwritten.add(received.bytes, attachment.receive(checkMessage(received.message)));
    const wayGiven = giveWay();
    if (wayGiven !== undefined) await wayGiven;
    if (signal.aborted) throw abortError(signal);
    const waitMs = takeAllowance() ? 0 : overdue();
    if (waitMs < aheadMs && !unwritten.isFull) continue;
    attachment.holdBack(true);
    if (waitMs >= aheadMs) await sleep(clock, waitMs, signal);
    if (unwritten.isFull) await raceSignal(unwritten.emptied("half"), signal);
    attachment.holdBack(false);
  }
  // Nothing more can come from it, so there is nothing to offer to it.
  attachment.holdBack(true);
  await raceSignal(unwritten.emptied("all"), signal);
}

/** The message, which keeps the rules. Throws INVALID_ARGUMENT. */
export function checkMessage(request: RunRequest): RunRequest {
  const { case: kind, value } = request.message;
  if (kind === undefined) throw invalidArgument([{ field: "message", description: "must be set" }]);
  // By itself and not as a part of the request: so what is far too much in it is not looked into.
  const violations = checkRules(RunRequestSchema.field[kind].message as DescMessage, value);
  if (violations.length === 0) return request;
  throw invalidArgument(violations.map((each) => ({ ...each, field: `${kind}.${each.field}` })));
}

/** What was said and is not on disk yet. */
class Unwritten {
  #count = 0;
  #bytes = 0;
  #limit = 0;
  #onRoom: () => void = () => {};

  get isFull(): boolean {
    return this.#count >= unwrittenMax || this.#bytes >= unwrittenMaxBytes;
  }

  /** `done` as of Attachment.receive. */
  add(bytes: number, done: Promise<void> | undefined): void {
    if (done === undefined) return;
    this.#count += 1;
    this.#bytes += bytes;
    const onDone = (): void => {
      this.#count -= 1;
      this.#bytes -= bytes;
      if (this.#hasRoom) this.#onRoom();
    };
    done.then(onDone, onDone);
  }

  get #hasRoom(): boolean {
    return this.#count <= unwrittenMax * this.#limit && this.#bytes <= unwrittenMaxBytes * this.#limit;
  }

  /** Resolves when half of the room is free, or all. */
  emptied(how: "half" | "all"): Promise<void> {
    this.#limit = how === "half" ? 0.5 : 0;
    if (this.#hasRoom) return Promise.resolve();
    return new Promise((resolve) => (this.#onRoom = resolve));
  }
}
