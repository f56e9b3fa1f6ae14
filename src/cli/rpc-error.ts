import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { status as Code, type Metadata } from "@grpc/grpc-js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "#gen/google/rpc/status_pb.js";

/** A call that failed, with what the server said about it. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: Code;
  readonly details: RpcErrorDetails;

  constructor(code: Code, message: string, details: RpcErrorDetails) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** The google.rpc details that Stint sends. */
export interface RpcErrorDetails {
  /** ErrorInfo's reason, such as "COMPACTED"; empty where the server gave none. */
  readonly reason: string;
  /** ErrorInfo's metadata. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: ReadonlyArray<{ readonly field: string; readonly description: string }>;
  /** ResourceInfo: the kind of what was not found; empty where the server gave none. */
  readonly resource: string;
  /** RetryInfo: how long to wait before the next try. */
  readonly retryDelayMs: number | undefined;
}

/** What grpc-js rejects with; only these fields are read. */
export interface ServiceFailure {
  readonly code: Code;
  readonly details: string;
  readonly metadata: Metadata;
}

/** Decodes the message, and grpc-status-details-bin; details that are missing or cannot be read are left out. */
export function decodeRpcError(failure: ServiceFailure): RpcError {
  let details: RpcErrorDetails = noDetails;
  try {
    details = decodeDetails(failure.metadata);
  } catch {
    // Bytes that are no google.rpc.Status: the code and the message are there all the same.
  }
  return new RpcError(failure.code, failure.details, details);
}

/**
 * Whether no connection came about at all, in contrast to one that broke. grpc-js has one code
 * for both and tells them apart in its message only.
 */
export function neverConnected(error: RpcError): boolean {
  return error.code === Code.UNAVAILABLE && /^(No connection established|Name resolution failed)/.test(error.message);
}

const noDetails: RpcErrorDetails = { reason: "", metadata: {}, violations: [], resource: "", retryDelayMs: undefined };

function decodeDetails(metadata: Metadata): RpcErrorDetails {
  const [bytes] = metadata.get("grpc-status-details-bin");
  if (!(bytes instanceof Uint8Array)) return noDetails;
  const details: { -readonly [K in keyof RpcErrorDetails]: RpcErrorDetails[K] } = { ...noDetails };
  for (const packed of fromBinary(StatusSchema, bytes).details) {
    const errorInfo = anyUnpack(packed, ErrorInfoSchema);
    if (errorInfo) [details.reason, details.metadata] = [errorInfo.reason, errorInfo.metadata];
    details.violations = anyUnpack(packed, BadRequestSchema)?.fieldViolations ?? details.violations;
    details.resource = anyUnpack(packed, ResourceInfoSchema)?.resourceType ?? details.resource;
    const delay = anyUnpack(packed, RetryInfoSchema)?.retryDelay;
    if (delay) details.retryDelayMs = durationMs(delay);
  }
  return details;
}
