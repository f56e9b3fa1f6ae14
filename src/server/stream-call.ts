/**
 * One call of gRPC that streams its answers, on a stream of HTTP/2; how it comes in, and how it ends, is the exchange's.
 *
 * It owns the exchange, and the answers of its method.
 *
 * 1. The next answer is asked for when the stream takes more: a slow reader holds what Node buffers of a stream, and
 *    the method waits.
 * 2. The deadline and the end of the stream end the answers at once. What was said before goes out first, and then why it is over.
 * 3. A peer that takes nothing for `writeStallMaxMs` of what was written is cut off, also where Node still has room for more: a
 *    stream on which little is said would take hours to fill that.
 * 4. While it waits for an answer it costs no timer but that of a deadline, and no promise; it holds nothing of the request, nor of what it has sent.
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import type { Due, DueLine } from "../async/due-line.ts";
import { type Answers, type Asking, callCanceled } from "../rpc/call.ts";
import type { RequestLimit } from "../rpc/errors.ts";
import type { GrpcStream } from "../rpc/grpc-stream.ts";
import { type ExchangeOptions, GrpcExchange } from "./grpc-exchange.ts";

export interface StreamCallOptions extends ExchangeOptions {
  /** Those that have something to be taken by their clients; due when that takes too long. */
  readonly untaken: DueLine;
}

export class StreamCall implements Due, Asking<object> {
  readonly #method: GrpcStream;
  readonly #exchange: GrpcExchange;
  readonly #options: StreamCallOptions;
  #answers: Answers<object> | undefined;
  /** How many messages Node has not got rid of. */
  #untakenCount = 0;
  readonly #onTaken = (): void => this.#taken();
  /** The stream takes more. One that is closed meanwhile has its answers closed. */
  readonly #onDrain = (): void => this.#answers?.ask(this);

  constructor(
    { stream: method, requestLimit }: { readonly stream: GrpcStream; readonly requestLimit: RequestLimit },
    stream: ServerHttp2Stream,
    options: StreamCallOptions,
  ) {
    const { reader } = method;
    this.#method = method;
    this.#options = options;
    this.#exchange = new GrpcExchange(stream, { rpc: method.method.name, reader, requestLimit }, options, () => {
      options.untaken.remove(this);
      this.#answers?.close();
    });
  }

  /** Reads the request and answers it, now or later. Never throws. */
  run(headers: IncomingHttpHeaders): void {
    void this.#open(headers).then(
      (answers) => answers.ask(this),
      (error: unknown) => this.#exchange.fail(error),
    );
  }

  /** Answers with the error. Never throws. */
  fail(error: ConnectError): void {
    this.#exchange.fail(error);
  }

  due(): void {
    this.#exchange.cutOffStalled();
  }

  async #open(headers: IncomingHttpHeaders): Promise<Answers<object>> {
    const exchange = this.#exchange;
    const { timeoutMaxMs: maxMs } = this.#options.limits;
    const { said, request } = await exchange.receive(headers, { maxMs, required: false });
    let late: ConnectError | undefined;
    exchange.atDeadline((error) => {
      late = error;
      this.#answers?.end(error);
    });
    const answers = await this.#method.open(said, request);
    this.#answers = answers;
    if (exchange.isOver) answers.close();
    else if (late !== undefined) answers.end(late);
    return answers;
  }

  /** Sends the answer, and asks for the next. */
  take(answer: object): void {
    if (this.#exchange.isOver) return;
    try {
      if (this.#send(this.#method.encode(answer))) this.#answers?.ask(this);
      else this.#exchange.stream.once("drain", this.#onDrain);
    } catch (error) {
      this.#answers?.end(callCanceled());
      this.over(error);
    }
  }

  /** Ends the call: there are no more answers. */
  over(error: unknown): void {
    const exchange = this.#exchange;
    this.#options.untaken.remove(this);
    if (error !== undefined) return exchange.fail(error);
    try {
      exchange.succeed();
    } catch (failure) {
      exchange.fail(failure);
    }
  }

  #send(message: Uint8Array): boolean {
    this.#untakenCount += 1;
    if (this.#untakenCount === 1) this.#options.untaken.put(this.#options.clock, this);
    return this.#exchange.write(message, this.#onTaken);
  }

  #taken(): void {
    const { untaken, clock } = this.#options;
    this.#untakenCount -= 1;
    if (this.#untakenCount === 0) untaken.remove(this);
    else if (untaken.has(this)) untaken.put(clock, this);
  }
}
