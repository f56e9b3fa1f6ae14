/**
 * From a request of Node's to the handler of its method, and back. Nothing that a
 * client sends gets past here as an exception. Calls of gRPC over HTTP/2 that have one message and are in order do
 * not come here, but into its lane of gRPC, which shares its budget and its turns.
 *
 * It owns the calls that are under way.
 *
 * 1. What could make the adapter below throw outside of a handler is refused first:
 *    an authority that no URL can have kills the process there.
 * 2. A deadline above the maximum is clamped, and a unary call without one gets the
 *    server's: the library would refuse the first, and never end the second.
 * 3. A call whose request is not read to its end is cut off soon after its answer:
 *    otherwise its stream, or the connection of HTTP/1.1, would stay for the rest. So is one
 *    whose peer does not take the end of its answer.
 * 4. While draining, a connection of HTTP/1.1 is over with the answer that it is on, whatever
 *    was said about it when the answer began.
 * 5. Of calls that launch a few are read in each turn of the event loop, as a thousand of them may arrive at once: what else there is, the launches that were
 *    taken too, goes on in between. Their deadlines count from when they came.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { UniversalServerRequest } from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest } from "@connectrpc/connect-node";
import { createFewAtATime } from "../async/few-at-a-time.ts";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { ServedMethod } from "../rpc/handlers.ts";
import { quoteInput } from "../task/quote-input.ts";
import { checkOrigin } from "./cors.ts";
import { GrpcLane } from "./grpc-lane.ts";
import type { ServerLimits } from "./limits.ts";
import {
  cutOffStream,
  http2Stream,
  lingerMs,
  type NodeRequest,
  type NodeResponse,
  requestAuthority,
  requestPath,
  wireProtocol,
} from "./node-http.ts";
import {
  answerPreflight,
  refuse,
  refuseForm,
  refuseHttp1,
  refuseMalformed,
  refuseOverLimit,
  refusePath,
} from "./refuse.ts";
import { ByteBudget, readBody } from "./request-body.ts";
import { clampDeadline, exceededLimit } from "./request-headers.ts";
import { writeResponse } from "./write-response.ts";

export interface RequestListenerOptions {
  /** By path. */
  readonly methods: ReadonlyMap<string, ServedMethod>;
  readonly limits: ServerLimits;
  /** The origins of pages that may call. */
  readonly corsOrigins: ReadonlySet<string>;
  readonly clock: Clock;
  readonly faults: Faults;
}

/** Twice as many as the launches that begin in one: with fewer none would be refused however many come, with more there is less left for those that were taken. */
const givingWayPerTurn = 20;

export class RequestListener {
  readonly #options: RequestListenerOptions;
  readonly #budget: ByteBudget;
  readonly #giveWay: () => Promise<void>;
  /** Takes calls of gRPC over HTTP/2 with one message, before there is a request and a response of Node's. */
  readonly grpc: GrpcLane;
  #keepAlive = true;

  constructor(options: RequestListenerOptions) {
    this.#options = options;
    this.#giveWay = createFewAtATime(options.clock, givingWayPerTurn);
    this.#budget = new ByteBudget(options.limits.inFlightMaxBytes, options.faults);
    this.grpc = new GrpcLane({ ...options, budget: this.#budget, giveWay: this.#giveWay });
  }

  /** Answers the request, now or later. Never throws. */
  handle(request: NodeRequest, response: NodeResponse): void {
    // A stream that breaks emits errors at any time; without listeners they end the process.
    request.on("error", () => {});
    response.on("error", () => {});
    try {
      const method = this.#accept(request, response);
      if (method !== undefined) void this.#serve(method, request, response);
    } catch (error) {
      const path = quoteInput(requestPath(request));
      this.#options.faults.note("internal_errors", { err: error, path }, "a request could not be answered");
      cutOff(request);
    }
  }

  /** From now on a connection of HTTP/1.1 ends with the answer it is on. */
  stopKeepAlive(): void {
    this.#keepAlive = false;
  }

  /** The method of the request; undefined when it was refused. */
  #accept(request: NodeRequest, response: NodeResponse): ServedMethod | undefined {
    const exceeded = exceededLimit(request.rawHeaders, this.#options.limits);
    const origin = checkOrigin(request, response, this.#options.corsOrigins);
    const method = this.#options.methods.get(requestPath(request));
    if (exceeded !== undefined) refuseOverLimit(request, response, exceeded);
    else if (requestAuthority(request) === undefined) {
      refuseMalformed(request, response, "the authority (or Host) of the request is not valid");
    } else if (origin.kind === "refused") refuse(request, response, origin.error);
    else if (origin.kind === "preflight") answerPreflight(response);
    else if (method === undefined) refusePath(request, response);
    else if (method.handler.method.methodKind === "bidi_streaming" && http2Stream(request) === undefined)
      refuseHttp1(request, response, method.handler.method.name);
    else return method;
    this.#finish(request, response);
    return undefined;
  }

  /** Never rejects. */
  async #serve(served: ServedMethod, request: NodeRequest, response: NodeResponse): Promise<void> {
    const { limits, clock, faults } = this.#options;
    const { handler } = served;
    const rpc = handler.method.name;
    const unary = handler.method.methodKind === "unary";
    try {
      const answer = await handler(this.#toUniversalRequest(served, request, response));
      if (!this.#keepAlive || !isWhole(request)) closeAfterAnswer(response);
      const { status } = answer;
      if (status === 405 || status === 415) refuseForm(request, response, { status, method: rpc, unary });
      else {
        const onStall = (): void => this.#cutOffStalled(request, rpc);
        await writeResponse(answer, response, { clock, stallMaxMs: limits.writeStallMaxMs, onStall });
      }
    } catch (error) {
      faults.note("internal_errors", { err: error, rpc }, "a call could not be answered");
      if (!response.headersSent) refuse(request, response, new ConnectError("internal error", Code.Internal));
      else cutOff(request);
    }
    this.#finish(request, response);
  }

  #cutOffStalled(request: NodeRequest, rpc: string): void {
    this.#options.faults.note("watchers_dropped", { rpc }, "a client did not read its answer, and was cut off");
    cutOff(request);
  }

  #toUniversalRequest(
    { handler: { method }, requestLimit, givesWay }: ServedMethod,
    request: NodeRequest,
    response: NodeResponse,
  ): UniversalServerRequest {
    const { limits, clock } = this.#options;
    const universal = universalRequestFromNodeRequest(request, response, undefined, undefined);
    const protocol = wireProtocol(request.headers["content-type"]);
    const unary = method.methodKind === "unary";
    const connect = protocol === "connect" || protocol === "none";
    const timeoutName = connect ? "connect-timeout-ms" : "grpc-timeout";
    const asked = universal.header.get(timeoutName) ?? undefined;
    const clamped = clampDeadline(asked, connect, {
      maxMs: unary ? limits.unaryDeadlineMs : limits.timeoutMaxMs,
      required: unary,
    });
    if (clamped !== undefined) universal.header.set(timeoutName, clamped);
    // No answer is compressed; it must not say that it might be.
    for (const name of ["accept-encoding", "grpc-accept-encoding", "connect-accept-encoding"]) {
      universal.header.delete(name);
    }
    // By it the library would refuse what is too large in words of its own, and allocate what is not: `readBody` looks at it.
    universal.header.delete("content-length");
    const body = readBody(request, {
      clock,
      budget: this.#budget,
      messageLimit: requestLimit,
      receiveMaxMs: limits.receiveMaxMs,
      enveloped: protocol !== "connect" || !unary,
      mayPause: method.methodKind === "bidi_streaming" || method.methodKind === "client_streaming",
    });
    return { ...universal, body: givesWay ? this.#inTurn(body) : body };
  }

  /** The same, read when it is its turn: the call has begun by then, and its deadline counts. */
  async *#inTurn(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    await this.#giveWay();
    yield* body;
  }

  /**
   * After the answer was written: who has not sent its whole request gets a moment to read the
   * answer, and who does not take the answer's end as long as for any other part of it.
   */
  #finish(request: NodeRequest, response: NodeResponse): void {
    if (isOver(response)) return;
    const { clock, limits } = this.#options;
    const cancel = isWhole(request)
      ? clock.after(limits.writeStallMaxMs, () => this.#cutOffStalled(request, quoteInput(requestPath(request))))
      : clock.after(lingerMs, () => cutOff(request));
    response.once("close", () => {
      cancel();
      if (!this.#keepAlive && http2Stream(request) === undefined) request.socket.destroySoon();
    });
  }
}

/** Whether the client has sent all of the request. */
function isWhole(request: NodeRequest): boolean {
  return http2Stream(request)?.readableEnded ?? request.complete;
}

/** Whether the peer has all of the answer, or is gone. */
function isOver(response: NodeResponse): boolean {
  return http2Stream(response)?.destroyed ?? response.destroyed;
}

/** On HTTP/1.1 nothing can follow an answer before the end of its request. */
function closeAfterAnswer(response: NodeResponse): void {
  if ("shouldKeepAlive" in response) response.shouldKeepAlive = false;
}

function cutOff(request: NodeRequest): void {
  const stream = http2Stream(request);
  if (stream === undefined) request.socket.destroy();
  else cutOffStream(stream);
}
