import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ServerLimits } from "./limits.ts";
import type { RequestListener } from "./request-listener.ts";

/** How often the times of connections are looked at. */
const checkIntervalMs = 2_000;

/** HTTP/1.1, over sockets that it is handed as "connection"; `close` ends its timer. */
export function createHttp1Server(requests: RequestListener, limits: ServerLimits): Server {
  const server = createServer({
    maxHeaderSize: limits.headerListMaxBytes,
    headersTimeout: limits.receiveMaxMs,
    requestTimeout: limits.receiveMaxMs,
    keepAliveTimeout: limits.idleMaxMs,
    connectionsCheckingInterval: checkIntervalMs,
    noDelay: true,
  });
  // One more than allowed, so that too many are seen, and refused, and not just left out.
  server.maxHeadersCount = limits.headerPairsMax + 1;
  server.on("request", takeTurns(requests));
  // It looks at the times of its connections only after this, and it never listens itself.
  server.emit("listening");
  return server;
}

/** So many requests may wait on one connection; who sends more of them without waiting for an answer attacks. */
const waitingMax = 100;

/**
 * Has the requests of a connection answered one at a time. Of those that are sent without waiting for answers, Node would have all begun at
 * once, and keep every answer but the first in memory, however slowly the peer reads.
 */
function takeTurns(requests: RequestListener): (request: IncomingMessage, response: ServerResponse) => void {
  const lines = new WeakMap<Socket, (() => void)[]>();
  return (request, response) => {
    const { socket } = request;
    const line = lines.get(socket);
    const begin = (): void => {
      response.once("close", () => {
        const next = lines.get(socket)?.shift();
        if (next === undefined || socket.destroyed) lines.delete(socket);
        else next();
      });
      requests.handle(request, response);
    };
    if (line === undefined) {
      lines.set(socket, []);
      begin();
    } else if (line.push(begin) > waitingMax) socket.destroy();
  };
}
