import { constants } from "node:crypto";
import { createServer, type Server } from "node:net";
import { createServer as createTlsServer, Server as TlsServer } from "node:tls";
import type { ServerLimits } from "./limits.ts";
import type { TlsPair } from "./tls-files.ts";

/** TLS 1.2 at least, and no renegotiation, which costs the server far more than the client. */
const tlsOptions = { minVersion: "TLSv1.2", secureOptions: constants.SSL_OP_NO_RENEGOTIATION } as const;

/** A server of sockets: in the clear, or where there is a certificate over TLS ("secureConnection"). */
export function createNetServer({ tls, limits }: { tls: TlsPair | undefined; limits: ServerLimits }): Server {
  const options = { allowHalfOpen: true, noDelay: true };
  if (tls === undefined) return createServer(options);
  return createTlsServer({
    ...options,
    ...tlsOptions,
    ...tls,
    ALPNProtocols: ["h2", "http/1.1"],
    handshakeTimeout: limits.firstRequestMaxMs,
  });
}

/** Shows this certificate to connections made from now on. */
export function renewTls(server: Server, pair: TlsPair): void {
  if (server instanceof TlsServer) server.setSecureContext({ ...tlsOptions, ...pair });
}
