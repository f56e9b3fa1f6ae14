/**
 * HTTP/2 in the clear, over sockets that it is handed.
 *
 * It owns the sessions: each is in `sessions`, with its guard, from when it begins until it is closed.
 */
import {
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  type ServerOptions,
} from "node:http2";
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { ServerLimits } from "./limits.ts";
import { http2Stream } from "./node-http.ts";
import { refuseOverLimit } from "./refuse.ts";
import type { RequestListener } from "./request-listener.ts";
import { SessionGuard } from "./session-guard.ts";

export interface Http2Options {
  readonly requests: RequestListener;
  readonly limits: ServerLimits;
  readonly clock: Clock;
  readonly log: Log;
}

/** MB, Node's unit: what one session may hold. Its default of 10 is too little for a busy client. */
const sessionMemoryMb = 64;

export class Http2Connections {
  readonly #options: Http2Options;
  readonly #server: Http2Server;
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
    this.#server.on("request", (request, response) => this.#admit(request, response));
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

  #admit(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const { requests, limits, clock } = this.#options;
    const session = http2Stream(request)?.session as ServerHttp2Session | undefined;
    const guard = session === undefined ? undefined : this.#sessions.get(session);
    if (guard === undefined) return;
    // While it waits, or is refused, nothing else listens for what breaks.
    response.on("error", () => {});
    request.on("error", () => {});
    const delayMs = guard.admitCall();
    if (delayMs === 0) requests.handle(request, response);
    else if (delayMs !== undefined) takeTurn(clock, delayMs, request, () => requests.handle(request, response));
    else {
      const value = limits.streamOpensPerSecondMax;
      refuseOverLimit(request, response, { name: "stream_opens_per_second_max", value, retryDelayMs: 1_000 });
    }
  }
}

/** Calls `begin` after `delayMs`, unless the request is over by then. */
function takeTurn(clock: Clock, delayMs: number, request: Http2ServerRequest, begin: () => void): void {
  const cancel = clock.after(delayMs, () => {
    request.off("close", cancel);
    begin();
  });
  request.once("close", cancel);
}
