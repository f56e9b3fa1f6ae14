import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { invalidArgument } from "../controller/error.ts";
import { cutText } from "../task/limits.ts";
import { escapeInput } from "../task/quote-input.ts";
import { fromControllerError } from "./errors.ts";

const messageMaxBytes = 512;

/**
 * What is sent for a request of the type `input` that could not be read. The libraries
 * below call some of these INTERNAL; they are all the client's. Where the library
 * says which field it is about, that is a bad field like any other.
 */
export function fromInputError(error: unknown, input: DescMessage): ConnectError {
  const source = ConnectError.from(error, Code.InvalidArgument);
  const blame = source.code === Code.Internal || source.code === Code.Unknown ? Code.InvalidArgument : source.code;
  // The libraries quote pieces of what was sent, as they are; escaped, they may be longer.
  const message = cutText(escapeInput(source.rawMessage, messageMaxBytes), messageMaxBytes);
  const field = findField(message, input);
  if (blame === Code.InvalidArgument && source.details.length === 0 && field !== undefined) {
    const violation = fromControllerError(invalidArgument([{ field, description: message }]));
    return new ConnectError(message, blame, source.metadata, violation.details as never);
  }
  const blamed = new ConnectError(message, blame, source.metadata);
  blamed.details = source.details;
  return blamed;
}

/** The field that a message of the decoder is about: named in it, or the only one that can hold what it names. */
function findField(message: string, input: DescMessage): string | undefined {
  const named = /^cannot decode (?:field|oneof) [\w.]+\.(\w+) from|: key "(\w{1,64})" is unknown$/.exec(message);
  if (named !== null) return named[1] ?? named[2];
  const typeName = /cannot decode (?:enum|message)? ?([\w.]+) from/.exec(message)?.[1];
  const fields = typeName === undefined ? [] : input.fields.filter((field) => holds(field, typeName));
  return fields.length === 1 ? fields[0]?.name : undefined;
}

/** Whether a value of the type can stand in the field, however deep. */
function holds(field: DescField, typeName: string, seen = new Set<string>()): boolean {
  const { message } = field;
  if ((field.enum ?? message)?.typeName === typeName) return true;
  if (message === undefined || seen.has(message.typeName)) return false;
  seen.add(message.typeName);
  return message.fields.some((inner) => holds(inner, typeName, seen));
}
