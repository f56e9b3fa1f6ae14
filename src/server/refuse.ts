/**
 * Answers that are given without a handler: the path is not served, the request is
 * not one, or there are too many. Each in the protocol that the caller speaks,
 * so that it reads the status, and never waits.
 */
import type { ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  codeToHttpStatus,
  endStreamFlag,
  endStreamToJson,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { limitError } from "../controller/error.ts";
import { fromControllerError } from "../rpc/errors.ts";
import { quoteInput } from "../task/quote-input.ts";
import { http2Stream, type NodeRequest, type NodeResponse, requestPath, wireProtocol } from "./node-http.ts";

/** Answers with `error`; where HTTP's own statuses are used, with that of its code, or `httpStatus`. */
export function refuse(request: NodeRequest, response: NodeResponse, error: ConnectError, httpStatus?: number): void {
  const status = httpStatus ?? (error.code === Code.Unimplemented ? 404 : codeToHttpStatus(error.code));
  const protocol = wireProtocol(request.headers["content-type"]);
  if (protocol === "grpc" || protocol === "grpc-web") {
    const contentType = protocol === "grpc" ? "application/grpc" : "application/grpc-web+proto";
    const trailers = Object.fromEntries(setTrailerStatus(new Headers(), error));
    send(response, { status: 200, headers: { "content-type": contentType, ...trailers }, body: undefined });
  } else if (protocol === "connect") {
    const body = Buffer.from(errorToJsonBytes(error, {}));
    send(response, { status, headers: { "content-type": "application/json" }, body });
  } else {
    const text = `${status === 404 ? "not found" : error.rawMessage}\n`;
    const body = request.method === "HEAD" ? undefined : Buffer.from(text);
    send(response, { status, headers: { "content-type": "text/plain; charset=utf-8" }, body });
  }
}

/** Answers a request for a path that is not served: UNIMPLEMENTED, which is 404 where HTTP's own statuses are used. */
export function refusePath(request: NodeRequest, response: NodeResponse): void {
  const path = quoteInput(requestPath(request), 160);
  refuse(request, response, new ConnectError(`${path} is not served here`, Code.Unimplemented));
}

/** Answers a request for a served method that is no call of it: it says what one looks like. */
export function refuseForm(
  request: NodeRequest,
  response: NodeResponse,
  form: { status: 405 | 415; method: string; unary: boolean },
): void {
  const { status, method, unary } = form;
  // Connect has a content type of its own for a method that streams: its messages have prefixes.
  const connect = unary ? "application/json, application/proto" : "application/connect+json, application/connect+proto";
  const contentTypes = `${connect}, application/grpc, application/grpc-web`;
  const [name, value] = status === 405 ? ["allow", "POST"] : ["accept-post", contentTypes];
  const kind = unary ? "" : ", which streams,";
  const body = Buffer.from(`a call of ${method}${kind} is a POST with one of these content types: ${contentTypes}\n`);
  const headers = { "content-type": "text/plain; charset=utf-8", [name]: value };
  send(response, { status, headers, body: request.method === "HEAD" ? undefined : body });
}

/** Answers a call over HTTP/1.1 of a method that streams both ways: UNIMPLEMENTED, which is 505 where HTTP's own statuses are used. */
export function refuseHttp1(request: NodeRequest, response: NodeResponse, rpc: string): void {
  const error = new ConnectError(`${rpc} streams both ways, which needs HTTP/2`, Code.Unimplemented);
  const contentType = request.headers["content-type"];
  if (contentType === undefined || !/^application\/connect\+/i.test(contentType)) {
    refuse(request, response, error, 505);
    return;
  }
  // A client of Connect reads the error of a stream from its last message only.
  const last = Buffer.from(JSON.stringify(endStreamToJson(new Headers(), error, undefined)));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(endStreamFlag, 0);
  prefix.writeUInt32BE(last.byteLength, 1);
  send(response, { status: 200, headers: { "content-type": contentType }, body: Buffer.concat([prefix, last]) });
}

/** Answers a request that is not fit to be looked at. */
export function refuseMalformed(request: NodeRequest, response: NodeResponse, message: string): void {
  refuse(request, response, new ConnectError(message, Code.InvalidArgument));
}

/** Answers a request that is beyond a limit: RESOURCE_EXHAUSTED, with the limit and, where that helps, when to try again. */
export function refuseOverLimit(request: NodeRequest, response: NodeResponse, limit: OverLimit): void {
  refuse(request, response, overLimitError(limit), limit.httpStatus);
}

/** A limit that a request is beyond. */
export interface OverLimit {
  readonly name: string;
  readonly value: number;
  readonly retryDelayMs?: number;
  readonly httpStatus?: number;
}

export function overLimitError({ name, value, retryDelayMs }: OverLimit): ConnectError {
  return fromControllerError(limitError(name, value, `the limit ${name} is ${value}`, retryDelayMs));
}

/** Answers what a browser asks before a call; what it may is in the headers of the response already. */
export function answerPreflight(response: NodeResponse): void {
  send(response, { status: 204, headers: {}, body: undefined });
}

interface WholeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
}

function send(response: NodeResponse, { status, headers, body }: WholeAnswer): void {
  const stream = http2Stream(response);
  if (stream !== undefined) {
    if (stream.destroyed || stream.headersSent) return;
    // For gRPC the status must be in the only header block: an answer of writeHead and end is not understood.
    const set = (response as Http2ServerResponse).getHeaders();
    stream.respond({ ":status": status, ...set, ...headers }, { endStream: body === undefined });
    if (body !== undefined) stream.end(body);
    return;
  }
  if (response.headersSent) return;
  // What is left of the request is not read; the connection cannot be used again.
  const h1 = response as ServerResponse;
  h1.writeHead(status, { ...headers, connection: "close", "content-length": body?.byteLength ?? 0 });
  h1.end(body);
}
