import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.js";
import type { Status } from "#gen/google/rpc/status_pb.js";

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

/** What an error may have. */
export const errorDetails = [BadRequestSchema, ErrorInfoSchema, ResourceInfoSchema, RetryInfoSchema];

/** The same of an error within an answer. */
export function readStatus(status: Status): CallError {
  const error = new ConnectError(status.message, status.code as Code);
  // What a client reads is what came over the wire; here it is what was packed.
  for (const { typeUrl } of status.details) {
    if (!errorDetails.some(({ typeName }) => typeUrl === `type.googleapis.com/${typeName}`))
      throw new Error(`unknown detail ${typeUrl}`);
  }
  error.findDetails = ((schema: (typeof errorDetails)[number]) =>
    status.details.flatMap((any) => anyUnpack(any, schema) ?? [])) as never;
  return readError(error);
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
