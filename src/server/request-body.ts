/**
 * The body of a request, in whole messages, within its limits.
 *
 * It owns the reading of one request.
 *
 * 1. A message that says it is longer than the limit is refused when its five bytes
 *    of prefix are there, or by the content-length: nothing is allocated for it.
 * 2. A message is passed on when it is whole, with those that came with it. What is under way is counted, for all
 *    requests together, and given back when the reading ends in whatever way. The request whose
 *    bytes would be too many is refused: streams that were opened in time must not fill the memory later.
 * 3. A message that is not whole `receiveMaxMs` after it was begun (the first one: after
 *    the request was begun) fails with DEADLINE_EXCEEDED. One that was broken off fails, too: it is not at its end.
 * 4. Ending early leaves the request as it is: HTTP/1.1's would take the connection with
 *    it, and the answer.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock } from "../clock.ts";
import { limitError } from "../controller/error.ts";
import type { Faults } from "../faults.ts";
import { fromControllerError, refusedMessage, type RequestLimit } from "../rpc/errors.ts";
import { http2Stream, type NodeRequest } from "./node-http.ts";
import { checkSize, PendingBytes } from "./pending-bytes.ts";

/** Counts the bytes that all requests hold together. */
export class ByteBudget {
  readonly #maxBytes: number;
  readonly #faults: Faults;
  #usedBytes = 0;

  constructor(maxBytes: number, faults: Faults) {
    this.#maxBytes = maxBytes;
    this.#faults = faults;
  }

  /** Throws RESOURCE_EXHAUSTED, and takes nothing, where that would be too many. */
  take(bytes: number): void {
    const name = "in_flight_max_bytes";
    if (this.#usedBytes + bytes > this.#maxBytes) {
      this.#faults.note("calls_refused", { limit: name }, refusedMessage);
      const message = `the limit ${name} is ${this.#maxBytes}; try again when less is received`;
      throw fromControllerError(limitError(name, this.#maxBytes, message, 1_000));
    }
    this.#usedBytes += bytes;
  }

  giveBack(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

export interface BodyOptions {
  readonly clock: Clock;
  readonly budget: ByteBudget;
  readonly messageLimit: RequestLimit;
  readonly receiveMaxMs: number;
  /** Whether messages have a prefix of five bytes; else the body is one message. */
  readonly enveloped: boolean;
  /** Whether the client may be silent between messages: only where both sides stream. */
  readonly mayPause: boolean;
}

/** The body's messages, prefixes included, those that came together in one piece; the rest of a message that the client did not finish comes as it is. */
export async function* readBody(request: NodeRequest, options: BodyOptions): AsyncGenerator<Uint8Array> {
  const { budget, messageLimit, enveloped, mayPause } = options;
  const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
  const pending = new PendingBytes();
  let deadline = mayPause ? undefined : startDeadline(options);
  try {
    if (!enveloped) checkSize(declaredBytes(request), messageLimit);
    for (;;) {
      const next = await (deadline === undefined ? chunks.next() : Promise.race([chunks.next(), deadline.expired]));
      if (next.done === true) break;
      deadline ??= startDeadline(options);
      budget.take(next.value.byteLength);
      pending.append(next.value);
      if (!enveloped) checkSize(pending.byteLength, messageLimit);
      let isNew = false;
      if (enveloped) {
        for (let whole = pending.takeMessages(messageLimit); whole; whole = pending.takeMessages(messageLimit)) {
          budget.giveBack(whole.byteLength);
          yield whole;
          isNew = true;
        }
      }
      // What whoever takes the messages needs for that is not the client's time: the next one has its own.
      if (mayPause && isNew) {
        deadline.cancel();
        deadline = pending.byteLength === 0 ? undefined : startDeadline(options);
      }
    }
    if (isCutOff(request)) throw new Error("the client has broken off its stream");
    if (pending.byteLength > 0) yield pending.peek(pending.byteLength);
  } catch (error) {
    if (error instanceof ConnectError) throw error;
    throw new ConnectError("the request was not sent to its end", Code.Canceled, undefined, undefined, error);
  } finally {
    deadline?.cancel();
    budget.giveBack(pending.byteLength);
    chunks.return?.().catch(() => {});
  }
}

/** A stream of HTTP/2 that is reset ends for its reader like one that is at its end. */
function isCutOff(request: NodeRequest): boolean {
  const stream = http2Stream(request);
  return stream !== undefined && (stream.aborted || (stream.rstCode ?? 0) !== 0);
}

/** The size that the request says it has, if it says one; Node has seen to it that it is a number. */
function declaredBytes(request: NodeRequest): number {
  return Number(request.headers["content-length"] ?? 0);
}

/** What a call ends with whose request did not come in time. */
export function notReceived(receiveMaxMs: number): ConnectError {
  return new ConnectError(`the request was not received within ${receiveMaxMs} ms`, Code.DeadlineExceeded);
}

interface Deadline {
  readonly expired: Promise<never>;
  cancel(): void;
}

function startDeadline({ clock, receiveMaxMs }: BodyOptions): Deadline {
  let cancel = (): void => {};
  const expired = new Promise<never>((_, reject) => {
    cancel = clock.after(receiveMaxMs, () => {
      reject(notReceived(receiveMaxMs));
    });
  });
  // It may pass when nobody waits for it, between two messages that were taken slowly.
  expired.catch(() => {});
  return { expired, cancel: () => cancel() };
}
