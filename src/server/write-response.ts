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
 * 3. A peer that takes nothing for `stallMaxMs` of what was written is said to stall, also where Node still has room for more: a
 *    stream on which little is said would take hours to fill that.
 */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import type { Clock } from "../clock.ts";
import { http2Stream, type NodeResponse } from "./node-http.ts";

export interface WriteOptions {
  readonly clock: Clock;
  readonly stallMaxMs: number;
  /** The peer does not read. It is to be cut off, which ends the writing. */
  readonly onStall: () => void;
}

/** Resolves when all was handed over, or the peer has left. Rejects with what the handler's body throws. */
export async function writeResponse(
  answer: UniversalServerResponse,
  nodeResponse: NodeResponse,
  options: WriteOptions,
): Promise<void> {
  // The methods that are used here are the same for both versions of HTTP.
  const response = nodeResponse as ServerResponse;
  const body = answer.body?.[Symbol.asyncIterator]();
  const closed = closedSignal(response);
  const stall = new StallWatch(options);
  try {
    if (body !== undefined) {
      // Headers go out with the first chunk, so that a handler may still set some.
      for (let next = await body.next(); next.done !== true; next = await body.next()) {
        if (closed.signal.aborted) return;
        if (!response.headersSent) response.writeHead(answer.status, nodeHeaders(answer.header));
        stall.wrote();
        if (response.write(next.value, () => stall.taken())) continue;
        await drained(response, closed.signal);
      }
    }
    if (closed.signal.aborted) return;
    if (!response.headersSent) response.writeHead(answer.status, nodeHeaders(answer.header));
    if (answer.trailer !== undefined) response.addTrailers(nodeHeaders(answer.trailer));
    response.end();
  } finally {
    stall.stop();
    closed.stop();
    body?.return?.().catch(() => {});
  }
}

/** Resolves at the "drain" of the response, or when that is closed. */
function drained(response: ServerResponse, closed: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off("drain", settle);
      closed.removeEventListener("abort", settle);
      resolve();
    };
    response.once("drain", settle);
    closed.addEventListener("abort", settle);
    if (closed.aborted) settle();
  });
}

/** Calls `onStall` when the peer has taken nothing for too long of what was written. */
class StallWatch {
  readonly #options: WriteOptions;
  #untaken = 0;
  #isOver = false;
  #cancel: () => void = () => {};

  constructor(options: WriteOptions) {
    this.#options = options;
  }

  wrote(): void {
    this.#untaken += 1;
    if (this.#untaken === 1) this.#arrange();
  }

  /** Node calls back when it is through the peer's window, and on its way. */
  taken(): void {
    this.#untaken -= 1;
    this.#cancel();
    if (this.#untaken > 0) this.#arrange();
  }

  stop(): void {
    this.#isOver = true;
    this.#cancel();
  }

  #arrange(): void {
    if (this.#isOver) return;
    const { clock, stallMaxMs, onStall } = this.#options;
    this.#cancel = clock.after(stallMaxMs, onStall);
  }
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
