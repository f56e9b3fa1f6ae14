import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.js";
import type { StatusSchema } from "#gen/google/rpc/status_pb.js";
import { ControllerError, type ControllerErrorCode, type FieldViolation, limitError } from "../controller/error.ts";
import type { Faults } from "../faults.ts";
import { byteLength, cutText } from "../task/limits.ts";

/** The domain of every google.rpc.ErrorInfo that is sent. */
const errorDomain = "stint.v1";

/** The one table from the errors of the domain to the codes of gRPC. */
const codes: Readonly<Record<ControllerErrorCode, Code>> = {
  INVALID_ARGUMENT: Code.InvalidArgument,
  NOT_FOUND: Code.NotFound,
  ALREADY_EXISTS: Code.AlreadyExists,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  ABORTED: Code.Aborted,
  OUT_OF_RANGE: Code.OutOfRange,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  UNAVAILABLE: Code.Unavailable,
  DATA_LOSS: Code.DataLoss,
};

// A status travels in headers, the message escaped to up to three times its size, the
// details as base64, and clients refuse more than 8 KiB of them.
const messageMaxBytes = 512;
const detailsMaxBytes = 3 * 1024;

/**
 * What is sent for `error`. A ControllerError goes by the table, with its details;
 * a ConnectError is sent as it is; anything else is a bug: it is logged, and the caller
 * gets INTERNAL and none of its text. What is refused because of a limit is counted.
 */
export function toConnectError(error: unknown, faults: Faults, rpc: string): ConnectError {
  if (error instanceof ConnectError) return boundMessage(error);
  noteRefusal(error, faults, rpc);
  if (error instanceof ControllerError) return fromControllerError(error);
  faults.note("internal_errors", { err: error, rpc }, "a call failed for a reason that was not expected");
  return new ConnectError("internal error", Code.Internal);
}

/** The google.rpc.Status of what a call would fail with for `error`; its BadRequest has at most `violationsMaxBytes`. */
export function toStatus(
  error: unknown,
  options: { readonly faults: Faults; readonly rpc: string; readonly violationsMaxBytes: number },
): MessageInitShape<typeof StatusSchema> {
  const { faults, rpc, violationsMaxBytes } = options;
  let sent: ConnectError;
  if (error instanceof ControllerError) {
    noteRefusal(error, faults, rpc);
    sent = fromControllerError(error, violationsMaxBytes);
  } else sent = toConnectError(error, faults, rpc);
  const details = (sent.details as OutgoingDetail[]).map(({ desc, value }) => anyPack(desc, create(desc, value)));
  return { code: sent.code, message: sent.rawMessage, details };
}

/** Counts what is refused because of a limit, such as a launch of too many; one that is itself too large is a mistake of its caller. */
function noteRefusal(error: unknown, faults: Faults, rpc: string): void {
  if (!(error instanceof ControllerError) || error.code !== "RESOURCE_EXHAUSTED") return;
  faults.note("calls_refused", { rpc, limit: error.details.metadata?.["limit"] }, refusedMessage);
}

/** Of every call that is refused because of a limit. */
export const refusedMessage = "a call was refused, as a limit was reached";

/** The ConnectError of a ControllerError, with its google.rpc details. */
export function fromControllerError(error: ControllerError, violationsMaxBytes = detailsMaxBytes): ConnectError {
  const { violations, resource, reason, metadata, retryDelayMs } = error.details;
  const details: OutgoingDetail[] = [];
  if (reason !== undefined) {
    details.push(detail(ErrorInfoSchema, { reason, domain: errorDomain, metadata: { ...metadata } }));
  }
  if (violations !== undefined)
    details.push(
      detail(BadRequestSchema, {
        fieldViolations: boundViolations(violations, Math.min(violationsMaxBytes, detailsMaxBytes)),
      }),
    );
  if (resource !== undefined) {
    const { type, name } = resource;
    details.push(
      detail(ResourceInfoSchema, { resourceType: type, resourceName: name, description: cutText(error.message, 256) }),
    );
  }
  if (retryDelayMs !== undefined) details.push(detail(RetryInfoSchema, { retryDelay: durationFromMs(retryDelayMs) }));
  return new ConnectError(cutText(error.message, messageMaxBytes), codes[error.code], undefined, details, error);
}

/** The most bytes that a message of a request may have, and the name of that limit. */
export interface RequestLimit {
  readonly name: string;
  readonly value: number;
}

/** RESOURCE_EXHAUSTED because a message of a request is larger than its limit; `has` is how many bytes it has. */
export function tooLargeError({ name, value }: RequestLimit, has: string): ConnectError {
  const message = `a message of the request may have at most ${value} bytes (${name}), and has ${has}`;
  return fromControllerError(limitError(name, value, message));
}

type OutgoingDetail = { desc: DescMessage; value: MessageInitShape<DescMessage> };

function detail<D extends DescMessage>(desc: D, value: MessageInitShape<D>): OutgoingDetail {
  return { desc, value };
}

function boundMessage(error: ConnectError): ConnectError {
  if (byteLength(error.rawMessage) <= messageMaxBytes && error.rawMessage.isWellFormed()) return error;
  const bounded = new ConnectError(cutText(error.rawMessage, messageMaxBytes), error.code, error.metadata);
  bounded.details = error.details;
  return bounded;
}

/** As many as fit; the last says how many do not. */
function boundViolations(violations: readonly FieldViolation[], maxBytes: number): FieldViolation[] {
  const kept: FieldViolation[] = [];
  let bytes = 0;
  for (const { field, description } of violations) {
    const violation = { field: cutText(field, 128), description: cutText(description, 256) };
    bytes += byteLength(violation.field) + byteLength(violation.description) + 8;
    if (bytes > maxBytes) {
      kept.push({ field: "", description: `and ${violations.length - kept.length} more` });
      break;
    }
    kept.push(violation);
  }
  return kept;
}
