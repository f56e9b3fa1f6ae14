import { Code, ConnectError } from "@connectrpc/connect";
import { endStreamFromJson, errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { trailerParse } from "@connectrpc/connect/protocol-grpc-web";
import { type CallError, readError } from "./call-error.ts";
import type { RawAnswer } from "./raw-http.ts";

/** What a client reads of an answer without messages, by hand, in whatever protocol it is. */
export function answerError({ headers, trailers, body }: RawAnswer): CallError {
  const type = String(headers["content-type"]);
  const none = new ConnectError("no error", Code.Unknown);
  if (type === "application/json") return readError(errorFromJsonBytes(body, undefined, none));
  const end = body.subarray(5);
  if (type.startsWith("application/connect+")) return readError(endStreamFromJson(end).error ?? none);
  // Without messages, the trailers may stand in the headers.
  const fields = Object.entries({ ...headers, ...trailers }).filter(([name]) => name.startsWith("grpc-"));
  const read =
    body.byteLength > 0 ? trailerParse(end) : new Headers(fields.map(([name, value]) => [name, String(value)]));
  return readError(findTrailerError(read) ?? none);
}
