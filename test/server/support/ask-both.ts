/** The same call of gRPC by the lane and by connect: what has a query in its path, which says nothing, is left to connect. */
import type { OutgoingHttpHeaders } from "node:http2";
import { grpcHeaders, http2Request, type RawAnswer } from "../../support/raw-http.ts";
import type { ServedFake } from "../../support/served-fake.ts";

/** What a client sees: an error may have its trailers in the headers. */
export function seen({ status, headers, trailers, body, resetCode }: RawAnswer): object {
  const { date: _, "grpc-encoding": __, ...pairs } = { ...headers, ...trailers };
  return { status, pairs, body: body.toString("hex"), resetCode };
}

export interface Asked {
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body: Uint8Array;
  /** Sent after the body; default true. */
  readonly end?: boolean;
}

/** Both answers; that of the lane is known by what it has of an error in its headers. */
export async function askBoth({ port }: ServedFake, { path, headers = {}, body, end = true }: Asked) {
  const ask = (to: string) => http2Request(port, { ...grpcHeaders, ":path": to, ...headers }, body, { end });
  return { lane: await ask(path), connect: await ask(`${path}?`) };
}
