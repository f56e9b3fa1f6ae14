import { createServer, type Server } from "node:http";
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
  server.on("request", (request, response) => requests.handle(request, response));
  // It looks at the times of its connections only after this, and it never listens itself.
  server.emit("listening");
  return server;
}
