/**
 * A method that streams both ways over gRPC, without connect's chains of iterators: in them each message, either way, goes through
 * some ten of them by itself. Here messages are read and written as many at once as there are.
 *
 * It owns the body of the answer, and the context of the call, which is over with it. What is wrong with a request is said by the functions that
 * say it for every other protocol, and at the same point: where the message would have been taken.
 */
import type { DescMethodBiDiStreaming, Message } from "@bufbuild/protobuf";
import { Code, ConnectError, createHandlerContext } from "@connectrpc/connect";
import {
  assertByteStreamRequest,
  type Compression,
  compressedFlag,
  compressionNegotiate,
  envelopeDecompress,
  type UniversalHandler,
  type UniversalHandlerFn,
  type UniversalServerRequest,
} from "@connectrpc/connect/protocol";
import {
  contentTypeProto,
  grpcStatusOk,
  headerContentType,
  headerEncoding,
  headerGrpcStatus,
  headerTimeout,
  parseContentType,
  parseTimeout,
  setTrailerStatus,
} from "@connectrpc/connect/protocol-grpc";
import { nextTurn } from "../async/next-turn.ts";
import type { BatchCall, Received } from "./batches.ts";
import type { RequestLimit } from "./errors.ts";
import { createGrpcMessages, type GrpcMessages } from "./grpc-messages.ts";
import { createGzip } from "./gzip.ts";
import { fromInputError } from "./input-error.ts";

export interface GrpcBidiOptions {
  readonly implement: BatchCall;
  readonly requestLimit: RequestLimit;
  readonly writeMaxBytes: number;
  /** What takes a request that is not binary gRPC by POST. */
  readonly otherwise: UniversalHandler;
}

/** How a message is sent: flags, and the length in four bytes. */
const prefixBytes = 5;

export function createGrpcBidi(method: DescMethodBiDiStreaming, options: GrpcBidiOptions): UniversalHandlerFn {
  const { implement, requestLimit, writeMaxBytes, otherwise } = options;
  const limits = { readMaxBytes: requestLimit.value, writeMaxBytes };
  const messages = createGrpcMessages(method, limits);
  const compressions = [createGzip(requestLimit)];

  return async (request) => {
    const type = parseContentType(request.header.get(headerContentType));
    if (type?.binary !== true || request.method !== "POST") return otherwise(request);
    assertByteStreamRequest(request);
    const { timeoutMs, error: badTimeout } = parseTimeout(request.header.get(headerTimeout), Number.MAX_SAFE_INTEGER);
    const context = createContext(method, request, timeoutMs);
    const encoding = request.header.get(headerEncoding);
    const { request: compression, error } = compressionNegotiate(compressions, encoding, null, "grpc-accept-encoding");
    const requests = readBatches(request.body, {
      method,
      compression,
      requestLimit,
      decode: messages.decode,
      badHeaders: error ?? badTimeout,
    });
    const body = writeBatches(() => implement(requests, context), { context, encode: messages.encode });
    return { status: 200, header: context.responseHeader, trailer: context.responseTrailer, body };
  };
}

type GrpcContext = ReturnType<typeof createHandlerContext>;

function createContext(
  method: DescMethodBiDiStreaming,
  { method: requestMethod, signal, header, url, contextValues }: UniversalServerRequest,
  timeoutMs: number | undefined,
): GrpcContext {
  return createHandlerContext({
    service: method.parent,
    method,
    protocolName: "grpc",
    requestMethod,
    url,
    timeoutMs,
    requestSignal: signal,
    requestHeader: header,
    responseHeader: { [headerContentType]: contentTypeProto },
    responseTrailer: { [headerGrpcStatus]: grpcStatusOk },
    contextValues,
  });
}

interface ReadOptions {
  readonly method: DescMethodBiDiStreaming;
  readonly compression: Compression | null;
  readonly requestLimit: RequestLimit;
  readonly decode: GrpcMessages["decode"];
  /** What is wrong with the headers of the request. */
  readonly badHeaders: Error | undefined;
}

/** `body`: whole messages, prefix included, in pieces of one or more; the last may be broken off. */
async function* readBatches(
  body: AsyncIterable<Uint8Array>,
  options: ReadOptions,
): AsyncGenerator<Iterable<Received<Message>>> {
  const { method, compression, requestLimit, badHeaders } = options;
  try {
    if (badHeaders !== undefined) throw badHeaders;
    for await (const piece of body) {
      const batch = new EncodedBatch(piece, options);
      while (!batch.isAtEnd) {
        // A batch is decoded while it is taken, which is at once; what is compressed takes a while.
        if (!batch.isNextCompressed) yield batch;
        else {
          const { data } = await envelopeDecompress(batch.takeNext(), compression, requestLimit.value);
          yield [batch.decode(data)];
        }
      }
      // Each message is a frame of its own, of which many come in one turn: what has come by the end of it is the next piece.
      await nextTurn();
    }
  } catch (error) {
    throw fromInputError(error, method.input);
  }
}

/** The messages in a piece of a body, up to the first that is compressed. */
class EncodedBatch implements Iterable<Received<Message>> {
  readonly #piece: Buffer;
  readonly #options: ReadOptions;
  #at = 0;

  constructor(piece: Uint8Array, options: ReadOptions) {
    this.#piece = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    this.#options = options;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#piece.byteLength;
  }

  get isNextCompressed(): boolean {
    return ((this.#piece[this.#at] ?? 0) & compressedFlag) !== 0;
  }

  takeNext(): Parameters<typeof envelopeDecompress>[0] {
    const start = this.#at + prefixBytes;
    const end = start <= this.#piece.byteLength ? start + this.#piece.readUInt32BE(start - 4) : Infinity;
    // The words are connect's.
    if (end > this.#piece.byteLength)
      throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
    const flags = this.#piece.readUInt8(this.#at);
    this.#at = end;
    return { flags, data: this.#piece.subarray(start, end) };
  }

  decode(data: Uint8Array): Received<Message> {
    return { message: this.#options.decode(data), bytes: data.byteLength };
  }

  *[Symbol.iterator](): Generator<Received<Message>> {
    try {
      while (!this.isAtEnd && !this.isNextCompressed) yield this.decode(this.takeNext().data);
    } catch (error) {
      throw fromInputError(error, this.#options.method.input);
    }
  }
}

interface WriteOptions {
  readonly context: GrpcContext;
  /** Throws where the message is larger than may be sent. */
  readonly encode: (message: Message) => Uint8Array;
}

async function* writeBatches(
  implement: () => AsyncIterable<readonly Message[]>,
  { context, encode }: WriteOptions,
): AsyncGenerator<Uint8Array> {
  let failure: unknown;
  try {
    for await (const batch of implement()) yield joined(batch.map(encode));
  } catch (error) {
    failure = error;
    const isSaid = error instanceof ConnectError;
    setTrailerStatus(context.responseTrailer, isSaid ? error : new ConnectError("internal error", Code.Internal));
  } finally {
    context.abort(failure);
  }
}

/** The messages in one piece, each with its prefix. */
function joined(messages: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.allocUnsafe(messages.reduce((sum, { byteLength }) => sum + prefixBytes + byteLength, 0));
  let end = 0;
  for (const message of messages) {
    end = bytes.writeUInt8(0, end);
    end = bytes.writeUInt32BE(message.byteLength, end);
    bytes.set(message, end);
    end += message.byteLength;
  }
  return bytes;
}
