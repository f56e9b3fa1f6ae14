/**
 * Writes the answer of a handler, one chunk at a time.
 *
 * It owns one response. connect-node's own writer waits for a "drain" that never
 * comes when the peer leaves meanwhile, and waits for ever for a peer that does not read.
 *
 * 1. The next chunk is pulled when the one before was taken: a slow reader
 *    holds one chunk, and the handler waits.
 * 2. Whatever way it ends, the handler's iterator is told to return, so that what it
 *    holds is let go of.
 * 3. A peer that does not read for `stallMaxMs` is cut off.
 */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import type { Clock } from "../clock.ts";
import { http2Stream, type NodeResponse } from "./node-http.ts";

export type WriteOutcome = "finished" | "left" | "stalled";

/** Resolves when all was handed over, or the peer has left or does not read. Rejects with what the handler's body throws. */
export async function writeResponse(
  answer: UniversalServerResponse,
  nodeResponse: NodeResponse,
  options: { clock: Clock; stallMaxMs: number },
): Promise<WriteOutcome> {
  // The methods that are used here are the same for both versions of HTTP.
  const response = nodeResponse as ServerResponse;
  const body = answer.body?.[Symbol.asyncIterator]();
  const closed = closedSignal(response);
  try {
    if (body !== undefined) {
      // Headers go out with the first chunk, so that a handler may still set some.
      for (let next = await body.next(); next.done !== true; next = await body.next()) {
        if (closed.signal.aborted) return "left";
        if (!response.headersSent) response.writeHead(answer.status, nodeHeaders(answer.header));
        if (response.write(next.value)) continue;
        const outcome = await drained(response, closed.signal, options);
        if (outcome !== "finished") return outcome;
      }
    }
    if (closed.signal.aborted) return "left";
    if (!response.headersSent) response.writeHead(answer.status, nodeHeaders(answer.header));
    if (answer.trailer !== undefined) response.addTrailers(nodeHeaders(answer.trailer));
    response.end();
    return "finished";
  } finally {
    closed.stop();
    body?.return?.().catch(() => {});
  }
}

/** Resolves at the "drain" of the response, or at what comes instead of it. */
function drained(
  response: ServerResponse,
  closed: AbortSignal,
  { clock, stallMaxMs }: { clock: Clock; stallMaxMs: number },
): Promise<WriteOutcome> {
  return new Promise((resolve) => {
    const settle = (outcome: WriteOutcome): void => {
      response.off("drain", onDrain);
      closed.removeEventListener("abort", onClose);
      cancelTimer();
      resolve(outcome);
    };
    const onDrain = (): void => settle("finished");
    const onClose = (): void => settle("left");
    const cancelTimer = clock.after(stallMaxMs, () => settle("stalled"));
    response.once("drain", onDrain);
    closed.addEventListener("abort", onClose);
    if (closed.aborted) onClose();
  });
}

function closedSignal(response: ServerResponse): { signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const onClose = (): void => controller.abort();
  response.once("close", onClose);
  if (http2Stream(response)?.destroyed ?? response.destroyed) onClose();
  return { signal: controller.signal, stop: () => response.off("close", onClose) };
}

/** Headers in the form that Node takes. */
export function nodeHeaders(headers: UniversalServerResponse["header"]): OutgoingHttpHeaders {
  const result: OutgoingHttpHeaders = {};
  for (const [name, value] of new Headers(headers)) result[name] = name === "grpc-message" ? grpcMessage(value) : value;
  return result;
}

/**
 * The library encodes a message like a part of a URL, and clients that decode it with decodeURI
 * (grpc-js) show "%3A" for ":". gRPC asks for less: only what is not printable ASCII, and "%", is encoded
 * (PROTOCOL-HTTP2.md, Percent-Encoded).
 */
function grpcMessage(encoded: string): string {
  return decodeURIComponent(encoded).replace(/[^\x20-\x24\x26-\x7e]+/gu, (text) =>
    encodeURIComponent(text.toWellFormed()),
  );
}
