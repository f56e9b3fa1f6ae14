/** A method that streams its answers over gRPC without connect's chain of iterators: from the messages of a request to the bytes of its answers. */
import type { DescMethodServerStreaming } from "@bufbuild/protobuf";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
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
  /** An answer with its prefix; made once for an object that several calls answer with one after the other. Throws a ConnectError where it is too large. */
  encode(answer: object): Uint8Array;
}

export function createGrpcStream(
  method: DescMethodServerStreaming,
  implement: StreamCall,
  limits: GrpcLimits,
): GrpcStream {
  const { reader, encode } = createRequestReader(method, limits);
  // Those who are sent the same are sent it one after the other. One that is kept, and not a WeakMap: what is in that costs each collection of garbage.
  let last: { readonly answer: object; readonly bytes: Uint8Array } | undefined;

  return {
    method,
    reader,
    async open(headers, request) {
      return implement(await reader.readMessage(headers, request), { method });
    },
    encode(answer) {
      if (last?.answer !== answer) last = { answer, bytes: encodeEnvelope(0, encode(answer)) };
      return last.bytes;
    },
  };
}
