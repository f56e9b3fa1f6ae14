/** Requests by hand, for what no client library would send. */
import { connect as connectHttp2, type ClientHttp2Session, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectSocket } from "node:net";
import { once } from "node:events";

/** One message of gRPC, gRPC-Web or a stream of Connect. */
export function envelope(message: Uint8Array, options: { flags?: number; claimedBytes?: number } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(options.flags ?? 0, 0);
  prefix.writeUInt32BE(options.claimedBytes ?? message.byteLength, 1);
  return Buffer.concat([prefix, message]);
}

export interface RawAnswer {
  readonly status: number | undefined;
  readonly headers: Record<string, unknown>;
  readonly trailers: Record<string, unknown>;
  readonly body: Buffer;
  /** How the stream was reset, if it was. */
  readonly resetCode: number | undefined;
  /** grpc-status, wherever it is. */
  readonly grpcStatus: number | undefined;
}

export const grpcHeaders: OutgoingHttpHeaders = {
  ":method": "POST",
  ":path": "/stint.v1.TaskControllerService/GetServerInfo",
  "content-type": "application/grpc",
  te: "trailers",
};

/** One request on a connection of HTTP/2 of its own. `end: false` leaves it without an end. */
export async function http2Request(
  port: number,
  headers: OutgoingHttpHeaders,
  body: Uint8Array = envelope(new Uint8Array()),
  options: { end?: boolean } = {},
): Promise<RawAnswer> {
  const session = openHttp2(port);
  try {
    return await requestOn(session, headers, body, options);
  } finally {
    session.destroy();
  }
}

export function openHttp2(port: number): ClientHttp2Session {
  const session = connectHttp2(`http://127.0.0.1:${port}`, { maxSessionMemory: 64 });
  session.on("error", () => {});
  return session;
}

/** One request on a connection. `end: false` leaves it without an end; the body is sent `after`. */
export function requestOn(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Uint8Array = envelope(new Uint8Array()),
  options: { end?: boolean; after?: Promise<unknown> } = {},
): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const stream = session.request(headers);
    const chunks: Buffer[] = [];
    let answered: Record<string, unknown> = {};
    let trailers: Record<string, unknown> = {};
    stream.on("response", (received) => {
      answered = Object.fromEntries(Object.entries(received as Record<string, unknown>));
    });
    stream.on("trailers", (received) => {
      trailers = Object.fromEntries(Object.entries(received as Record<string, unknown>));
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.on("close", () => {
      const grpcStatus = trailers["grpc-status"] ?? answered["grpc-status"];
      resolve({
        status: answered[":status"] as number | undefined,
        headers: answered,
        trailers,
        body: Buffer.concat(chunks),
        resetCode: stream.rstCode === 0 ? undefined : stream.rstCode,
        grpcStatus: grpcStatus === undefined ? undefined : Number(grpcStatus),
      });
    });
    void Promise.resolve(options.after).then(() => {
      if (options.end === false) stream.write(body);
      else stream.end(body);
    });
  });
}

/** Sends bytes, and resolves to all that comes back until the server closes, or nothing comes for `quietMs`. */
export async function sendBytes(port: number, bytes: Uint8Array, options: { quietMs?: number } = {}): Promise<string> {
  const socket = connectSocket({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  await once(socket, "connect");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.write(bytes);
  await new Promise<void>((resolve) => {
    socket.once("close", () => resolve());
    socket.setTimeout(options.quietMs ?? 300, resolve);
  });
  socket.destroy();
  return Buffer.concat(chunks).toString("latin1");
}
