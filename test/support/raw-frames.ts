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

/** A block of headers, each written out (RFC 7541, section 6.2.2), in this order and as often as they are there. */
export function headerBlock(
  headers: Readonly<Record<string, string>> | readonly (readonly [string, string])[],
): Buffer {
  const pairs = Array.isArray(headers) ? (headers as readonly (readonly [string, string])[]) : Object.entries(headers);
  return Buffer.concat(pairs.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

/** A text behind its length, which has seven bits and then as many bytes as it needs (RFC 7541, section 5.1). */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const length = [127];
  let left = bytes.length - 127;
  for (; left >= 128; left >>= 7) length.push((left & 127) | 128);
  return Buffer.concat([Buffer.from(length), Buffer.of(left), bytes]);
}

/** How an encoder of HPACK writes the name of the header: with the code of Huffman (RFC 7541, appendix B). */
const grpcStatusName = Buffer.from("889acac8b21234da8f", "hex");

/** The grpc-status in a block of headers whose encoder has no table, as its peer has asked for; undefined where there is none. */
export function grpcStatusIn(block: Buffer): number | undefined {
  const at = block.indexOf(grpcStatusName);
  if (at < 0) return undefined;
  const length = block.readUInt8(at + grpcStatusName.length);
  return Number(block.toString("latin1", at + grpcStatusName.length + 1, at + grpcStatusName.length + 1 + length));
}

/** Settings of a client that has no table for HPACK and takes all that comes at once. */
export const greedySettings = Buffer.concat([
  frame(frameType.settings, 0, 0, Buffer.from("000100000000000440000000", "hex")),
  frame(frameType.windowUpdate, 0, 0, uint32(2 ** 30)),
]);

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
  readonly flags: number;
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
      const [type, flags, streamId] = [this.#rest.readUInt8(3), this.#rest.readUInt8(4), this.#rest.readUInt32BE(5)];
      this.received.push({ type, flags, streamId, payload: this.#rest.subarray(headBytes, end) });
      this.#rest = this.#rest.subarray(end);
    }
  }
}
