/**
 * A unary method over gRPC without connect's chain of iterators: from the messages of a request to the one of its answer.
 * What is wrong with a request is said by the functions that say it for every other protocol, in the same order.
 */
import { create, type DescMethodUnary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressionNegotiate,
  createMethodSerializationLookup,
  encodeEnvelope,
  envelopeDecompress,
} from "@connectrpc/connect/protocol";
import { parseTimeout } from "@connectrpc/connect/protocol-grpc";
import type { CallContext, UnaryCall } from "./call.ts";
import type { RequestLimit } from "./errors.ts";
import { createGzip } from "./gzip.ts";
import { fromInputError } from "./input-error.ts";

/** A message as it is sent: its flags, and its bytes, which may be compressed. */
export type Envelope = Parameters<typeof envelopeDecompress>[0];

/** What the headers of a call say of it. */
export interface UnaryCallHeaders {
  readonly timeoutMs: number | undefined;
  /** How compressed messages are. */
  readonly compression: Compression | null;
  /** What is wrong with the headers. */
  readonly error: ConnectError | undefined;
}

/** What came of a request until its end, or until nothing more was read. */
export interface UnaryRequest {
  /** The first two at most: that there are two is wrong already. */
  readonly envelopes: readonly Envelope[];
  /** What is wrong after them. */
  readonly error: Error | undefined;
}

export interface GrpcUnary {
  readonly method: DescMethodUnary;
  /** What a call with these headers is. Never throws. */
  readHeaders(timeout: string | undefined, encoding: string | undefined): UnaryCallHeaders;
  /** The answer, with its prefix. Rejects with a ConnectError. */
  answer(headers: UnaryCallHeaders, request: UnaryRequest, context: CallContext): Promise<Uint8Array>;
}

export function createGrpcUnary(
  method: DescMethodUnary,
  implement: UnaryCall,
  limits: { readonly requestLimit: RequestLimit; readonly writeMaxBytes: number },
): GrpcUnary {
  const { requestLimit, writeMaxBytes } = limits;
  const { input, output } = method;
  const options = { readMaxBytes: requestLimit.value, writeMaxBytes };
  const messages = createMethodSerializationLookup(method, undefined, undefined, options);
  const compressions = [createGzip(requestLimit)];

  async function decode({ compression }: UnaryCallHeaders, envelope: Envelope) {
    const { data } = await envelopeDecompress(envelope, compression, requestLimit.value);
    return messages.getI(true).parse(data);
  }

  /** The one message. A stream that is at fault later than at its first message says what is wrong there only if that is in order. */
  async function readMessage(headers: UnaryCallHeaders, { envelopes, error }: UnaryRequest) {
    const [first, second] = envelopes;
    if (headers.error !== undefined) throw headers.error;
    if (first === undefined) throw error ?? missing;
    const message = await decode(headers, first);
    if (second !== undefined) await decode(headers, second);
    if (second !== undefined) throw extra;
    if (error !== undefined) throw error;
    return message;
  }

  return {
    method,
    readHeaders(timeout, encoding) {
      const { timeoutMs, error: badTimeout } = parseTimeout(timeout ?? null, Number.MAX_SAFE_INTEGER);
      const { request, error } = compressionNegotiate(compressions, encoding ?? null, null, "grpc-accept-encoding");
      return { timeoutMs, compression: request, error: error ?? badTimeout };
    },
    async answer(headers, request, context) {
      const message = await readMessage(headers, request).catch((error: unknown) => {
        throw fromInputError(error, input);
      });
      const answer = await implement(message, context);
      return encodeEnvelope(0, messages.getO(true).serialize(create(output, answer)));
    },
  };
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
