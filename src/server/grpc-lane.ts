/**
 * Calls of gRPC over HTTP/2 with one message in their requests, on Node's streams and without its compatibility layer and connect's chain of iterators, which
 * cost more than most of these calls do. What the methods do, and what is wrong with a request, is said by the same functions.
 *
 * It takes only what is in order as far as headers tell: gRPC with binary messages, POST, the path of such a method, from no page of the web. All
 * else, what has to be refused too, is the request listener's.
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import { parseContentType } from "@connectrpc/connect/protocol-grpc";
import { DueLine } from "../async/due-line.ts";
import type { GrpcStream } from "../rpc/grpc-stream.ts";
import type { GrpcUnary } from "../rpc/grpc-unary.ts";
import type { ServedMethod } from "../rpc/handlers.ts";
import type { ExchangeOptions } from "./grpc-exchange.ts";
import { checkAuthority } from "./node-http.ts";
import { exceededLimit } from "./request-headers.ts";
import { StreamCall, type StreamCallOptions } from "./stream-call.ts";
import { UnaryCall } from "./unary-call.ts";

export interface GrpcLaneOptions extends ExchangeOptions {
  /** By path. */
  readonly methods: ReadonlyMap<string, ServedMethod>;
  /** What calls of methods that give way wait for before they begin. */
  readonly giveWay: () => Promise<void>;
}

/** A method that the lane serves. */
export type LaneMethod = ServedMethod & ({ readonly unary: GrpcUnary } | { readonly stream: GrpcStream });

export class GrpcLane {
  readonly #options: GrpcLaneOptions & StreamCallOptions;

  constructor(options: GrpcLaneOptions) {
    this.#options = { ...options, untaken: new DueLine(options.limits.writeStallMaxMs) };
  }

  /** The method of a request that the lane takes; undefined for every other request. */
  find(headers: IncomingHttpHeaders, rawHeaders: readonly string[]): LaneMethod | undefined {
    const { methods, limits } = this.#options;
    const { ":path": path = "", ":method": verb, ":authority": authority = headers.host, origin, expect } = headers;
    const served = methods.get(path);
    if (served === undefined || !isOfLane(served) || verb !== "POST") return undefined;
    if (parseContentType(headers["content-type"] ?? null)?.binary !== true) return undefined;
    if (origin !== undefined || expect !== undefined) return undefined;
    if (exceededLimit(rawHeaders, limits) !== undefined) return undefined;
    return checkAuthority(authority, rawHeaders) === undefined ? undefined : served;
  }

  /** Answers a call that `find` has found, now or later. Never throws. */
  handle(served: LaneMethod, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    void this.#serve(served, stream, headers);
  }

  /** Answers it with the error. Never throws. */
  refuse(served: LaneMethod, stream: ServerHttp2Stream, error: ConnectError): void {
    this.#callOf(served, stream).fail(error);
  }

  /** Never rejects. */
  async #serve(served: LaneMethod, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    // Its deadline counts from now on.
    const call = this.#callOf(served, stream);
    if (served.givesWay) await this.#options.giveWay();
    if (!stream.destroyed) call.run(headers);
  }

  #callOf({ unary, stream: method, requestLimit }: LaneMethod, stream: ServerHttp2Stream): UnaryCall | StreamCall {
    if (unary !== undefined) return new UnaryCall({ unary, requestLimit }, stream, this.#options);
    return new StreamCall({ stream: method as GrpcStream, requestLimit }, stream, this.#options);
  }
}

function isOfLane(served: ServedMethod): served is LaneMethod {
  return served.unary !== undefined || served.stream !== undefined;
}
