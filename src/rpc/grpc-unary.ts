/** A unary method over gRPC without connect's chain of iterators: from the messages of a request to the one of its answer. */
import type { DescMethodUnary } from "@bufbuild/protobuf";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import type { CallContext, UnaryCall } from "./call.ts";
import {
  createRequestReader,
  type GrpcHeaders,
  type GrpcLimits,
  type GrpcRequest,
  type RequestReader,
} from "./grpc-request.ts";

export interface GrpcUnary {
  readonly method: DescMethodUnary;
  readonly reader: RequestReader;
  /** The answer, with its prefix. Rejects with a ConnectError. */
  answer(headers: GrpcHeaders, request: GrpcRequest, context: CallContext): Promise<Uint8Array>;
}

export function createGrpcUnary(method: DescMethodUnary, implement: UnaryCall, limits: GrpcLimits): GrpcUnary {
  const { reader, encode } = createRequestReader(method, limits);
  return {
    method,
    reader,
    async answer(headers, request, context) {
      const answer = await implement(await reader.readMessage(headers, request), context);
      return encodeEnvelope(0, encode(answer));
    },
  };
}
