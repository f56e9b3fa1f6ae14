import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.js";

/** What a client can read of a failed call. */
export interface CallError {
  readonly code: string;
  readonly message: string;
  /** The fields of BadRequest. */
  readonly fields: string[];
  readonly descriptions: string[];
  readonly reason: string | undefined;
  readonly domain: string | undefined;
  readonly metadata: Record<string, string> | undefined;
  readonly resource: string | undefined;
  readonly retries: boolean;
}

/** Resolves to the error that a call fails with; rejects when it does not fail. */
export async function callError(call: Promise<unknown> | AsyncIterable<unknown>): Promise<CallError> {
  try {
    if (Symbol.asyncIterator in call) for await (const _ of call);
    else await call;
  } catch (error) {
    return readError(ConnectError.from(error));
  }
  throw new Error("the call did not fail");
}

export function readError(error: ConnectError): CallError {
  const violations = error.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const [info] = error.findDetails(ErrorInfoSchema);
  const [resource] = error.findDetails(ResourceInfoSchema);
  return {
    code: Code[error.code],
    message: error.rawMessage,
    fields: violations.map((violation) => violation.field),
    descriptions: violations.map((violation) => violation.description),
    reason: info?.reason,
    domain: info?.domain,
    metadata: info?.metadata,
    resource: resource === undefined ? undefined : `${resource.resourceType} ${resource.resourceName}`,
    retries: error.findDetails(RetryInfoSchema).length > 0,
  };
}
