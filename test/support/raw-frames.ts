/** HTTP/2 frame by frame, for what no library would send. */
import { connect as connectSocket, type Socket } from "node:net";

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const endStream = 1;
export const endHeaders = 4;

const headBytes = 9;

export function frame(type: number, flags: number, streamId: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUIntBE(payload.byteLength, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A block of headers, each written out (RFC 7541, section 6.2.2); names and values of at most 126 bytes. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const literal = (text: string) => Buffer.concat([Buffer.from([Buffer.byteLength(text)]), Buffer.from(text)]);
  return Buffer.concat(
    Object.entries(headers).flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]),
  );
}

/** The beginning of a connection: the preface and empty settings. */
export const preface = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(frameType.settings, 0, 0),
]);

/** The headers of a call. */
export function callHeaders(path: string): Buffer {
  return headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "test",
    "content-type": "application/grpc",
    te: "trailers",
  });
}

export interface ReceivedFrame {
  readonly type: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** A connection on which frames are sent by hand; what comes is kept. */
export class FrameSocket {
  readonly socket: Socket;
  readonly received: ReceivedFrame[] = [];
  readonly closed: Promise<void>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(port: number, localAddress?: string) {
    this.socket = connectSocket({ port, host: "127.0.0.1", ...(localAddress === undefined ? {} : { localAddress }) });
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.closed = new Promise((resolve) => this.socket.once("close", () => resolve()));
    this.socket.write(preface);
  }

  /** Resolves when the system has taken the frames, or the connection is closed. */
  async send(...frames: readonly Uint8Array[]): Promise<void> {
    const taken = new Promise<void>((resolve) => this.socket.write(Buffer.concat(frames), () => resolve()));
    await Promise.race([taken, this.closed]);
  }

  destroy(): void {
    this.socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.byteLength >= headBytes) {
      const end = headBytes + this.#rest.readUIntBE(0, 3);
      if (this.#rest.byteLength < end) return;
      const [type, streamId] = [this.#rest.readUInt8(3), this.#rest.readUInt32BE(5)];
      this.received.push({ type, streamId, payload: this.#rest.subarray(headBytes, end) });
      this.#rest = this.#rest.subarray(end);
    }
  }
}
