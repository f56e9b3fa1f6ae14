/** What an answer says, in whichever protocol it is. */
import { ConnectError, Code } from "@connectrpc/connect";
import { endStreamFromJson, errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { BadRequestSchema } from "#gen/google/rpc/error_details_pb.js";
import type { ReceivedParts } from "./ask.ts";

export interface Answer {
  /** 0 is OK; undefined where the answer is none of gRPC or Connect, or did not come to its end. */
  readonly code: number | undefined;
  readonly httpStatus: number | undefined;
  readonly message: string;
  /** The fields of its BadRequest. */
  readonly fields: readonly string[];
  /** The messages, without their prefixes; the body where it has none. */
  readonly messages: readonly Buffer[];
  /** The client has left before it was over. */
  readonly hasLeft: boolean;
}

type Read = Omit<Answer, "hasLeft">;

const endOfStream = 2;
const trailersFlag = 0x80;

export function readAnswer({ headers, trailers, body }: ReceivedParts): Read {
  const status = headers[":status"];
  const httpStatus = status === undefined ? undefined : Number(status);
  const type = String(headers["content-type"] ?? "");
  if (type.startsWith("application/grpc-web")) return readGrpcWeb(headers, body, httpStatus);
  if (type.startsWith("application/grpc")) {
    const last = "grpc-status" in headers ? headers : trailers;
    const { messages } = split(body);
    return { httpStatus, messages, ...fromTrailers(webHeaders(last)) };
  }
  if (type.startsWith("application/connect+")) return readConnectStream(body, httpStatus);
  const isConnect = type === "application/json" || type === "application/proto";
  if (isConnect && httpStatus === 200) return { httpStatus, code: 0, message: "", fields: [], messages: [body] };
  if (!isConnect) return { httpStatus, code: undefined, message: body.toString(), fields: [], messages: [] };
  const error = errorFromJsonBytes(body, undefined, new ConnectError("no error of Connect", Code.Unknown));
  return { httpStatus, messages: [], ...fromError(error) };
}

function readGrpcWeb(headers: ReceivedParts["headers"], body: Buffer, httpStatus: number | undefined): Read {
  if ("grpc-status" in headers) {
    return { httpStatus, messages: [], ...fromTrailers(webHeaders(headers)) };
  }
  const { messages, last } = split(body, trailersFlag);
  const trailers = new Headers();
  for (const line of last?.toString().split("\r\n") ?? []) {
    const colon = line.indexOf(":");
    if (colon > 0) trailers.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return { httpStatus, messages, ...fromTrailers(trailers) };
}

function readConnectStream(body: Buffer, httpStatus: number | undefined): Read {
  const { messages, last } = split(body, endOfStream);
  if (last === undefined) return { httpStatus, messages, code: undefined, message: "", fields: [] };
  const { error } = endStreamFromJson(last);
  return { httpStatus, messages, ...(error === undefined ? { code: 0, message: "", fields: [] } : fromError(error)) };
}

/** The messages of a body, and the one with that flag. */
function split(body: Buffer, lastFlag = 0): { messages: Buffer[]; last: Buffer | undefined } {
  const messages: Buffer[] = [];
  let last: Buffer | undefined;
  for (let at = 0; at + 5 <= body.byteLength; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    const message = body.subarray(at + 5, end);
    if ((body.readUInt8(at) & lastFlag) !== 0) last = message;
    else messages.push(message);
    at = end;
  }
  return { messages, last };
}

function webHeaders(headers: ReceivedParts["headers"]): Headers {
  return new Headers(
    Object.entries(headers).flatMap(([name, value]) => (name[0] === ":" ? [] : [[name, String(value)]])),
  );
}

function fromTrailers(trailers: Headers): Pick<Read, "code" | "message" | "fields"> {
  if (trailers.get("grpc-status") === null) return { code: undefined, message: "", fields: [] };
  const error = findTrailerError(trailers);
  return error === undefined ? { code: 0, message: "", fields: [] } : fromError(error);
}

function fromError(error: ConnectError): Pick<Read, "code" | "message" | "fields"> {
  const fields = error.findDetails(BadRequestSchema).flatMap(({ fieldViolations }) => fieldViolations);
  return { code: error.code, message: error.rawMessage, fields: fields.map(({ field }) => field) };
}
