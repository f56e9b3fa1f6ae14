/** A method that streams its answers over gRPC without connect's chain of iterators: from the messages of a request to the bytes of its answers. */
import { create, type DescMessage, type DescMethodServerStreaming, type MessageInitShape } from "@bufbuild/protobuf";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { createEncoder } from "../messages/message-encoder.ts";
import type { Answers, StreamCall } from "./call.ts";
import {
  createRequestReader,
  type GrpcHeaders,
  type GrpcLimits,
  type GrpcRequest,
  type RequestReader,
} from "./grpc-request.ts";

export interface GrpcStream {
  readonly method: DescMethodServerStreaming;
  readonly reader: RequestReader;
  /** Begins the call, or rejects with the ConnectError of what is wrong with its request. */
  open(headers: GrpcHeaders, request: GrpcRequest): Promise<Answers<object>>;
  /** An answer with its prefix; made once for an object that several calls answer with. Throws a ConnectError where it is too large. */
  encode(answer: object): Uint8Array;
}

export function createGrpcStream(
  method: DescMethodServerStreaming,
  implement: StreamCall,
  limits: GrpcLimits,
): GrpcStream {
  const { reader, serialize } = createRequestReader(method, limits);
  const encodeMessage = createEncoder(method.output);
  const encoded = new WeakMap<object, Uint8Array>();

  function encode(answer: object): Uint8Array {
    const message = create(method.output, answer as MessageInitShape<DescMessage>);
    const bytes = encodeMessage(message);
    // Too large: it says so, in the words that it has for every other protocol.
    return encodeEnvelope(0, bytes.byteLength > limits.writeMaxBytes ? serialize(message) : bytes);
  }

  return {
    method,
    reader,
    async open(headers, request) {
      return implement(await reader.readMessage(headers, request), { method });
    },
    encode(answer) {
      let bytes = encoded.get(answer);
      if (bytes === undefined) {
        bytes = encode(answer);
        encoded.set(answer, bytes);
      }
      return bytes;
    },
  };
}
