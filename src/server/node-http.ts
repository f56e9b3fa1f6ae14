import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, type Http2ServerResponse, type ServerHttp2Stream } from "node:http2";

/** A request of either version of HTTP. */
export type NodeRequest = IncomingMessage | Http2ServerRequest;
/** The response to it. */
export type NodeResponse = ServerResponse | Http2ServerResponse;

/** The stream of a request or response of HTTP/2; undefined for HTTP/1.1. */
export function http2Stream(message: NodeRequest | NodeResponse): ServerHttp2Stream | undefined {
  return "stream" in message ? message.stream : undefined;
}

/** In which protocol a request is to be answered, told by its content type. */
export type WireProtocol = "grpc" | "grpc-web" | "connect" | "none";

export function wireProtocol(contentType: string | undefined): WireProtocol {
  if (contentType === undefined) return "none";
  if (/^application\/grpc-web/i.test(contentType)) return "grpc-web";
  if (/^application\/grpc(?:$|[+; ])/i.test(contentType)) return "grpc";
  if (/^application\/(?:json|proto|connect\+\w+)(?:$|[; ])/i.test(contentType)) return "connect";
  return "none";
}

/**
 * The authority (or Host) that a request is for; undefined if it has none that a URL
 * can have, or more than one Host (RFC 9112, section 3.2): of those two readers might each take another. The adapter makes a URL of it outside of every handler, where it throws.
 */
export function requestAuthority(request: NodeRequest): string | undefined {
  const authority = "authority" in request && request.authority ? request.authority : request.headers.host;
  return checkAuthority(authority, request.rawHeaders);
}

/** The same of what a request says in its headers. */
export function checkAuthority(authority: string | undefined, rawHeaders: readonly string[]): string | undefined {
  const hosts = rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === "host");
  if (hosts.length > 1) return undefined;
  if (authority === undefined || authority.length > 261 || !/^[\x21-\x7e]+$/.test(authority)) return undefined;
  if (/[/?#@\\]/.test(authority)) return undefined;
  return URL.canParse(`http://${authority}`) ? authority : undefined;
}

/** The path of a request without its query. */
export function requestPath(request: NodeRequest): string {
  return request.url?.split("?", 1)[0] ?? "";
}

/** How long after its answer a request that was not read to its end may stay. */
export const lingerMs = 500;

/** Ends a stream now, whatever there is still to be read or written. */
export function cutOffStream(stream: ServerHttp2Stream): void {
  if (!stream.destroyed) stream.close(stream.writableFinished ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
}
