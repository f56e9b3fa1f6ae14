/**
 * One unary call of gRPC on a stream of HTTP/2; how it comes in, and how it ends, is the exchange's.
 *
 * It owns the exchange, and the signal of the call.
 *
 * 1. The method is called once, with one message, after the end of the request. Its signal is aborted by the deadline, and by the end of the stream, and
 *    not by the answer. It is made when it is asked for: it costs more than the rest of this file.
 * 2. The deadline answers at once, and what the method says after that is said to nobody.
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import { type CallContext, callCanceled } from "../rpc/call.ts";
import type { RequestLimit } from "../rpc/errors.ts";
import type { GrpcUnary } from "../rpc/grpc-unary.ts";
import { type ExchangeOptions, GrpcExchange } from "./grpc-exchange.ts";

export class UnaryCall implements CallContext {
  readonly #unary: GrpcUnary;
  readonly #exchange: GrpcExchange;
  readonly #unaryDeadlineMs: number;
  readonly endsItself = true;
  #ending: AbortController | undefined;
  /** Why the call is over, if it is without an answer of its method's. */
  #endedWith: ConnectError | undefined;

  constructor(
    { unary, requestLimit }: { readonly unary: GrpcUnary; readonly requestLimit: RequestLimit },
    stream: ServerHttp2Stream,
    options: ExchangeOptions,
  ) {
    const { reader, method } = unary;
    this.#unary = unary;
    this.#unaryDeadlineMs = options.limits.unaryDeadlineMs;
    this.#exchange = new GrpcExchange(stream, { rpc: method.name, reader, requestLimit }, options, () => {
      // Who has its answer does not want to hear that it is over.
      if (!stream.headersSent) this.#end(callCanceled());
    });
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
    return this.#exchange.timeoutMs();
  }

  /** Reads the request and answers it, now or later. Never throws. */
  run(headers: IncomingHttpHeaders): void {
    void this.#run(headers);
  }

  /** Answers with the error. Never throws. */
  fail(error: ConnectError): void {
    this.#exchange.fail(error);
  }

  /** Never rejects. */
  async #run(headers: IncomingHttpHeaders): Promise<void> {
    const exchange = this.#exchange;
    try {
      const { said, request } = await exchange.receive(headers, { maxMs: this.#unaryDeadlineMs, required: true });
      exchange.atDeadline((error) => this.#end(error));
      exchange.succeed(await this.#unary.answer(said, request, this));
    } catch (error) {
      exchange.fail(error);
    }
  }

  #end(error: ConnectError): void {
    this.#endedWith = error;
    this.#ending?.abort(error);
    this.#exchange.fail(error);
  }
}
