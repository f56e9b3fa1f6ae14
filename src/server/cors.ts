/**
 * Which pages of the web may call. Without a list none may: a browser names the page's origin in
 * every call that a page makes, and one that is not on the list is refused before anything else is looked at. That also keeps
 * out a page whose name was made to lead to this machine (DNS rebinding).
 */
import { Code, ConnectError, cors } from "@connectrpc/connect";
import type { NodeRequest, NodeResponse } from "./node-http.ts";

/** How long a browser may remember what it was allowed; browsers have limits of their own. */
const maxAgeS = 7_200;

const allowedHeaders = [...cors.allowedHeaders, "Authorization"].join(", ");
const exposedHeaders = [...cors.exposedHeaders, "Grpc-Status-Details-Bin"].join(", ");

export type CorsOutcome =
  /** No page asks, or one that may: go on. */
  | { readonly kind: "admitted" }
  /** It asks what it may: the headers of the response say so. */
  | { readonly kind: "preflight" }
  | { readonly kind: "refused"; readonly error: ConnectError };

/** Looks at where a request comes from, and sets what the response must say to the browser. */
export function checkOrigin(request: NodeRequest, response: NodeResponse, allowed: ReadonlySet<string>): CorsOutcome {
  const { origin } = request.headers;
  if (origin === undefined) return { kind: "admitted" };
  if (!allowed.has(origin.toLowerCase())) {
    const message =
      "pages of this origin may not call this server; corsOrigins in its configuration lists those that may";
    return { kind: "refused", error: new ConnectError(message, Code.PermissionDenied) };
  }
  response.setHeader("access-control-allow-origin", origin);
  response.setHeader("vary", "Origin");
  if (request.method !== "OPTIONS") {
    response.setHeader("access-control-expose-headers", exposedHeaders);
    return { kind: "admitted" };
  }
  response.setHeader("access-control-allow-methods", cors.allowedMethods.join(", "));
  response.setHeader("access-control-allow-headers", allowedHeaders);
  response.setHeader("access-control-max-age", String(maxAgeS));
  return { kind: "preflight" };
}

/** What is wrong with the text as the origin of a page; undefined where nothing is. */
export function checkCorsOrigin(text: string): string | undefined {
  if (parseOrigin(text) !== undefined) return undefined;
  return `${JSON.stringify(text)} is not the origin of a page, such as https://tasks.example.com, with no path and no * in it`;
}

/** The origin as browsers send it; undefined where it is none, such as one with a path. */
export function parseOrigin(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { origin, protocol } = new URL(text);
  const isWeb = protocol === "http:" || protocol === "https:";
  return isWeb && text.toLowerCase() === origin ? origin : undefined;
}
