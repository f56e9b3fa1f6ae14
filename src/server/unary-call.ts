/**
 * One unary call of gRPC on a stream of HTTP/2.
 *
 * It owns the stream from when it is made, and the signal of the call.
 *
 * States: receiving -> working -> answered -> over; from any of them to over, when the stream is closed.
 *
 * 1. Receiving: a message whose prefix says that it is longer than the limit is refused when its prefix is there. What is held is counted
 *    for all requests together, from when it comes until the request is read, in whatever way that ends. Two messages are
 *    the most that is read.
 * 2. The request has to be there within `receiveMaxMs` and before the call's deadline, its end included.
 * 3. Working: the method is called once, with one message, after the end of the request. Its signal is aborted by the deadline, and by the end of the stream, and
 *    not by the answer. It is made when it is asked for: it costs more than the rest of this file.
 * 4. There is one answer: a message and trailers, or an error, which is one block of headers (Trailers-Only). The deadline answers at once, and what the
 *    method says after that is said to nobody. A stream that is closed gets no answer.
 * 5. Answered: who has not sent all of its request gets a moment to read the answer. Who does not take the answer is cut off
 *    after `writeStallMaxMs`.
 * 6. There is at most one timer, that of the state; over, there is none.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { contentTypeProto, grpcStatusOk, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { CallContext } from "../rpc/call.ts";
import type { RequestLimit } from "../rpc/errors.ts";
import type { Envelope, GrpcUnary, UnaryRequest } from "../rpc/grpc-unary.ts";
import type { ServerLimits } from "./limits.ts";
import { cutOffStream, lingerMs } from "./node-http.ts";
import { PendingBytes, prefixBytes } from "./pending-bytes.ts";
import { type ByteBudget, notReceived } from "./request-body.ts";
import { clampDeadline } from "./request-headers.ts";
import { nodeHeaders } from "./write-response.ts";

export interface UnaryCallOptions {
  readonly limits: ServerLimits;
  readonly budget: ByteBudget;
  readonly clock: Clock;
  readonly log: Log;
}

const answerHeaders: OutgoingHttpHeaders = { ":status": 200, "content-type": contentTypeProto };
const answerTrailers: OutgoingHttpHeaders = { "grpc-status": grpcStatusOk };

export class UnaryCall implements CallContext {
  readonly #unary: GrpcUnary;
  readonly #requestLimit: RequestLimit;
  readonly #stream: ServerHttp2Stream;
  readonly #options: UnaryCallOptions;
  readonly endsItself = true;
  #ending: AbortController | undefined;
  /** Why the call is over, if it is without an answer of its method's. */
  #endedWith: ConnectError | undefined;
  #deadlineMs = Number.POSITIVE_INFINITY;
  #cancelTimer = (): void => {};
  /** Only while receiving. */
  #endReceiving: ((error: Error | undefined) => void) | undefined;

  constructor(
    { unary, requestLimit }: { readonly unary: GrpcUnary; readonly requestLimit: RequestLimit },
    stream: ServerHttp2Stream,
    options: UnaryCallOptions,
  ) {
    this.#unary = unary;
    this.#requestLimit = requestLimit;
    this.#stream = stream;
    this.#options = options;
    stream.once("close", () => this.#onClose());
  }

  get method(): CallContext["method"] {
    return this.#unary.method;
  }

  get signal(): AbortSignal {
    if (this.#ending === undefined) {
      this.#ending = new AbortController();
      if (this.#endedWith !== undefined) this.#ending.abort(this.#endedWith);
    }
    return this.#ending.signal;
  }

  get endedWith(): ConnectError | undefined {
    return this.#endedWith;
  }

  timeoutMs(): number {
    return this.#deadlineMs - this.#options.clock.mono();
  }

  /** Reads the request and answers it. Never rejects. */
  async run(headers: IncomingHttpHeaders): Promise<void> {
    try {
      this.#answer(await this.#work(headers));
    } catch (error) {
      this.fail(error);
    }
  }

  /** Answers with the error, if there is no answer yet. Never throws. */
  fail(error: unknown): void {
    const stream = this.#stream;
    try {
      if (!(error instanceof ConnectError)) {
        this.#options.log.error({ err: error, rpc: this.method.name }, "a call could not be answered");
        if (stream.headersSent) return this.#cutOff();
      }
      if (stream.headersSent || isOver(stream)) return;
      const sent = error instanceof ConnectError ? error : new ConnectError("internal error", Code.Internal);
      const status = nodeHeaders(setTrailerStatus(new Headers(), sent));
      stream.respond({ ...answerHeaders, ...status }, { endStream: true });
      this.#linger();
    } catch (failure) {
      this.#options.log.error({ err: failure, rpc: this.method.name }, "a call could not be answered");
      this.#cutOff();
    }
  }

  async #work(headers: IncomingHttpHeaders): Promise<Uint8Array> {
    const { limits, clock } = this.#options;
    const { "grpc-timeout": timeout, "grpc-encoding": encoding } = headers as Record<string, string | undefined>;
    const clamped = clampDeadline(timeout, false, { maxMs: limits.unaryDeadlineMs, required: true });
    const said = this.#unary.readHeaders(clamped, encoding);
    this.#deadlineMs = clock.mono() + (said.timeoutMs ?? limits.unaryDeadlineMs);
    const request = said.error === undefined ? await this.#receive() : { envelopes: [], error: undefined };
    if (isOver(this.#stream)) throw canceled();
    if (this.timeoutMs() <= 0) throw timedOut();
    this.#setTimer(this.timeoutMs(), () => this.#end(timedOut()));
    return this.#unary.answer(said, request, this);
  }

  #receive(): Promise<UnaryRequest> {
    const stream = this.#stream;
    const { budget, limits } = this.#options;
    const envelopes: Envelope[] = [];
    const pending = new PendingBytes();
    let heldBytes = 0;
    return new Promise((resolve) => {
      const settle = (error: Error | undefined): void => {
        if (this.#endReceiving === undefined) return;
        this.#endReceiving = undefined;
        this.#cancelTimer();
        stream.off("data", onData);
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
          while ((message = pending.takeMessage(this.#requestLimit)) !== undefined) {
            envelopes.push({ flags: message.readUInt8(0), data: message.subarray(prefixBytes) });
            if (envelopes.length > 1) return settle(undefined);
          }
        } catch (error) {
          settle(error as Error);
        }
      };
      this.#endReceiving = settle;
      const isLate = this.timeoutMs() < limits.receiveMaxMs;
      this.#setTimer(Math.min(limits.receiveMaxMs, this.timeoutMs()), () =>
        settle(isLate ? timedOut() : notReceived(limits.receiveMaxMs)),
      );
      stream.on("data", onData);
      const onEnd = (): void => settle(stream.aborted ? canceled() : pending.byteLength > 0 ? incomplete() : undefined);
      // One without any data may have come to its end before anybody reads. One that was reset ends for its reader like one that is at its end.
      if (stream.readableEnded) onEnd();
      else stream.once("end", onEnd);
    });
  }

  #answer(message: Uint8Array): void {
    const stream = this.#stream;
    if (stream.headersSent || isOver(stream)) return;
    stream.respond(answerHeaders, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers(answerTrailers));
    stream.end(message);
    this.#linger();
  }

  #linger(): void {
    const stream = this.#stream;
    if (stream.destroyed) return;
    const { limits, log } = this.#options;
    if (!stream.readableEnded) return this.#setTimer(lingerMs, () => this.#cutOff());
    this.#setTimer(limits.writeStallMaxMs, () => {
      log.warn({ rpc: this.method.name }, "a client did not read its answer, and was cut off");
      this.#cutOff();
    });
  }

  #cutOff(): void {
    cutOffStream(this.#stream);
    // What came and was not read would keep it from being closed.
    this.#stream.resume();
  }

  #onClose(): void {
    this.#cancelTimer();
    // Who has its answer does not want to hear that it is over.
    if (!this.#stream.headersSent) this.#end(canceled());
    this.#endReceiving?.(canceled());
  }

  #end(error: ConnectError): void {
    this.#endedWith = error;
    this.#ending?.abort(error);
    this.fail(error);
  }

  #setTimer(delayMs: number, fire: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.after(Math.max(0, delayMs), fire);
  }
}

function isOver(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed;
}

function canceled(): ConnectError {
  return new ConnectError("the call was canceled", Code.Canceled);
}

// The words of the next two are connect's.
function timedOut(): ConnectError {
  return new ConnectError("the operation timed out", Code.DeadlineExceeded);
}

function incomplete(): ConnectError {
  return new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
}
