/**
 * HTTP/2 in the clear, over sockets that it is handed.
 *
 * It owns the sessions: each is in `sessions`, with its guard, from when it begins until it is closed. A stream goes into the
 * lane of gRPC, if that takes it; every other becomes a request and a response of Node's compatibility layer.
 */
import type { EventEmitter } from "node:events";
import {
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import { refusedMessage } from "../rpc/errors.ts";
import type { ServerLimits } from "./limits.ts";
import { http2Stream } from "./node-http.ts";
import { type OverLimit, overLimitError, refuseOverLimit } from "./refuse.ts";
import type { RequestListener } from "./request-listener.ts";
import { SessionGuard } from "./session-guard.ts";

export interface Http2Options {
  readonly requests: RequestListener;
  readonly limits: ServerLimits;
  readonly clock: Clock;
  readonly log: Log;
  readonly faults: Faults;
}

/** MB, Node's unit: what one session may hold. Its default of 10 is too little for a busy client. */
const sessionMemoryMb = 64;

export class Http2Connections {
  readonly #options: Http2Options;
  readonly #server: Http2Server;
  /** It never listens: it makes requests and responses of the streams that it is handed. */
  readonly #compatible: Http2Server = createServer();
  readonly #sessions = new Map<ServerHttp2Session, SessionGuard>();

  constructor(options: Http2Options) {
    this.#options = options;
    const { limits, log } = options;
    const serverOptions: ServerOptions & { maxSessionInvalidFrames: number } = {
      maxSessionMemory: sessionMemoryMb,
      maxHeaderListPairs: limits.headerPairsMax,
      maxSettings: 32,
      maxSessionInvalidFrames: 100,
      settings: {
        maxConcurrentStreams: limits.streamsPerSessionMax,
        maxHeaderListSize: limits.headerListMaxBytes,
      },
    };
    this.#server = createServer(serverOptions);
    this.#server.on("sessionError", (error) => log.debug({ err: error }, "a connection broke"));
    const onStream = (
      stream: ServerHttp2Stream,
      headers: IncomingHttpHeaders,
      flags: number,
      rawHeaders: string[],
    ): void => {
      if (!this.#takeGrpc(stream, headers, rawHeaders))
        this.#compatible.emit("stream", stream, headers, flags, rawHeaders);
    };
    this.#server.on("stream", onStream);
    this.#compatible.on("request", (request, response) => this.#takeRequest(request, response));
  }

  /** Takes a connection that has begun to speak HTTP/2. */
  accept(socket: Socket): void {
    // HTTP/2 has no half of a connection: who says it is done, is gone.
    socket.allowHalfOpen = false;
    const guard = (session: ServerHttp2Session): void => {
      this.#sessions.set(session, new SessionGuard(session, socket, this.#options));
      socket.once("close", () => this.#sessions.delete(session));
    };
    // It makes the session at once, or none: over TLS HTTP/2 has to be agreed on (ALPN), and whoever speaks it all the same is refused.
    this.#server.once("session", guard);
    this.#server.emit("connection", socket);
    this.#server.off("session", guard);
  }

  /** No new calls on any session (GOAWAY); each ends with its last call. */
  close(): void {
    for (const guard of this.#sessions.values()) guard.close();
  }

  /** Ends all sessions now. */
  destroy(): void {
    for (const guard of this.#sessions.values()) guard.destroy();
  }

  /** Whether the stream is a call of the lane of gRPC, which is answered then, now or later. */
  #takeGrpc(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): boolean {
    const { grpc } = this.#options.requests;
    const served = grpc.find(headers, rawHeaders);
    if (served === undefined) return false;
    this.#admit(stream.session, stream, {
      begin: () => grpc.handle(served, stream, headers),
      refuse: (limit) => grpc.refuse(served, stream, overLimitError(limit)),
    });
    return true;
  }

  #takeRequest(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const { requests } = this.#options;
    // While it waits, or is refused, nothing else listens for what breaks.
    response.on("error", () => {});
    request.on("error", () => {});
    this.#admit(http2Stream(request)?.session, request, {
      begin: () => requests.handle(request, response),
      refuse: (limit) => refuseOverLimit(request, response, limit),
    });
  }

  /** Begins a call now or when it is its turn, or refuses it. */
  #admit(session: unknown, call: EventEmitter, { begin, refuse }: Admission): void {
    const guard = this.#sessions.get(session as ServerHttp2Session);
    if (guard === undefined) return;
    const { clock, limits, faults } = this.#options;
    const delayMs = guard.admitCall();
    const value = limits.streamOpensPerSecondMax;
    if (delayMs === 0) begin();
    else if (delayMs !== undefined) takeTurn(clock, delayMs, call, begin);
    else {
      const name = "stream_opens_per_second_max";
      faults.note("calls_refused", { limit: name }, refusedMessage);
      refuse({ name, value, retryDelayMs: 1_000 });
    }
  }
}

interface Admission {
  readonly begin: () => void;
  readonly refuse: (limit: OverLimit) => void;
}

/** Calls `begin` after `delayMs`, unless the call is over by then. */
function takeTurn(clock: Clock, delayMs: number, call: EventEmitter, begin: () => void): void {
  const cancel = clock.after(delayMs, () => {
    call.off("close", cancel);
    begin();
  });
  call.once("close", cancel);
}
