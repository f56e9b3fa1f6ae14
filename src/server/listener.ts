/**
 * One port for gRPC, gRPC-Web and Connect, over HTTP/1.1 and HTTP/2. With TLS the client says in the
 * handshake which of the two it speaks (ALPN); in the clear the first bytes tell.
 *
 * It owns the port and every connection on it.
 *
 * States: listening -> draining -> closed.
 *
 * 1. A connection is in `sockets` from when it is accepted until it is closed, so
 *    that nothing survives `close`.
 * 2. A connection that does not say in time what it speaks is destroyed. One more than its
 *    address may have is destroyed at once, so that no peer alone can take all there are.
 * 3. Draining: no new connection, no new calls on the old ones (GOAWAY, or the end of
 *    keep-alive), those under way go on until the grace is over. A connection that has said
 *    nothing yet is ended at once.
 */
import type { Server as Http1Server } from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { createHttp1Server } from "./http1-server.ts";
import { Http2Connections, type Http2Options } from "./http2-server.ts";
import { sniffProtocol } from "./sniff-protocol.ts";
import { createNetServer, renewTls } from "./net-server.ts";
import type { TlsPair } from "./tls-files.ts";

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Stops accepting, lets what is under way finish for at most `graceMs`, and ends the rest. Idempotent. */
  close(graceMs: number): Promise<void>;
  /** Serves this certificate to connections made from now on. Only where there was one. */
  renewTls(pair: TlsPair): void;
}

export interface ListenerOptions extends Http2Options {
  /** Undefined: in the clear. */
  readonly tls: TlsPair | undefined;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

/** Resolves when the port is open; rejects when it cannot be had. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { requests, limits, clock, log, faults } = options;
  const sockets = new Set<Socket>();
  const undecided = new Set<Socket>();
  const http2 = new Http2Connections(options);
  const net = createNetServer(options);
  net.maxConnections = limits.sessionsMax;
  const perAddress = new AddressCounts(limits.sessionsPerIpMax);
  const noteRefused = (fields: object): void =>
    faults.note("connections_refused", fields, "a connection was refused: there are too many");
  net.on("drop", () => noteRefused({ sessionsMax: limits.sessionsMax }));
  await listen(net, options);
  const http1 = createHttp1Server(requests, limits);
  net.on("error", (error) => log.error({ err: error }, "the port fails"));
  net.on("connection", (socket: Socket) => {
    const { remoteAddress = "" } = socket;
    if (!perAddress.take(remoteAddress)) {
      noteRefused({ sessionsPerIpMax: limits.sessionsPerIpMax, address: remoteAddress });
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once("close", () => {
      perAddress.giveBack(remoteAddress);
      sockets.delete(socket);
    });
    // Without a listener, a connection that breaks ends the process.
    socket.on("error", () => {});
    if (options.tls === undefined) serveSocket(socket);
  });
  net.on("secureConnection", (socket: TLSSocket) => {
    socket.on("error", () => {});
    if (socket.alpnProtocol === "h2") http2.accept(socket);
    else serveSocket(socket);
  });
  net.on("tlsClientError", (error: Error) => log.debug({ err: error }, "a connection did not get to speak TLS"));

  /** In the clear, or what came out of TLS. */
  function serveSocket(socket: Socket): void {
    undecided.add(socket);
    socket.once("close", () => undecided.delete(socket));
    sniffProtocol(socket, { clock, timeoutMs: limits.firstRequestMaxMs }, (protocol) => {
      undecided.delete(socket);
      if (protocol === "http2") http2.accept(socket);
      else http1.emit("connection", socket);
    });
  }

  const { address, port } = net.address() as AddressInfo;
  let closing: Promise<void> | undefined;
  return {
    host: address,
    port,
    close(graceMs) {
      closing ??= closeAll({ net, http1, http2, sockets, undecided }, options, graceMs);
      return closing;
    },
    renewTls: (pair) => renewTls(net, pair),
  };
}

/** How many connections each address has. */
class AddressCounts {
  readonly #max: number;
  readonly #counts = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Counts one more; false where that would be too many. */
  take(address: string): boolean {
    const count = this.#counts.get(address) ?? 0;
    if (count >= this.#max) return false;
    this.#counts.set(address, count + 1);
    return true;
  }

  giveBack(address: string): void {
    const count = (this.#counts.get(address) ?? 1) - 1;
    if (count > 0) this.#counts.set(address, count);
    else this.#counts.delete(address);
  }
}

interface Connections {
  readonly net: Server;
  readonly http1: Http1Server;
  readonly http2: Http2Connections;
  readonly sockets: ReadonlySet<Socket>;
  readonly undecided: ReadonlySet<Socket>;
}

async function closeAll(
  { net, http1, http2, sockets, undecided }: Connections,
  { requests, clock, log }: ListenerOptions,
  graceMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    net.close(() => resolve());
  });
  requests.stopKeepAlive();
  for (const socket of undecided) socket.destroy();
  http1.closeIdleConnections();
  http2.close();
  const cancelGrace = clock.after(graceMs, () => {
    if (sockets.size > 0) log.warn({ connections: sockets.size }, "connections were cut off: their grace is over");
    http2.destroy();
    for (const socket of sockets) socket.destroy();
  });
  await closed;
  cancelGrace();
  http1.close();
}

function listen(net: Server, { host, port }: ListenerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    net.once("error", reject);
    net.listen({ host, port }, () => {
      net.off("error", reject);
      resolve();
    });
  });
}
