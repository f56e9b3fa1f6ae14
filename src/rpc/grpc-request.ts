/**
 * The request of a gRPC call with one message, without connect's chain of iterators.
 * What is wrong with it is said by the functions that say it for every other protocol, in the same order.
 */
import type { DescMethodServerStreaming, DescMethodUnary, Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Compression, compressionNegotiate, envelopeDecompress } from "@connectrpc/connect/protocol";
import { parseTimeout } from "@connectrpc/connect/protocol-grpc";
import type { RequestLimit } from "./errors.ts";
import { createGrpcMessages } from "./grpc-messages.ts";
import { createGzip } from "./gzip.ts";
import { fromInputError } from "./input-error.ts";

/** A message as it is sent: its flags, and its bytes, which may be compressed. */
export type Envelope = Parameters<typeof envelopeDecompress>[0];

/** What the headers of a call say of it. */
export interface GrpcHeaders {
  readonly timeoutMs: number | undefined;
  /** How compressed messages are. */
  readonly compression: Compression | null;
  /** What is wrong with the headers. */
  readonly error: ConnectError | undefined;
}

/** What came of a request until its end, or until nothing more was read. */
export interface GrpcRequest {
  /** The first two at most: that there are two is wrong already. */
  readonly envelopes: readonly Envelope[];
  /** What is wrong after them. */
  readonly error: Error | undefined;
}

export interface GrpcLimits {
  readonly requestLimit: RequestLimit;
  readonly writeMaxBytes: number;
}

/** A method whose calls have one message each. */
type Method = DescMethodUnary | DescMethodServerStreaming;

export interface RequestReader {
  /** What a call with these headers is. Never throws. */
  readHeaders(timeout: string | undefined, encoding: string | undefined): GrpcHeaders;
  /** The one message. Rejects with the ConnectError of what is wrong. */
  readMessage(headers: GrpcHeaders, request: GrpcRequest): Promise<Message>;
}

/** What reads the requests of a method, and what makes the bytes of a message of its answers. */
export function createRequestReader(method: Method, { requestLimit, writeMaxBytes }: GrpcLimits) {
  const messages = createGrpcMessages(method, { readMaxBytes: requestLimit.value, writeMaxBytes });
  const compressions = [createGzip(requestLimit)];

  async function decode({ compression }: GrpcHeaders, envelope: Envelope) {
    const { data } = await envelopeDecompress(envelope, compression, requestLimit.value);
    return messages.decode(data);
  }

  /** A stream that is at fault later than at its first message says what is wrong there only if that is in order. */
  async function readMessage(headers: GrpcHeaders, { envelopes, error }: GrpcRequest) {
    const [first, second] = envelopes;
    if (headers.error !== undefined) throw headers.error;
    if (first === undefined) throw error ?? missing;
    const message = await decode(headers, first);
    if (second !== undefined) await decode(headers, second);
    if (second !== undefined) throw extra;
    if (error !== undefined) throw error;
    return message;
  }

  const reader: RequestReader = {
    readHeaders(timeout, encoding) {
      const { timeoutMs, error: badTimeout } = parseTimeout(timeout ?? null, Number.MAX_SAFE_INTEGER);
      const { request, error } = compressionNegotiate(compressions, encoding ?? null, null, "grpc-accept-encoding");
      return { timeoutMs, compression: request, error: error ?? badTimeout };
    },
    readMessage(headers, request) {
      return readMessage(headers, request).catch((error: unknown) => {
        throw fromInputError(error, method.input);
      });
    },
  };
  return { reader, encode: messages.encode };
}

// The words are connect's: it serves these methods as ones that stream their answer.
const missing = new ConnectError(
  "protocol error: missing input message for server-streaming method",
  Code.Unimplemented,
);
const extra = new ConnectError(
  "protocol error: received extra input message for server-streaming method",
  Code.Unimplemented,
);
