/**
 * Unary calls of gRPC over HTTP/2, on Node's streams and without its compatibility layer and connect's chain of iterators, which
 * cost more than most of these calls do. What the methods do, and what is wrong with a request, is said by the same functions.
 *
 * It takes only what is in order as far as headers tell: gRPC with binary messages, POST, the path of a unary method, from no page of the web. All
 * else, what has to be refused too, is the request listener's.
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import { parseContentType } from "@connectrpc/connect/protocol-grpc";
import type { GrpcUnary } from "../rpc/grpc-unary.ts";
import type { ServedMethod } from "../rpc/handlers.ts";
import { checkAuthority } from "./node-http.ts";
import { exceededLimit } from "./request-headers.ts";
import { UnaryCall, type UnaryCallOptions } from "./unary-call.ts";

export interface UnaryLaneOptions extends UnaryCallOptions {
  /** By path. */
  readonly methods: ReadonlyMap<string, ServedMethod>;
  /** What calls of methods that give way wait for before they begin. */
  readonly giveWay: () => Promise<void>;
}

/** A method that the lane serves. */
export type LaneMethod = ServedMethod & { readonly unary: GrpcUnary };

export class UnaryLane {
  readonly #options: UnaryLaneOptions;

  constructor(options: UnaryLaneOptions) {
    this.#options = options;
  }

  /** The method of a request that the lane takes; undefined for every other request. */
  find(headers: IncomingHttpHeaders, rawHeaders: readonly string[]): LaneMethod | undefined {
    const { methods, limits } = this.#options;
    const { ":path": path = "", ":method": verb, ":authority": authority = headers.host, origin, expect } = headers;
    const served = methods.get(path);
    if (served === undefined || !isUnary(served) || verb !== "POST") return undefined;
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
    new UnaryCall(served, stream, this.#options).fail(error);
  }

  /** Never rejects. */
  async #serve(served: LaneMethod, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    if (served.givesWay) await this.#options.giveWay();
    if (!stream.destroyed) await new UnaryCall(served, stream, this.#options).run(headers);
  }
}

function isUnary(served: ServedMethod): served is LaneMethod {
  return served.unary !== undefined;
}
