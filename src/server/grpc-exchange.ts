/**
 * A call of gRPC with one message in its request, on a stream of HTTP/2: how it comes in, and how it ends. What is done and answered in between is
 * its owner's: a UnaryCall or a StreamCall.
 *
 * It owns the stream from when it is made.
 *
 * States: receiving -> open -> ended -> over; from any of them to over, when the stream is closed.
 *
 * 1. Receiving: a message whose prefix says that it is longer than the limit is refused when its prefix is there. What is held is counted
 *    for all requests together, from when it comes until the request is read, in whatever way that ends. Two messages are
 *    the most that is read.
 * 2. The request has to be there within `receiveMaxMs` and before the call's deadline, its end included.
 * 3. There is one end: trailers, or an error, which is one block of headers (Trailers-Only) where there was no answer. A stream that is closed gets none.
 * 4. Ended: who has not sent all of its request gets a moment to read the answer. Who does not take the answer is cut off
 *    after `writeStallMaxMs`.
 * 5. There is at most one timer, that of the state; over, there is none.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { contentTypeProto, grpcStatusOk, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import { callCanceled } from "../rpc/call.ts";
import type { RequestLimit } from "../rpc/errors.ts";
import type { Envelope, GrpcHeaders, GrpcRequest, RequestReader } from "../rpc/grpc-request.ts";
import type { ServerLimits } from "./limits.ts";
import { cutOffStream, lingerMs } from "./node-http.ts";
import { PendingBytes, prefixBytes } from "./pending-bytes.ts";
import { type ByteBudget, notReceived } from "./request-body.ts";
import { clampDeadline } from "./request-headers.ts";
import { nodeHeaders } from "./write-response.ts";

export interface ExchangeOptions {
  readonly limits: ServerLimits;
  readonly budget: ByteBudget;
  readonly clock: Clock;
  readonly faults: Faults;
}

/** What is called. */
export interface ExchangedMethod {
  /** Its name. */
  readonly rpc: string;
  readonly reader: RequestReader;
  readonly requestLimit: RequestLimit;
}

/** The longest deadline that a call may have; `required`: it has that also where its client sets none. */
export interface DeadlineLimit {
  readonly maxMs: number;
  readonly required: boolean;
}

/** What a call asks for, or what is wrong with it. */
export interface Received {
  readonly said: GrpcHeaders;
  readonly request: GrpcRequest;
}

const answerHeaders: OutgoingHttpHeaders = { ":status": 200, "content-type": contentTypeProto };
const okTrailers: OutgoingHttpHeaders = { "grpc-status": grpcStatusOk };

export class GrpcExchange {
  readonly stream: ServerHttp2Stream;
  readonly #method: ExchangedMethod;
  readonly #options: ExchangeOptions;
  readonly #sinceMs: number;
  #deadlineMs = Number.POSITIVE_INFINITY;
  #cancelTimer: (() => void) | undefined;
  /** Only while receiving. */
  #endReceiving: ((error: Error | undefined) => void) | undefined;
  #trailers = okTrailers;
  #isEnded = false;

  /** `onClose` is called when the stream is closed. */
  constructor(stream: ServerHttp2Stream, method: ExchangedMethod, options: ExchangeOptions, onClose: () => void) {
    this.stream = stream;
    this.#method = method;
    this.#options = options;
    this.#sinceMs = options.clock.mono();
    stream.once("close", () => {
      this.#clearTimer();
      onClose();
      this.#endReceiving?.(callCanceled());
    });
  }

  /** Nobody is there to be answered any more. */
  get isOver(): boolean {
    return this.stream.destroyed || this.stream.closed;
  }

  /** How much time is left; Infinity: as much as it takes. */
  timeoutMs(): number {
    return this.#deadlineMs - this.#options.clock.mono();
  }

  /** Calls `expire` at the deadline, unless the call has ended by then. Throws where it is over already. */
  atDeadline(expire: (error: ConnectError) => void): void {
    const leftMs = this.timeoutMs();
    if (leftMs <= 0) throw timedOut();
    if (leftMs !== Number.POSITIVE_INFINITY) this.#setTimer(leftMs, () => expire(timedOut()));
  }

  /** The request, with what is wrong with it. Rejects only where nobody is there any more. */
  async receive(headers: IncomingHttpHeaders, limit: DeadlineLimit): Promise<Received> {
    const { "grpc-timeout": timeout, "grpc-encoding": encoding } = headers as Record<string, string | undefined>;
    const said = this.#method.reader.readHeaders(clampDeadline(timeout, false, limit), encoding);
    const timeoutMs = said.timeoutMs ?? (limit.required ? limit.maxMs : Number.POSITIVE_INFINITY);
    this.#deadlineMs = this.#sinceMs + timeoutMs;
    const request = said.error === undefined ? await this.#receive() : { envelopes: [], error: undefined };
    if (this.isOver) throw callCanceled();
    return { said, request };
  }

  /** Sends a message of the answer, prefix included. Returns whether the stream takes more just now; else there will be a "drain". */
  write(message: Uint8Array, taken?: () => void): boolean {
    this.#respond();
    return this.stream.write(message, taken);
  }

  /** Ends the call with OK, and with a last message where there is one. */
  succeed(message?: Uint8Array): void {
    if (this.#isEnded || this.isOver) return;
    this.#isEnded = true;
    this.#respond();
    this.stream.end(message);
    this.#linger();
  }

  /** Ends the call with the error, if it has not ended. Never throws. */
  fail(error: unknown): void {
    const { stream } = this;
    const { faults } = this.#options;
    const { rpc } = this.#method;
    try {
      if (!(error instanceof ConnectError)) {
        faults.note("internal_errors", { err: error, rpc }, "a call could not be answered");
        if (this.#isEnded) return this.cutOff();
      }
      if (this.#isEnded || this.isOver) return;
      this.#isEnded = true;
      const sent = error instanceof ConnectError ? error : new ConnectError("internal error", Code.Internal);
      const status = statusOf(sent);
      if (stream.headersSent) {
        this.#trailers = status;
        stream.end();
      } else {
        stream.respond({ ...answerHeaders, ...status }, { endStream: true });
      }
      this.#linger();
    } catch (failure) {
      faults.note("internal_errors", { err: failure, rpc }, "a call could not be answered");
      this.cutOff();
    }
  }

  /** Ends the stream of a client that does not read. */
  cutOffStalled(): void {
    const { rpc } = this.#method;
    this.#options.faults.note("watchers_dropped", { rpc }, "a client did not read its answer, and was cut off");
    this.cutOff();
  }

  cutOff(): void {
    cutOffStream(this.stream);
    // What came and was not read would keep it from being closed.
    this.stream.resume();
  }

  #respond(): void {
    const { stream } = this;
    if (stream.headersSent) return;
    stream.respond(answerHeaders, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers(this.#trailers));
  }

  #receive(): Promise<GrpcRequest> {
    const { stream } = this;
    const { budget, limits } = this.#options;
    const { requestLimit } = this.#method;
    const envelopes: Envelope[] = [];
    const pending = new PendingBytes();
    let heldBytes = 0;
    return new Promise((resolve) => {
      const settle = (error: Error | undefined): void => {
        if (this.#endReceiving === undefined) return;
        this.#endReceiving = undefined;
        this.#clearTimer();
        stream.off("data", onData);
        stream.off("end", onEnd);
        budget.giveBack(heldBytes);
        // What is not read any more has to wait, and not to go on being read for nobody.
        if (!stream.readableEnded) stream.pause();
        resolve({ envelopes, error });
      };
      const onData = (chunk: Buffer): void => {
        try {
          budget.take(chunk.byteLength);
          heldBytes += chunk.byteLength;
          pending.append(chunk);
          let message: Buffer | undefined;
          while ((message = pending.takeMessage(requestLimit)) !== undefined) {
            envelopes.push({ flags: message.readUInt8(0), data: message.subarray(prefixBytes) });
            if (envelopes.length > 1) return settle(undefined);
          }
        } catch (error) {
          settle(error as Error);
        }
      };
      const onEnd = (): void =>
        settle(stream.aborted ? callCanceled() : pending.byteLength > 0 ? incomplete() : undefined);
      this.#endReceiving = settle;
      const isLate = this.timeoutMs() < limits.receiveMaxMs;
      this.#setTimer(Math.min(limits.receiveMaxMs, this.timeoutMs()), () =>
        settle(isLate ? timedOut() : notReceived(limits.receiveMaxMs)),
      );
      stream.on("data", onData);
      // One without any data may have come to its end before anybody reads. One that was reset ends for its reader like one that is at its end.
      if (stream.readableEnded) onEnd();
      else stream.once("end", onEnd);
    });
  }

  #linger(): void {
    if (this.stream.destroyed) return;
    if (!this.stream.readableEnded) return this.#setTimer(lingerMs, () => this.cutOff());
    this.#setTimer(this.#options.limits.writeStallMaxMs, () => this.cutOffStalled());
  }

  #setTimer(delayMs: number, fire: () => void): void {
    this.#clearTimer();
    this.#cancelTimer = this.#options.clock.after(Math.max(0, delayMs), fire);
  }

  #clearTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }
}

/** Errors that are sent often are one object. */
const statuses = new WeakMap<ConnectError, OutgoingHttpHeaders>();

function statusOf(error: ConnectError): OutgoingHttpHeaders {
  let status = statuses.get(error);
  if (status === undefined) {
    status = nodeHeaders(setTrailerStatus(new Headers(), error));
    statuses.set(error, status);
  }
  return status;
}

// The words of the next two are connect's.
function timedOut(): ConnectError {
  return new ConnectError("the operation timed out", Code.DeadlineExceeded);
}

function incomplete(): ConnectError {
  return new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
}
