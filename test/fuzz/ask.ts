/** A request given to a request listener as Node would, without a socket, and its answer in the terms of gRPC. */
import { EventEmitter } from "node:events";
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Duplex, Readable, Writable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RequestListener } from "../../src/server/request-listener.ts";
import { type Answer, readAnswer } from "./read-answer.ts";

export interface Asked {
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Whether it comes over HTTP/2. */
  readonly isHttp2: boolean;
  /** Its answers may be long in coming, or never end: then the client leaves. */
  readonly mayWait: boolean;
}

const hangMs = 10_000;
/** What is not answered after so many turns of the event loop waits for something. */
const patientTurns = 40;

/** Resolves when it is answered, or left. Throws where it should have been answered, and was not. */
export async function ask(requests: RequestListener, asked: Asked): Promise<Answer> {
  const exchange = begin(requests, asked);
  const beganMs = performance.now();
  let hasLeft = false;
  for (let turns = 0; !exchange.isOver(); turns += 1) {
    const isWaiting = asked.mayWait && (turns >= patientTurns || exchange.hasMessages());
    if (isWaiting) {
      exchange.leave();
      hasLeft = true;
      break;
    }
    if (turns % 64 === 63 && performance.now() - beganMs > hangMs) throw new Error("the request was not answered");
    await nextTurn();
  }
  exchange.leave();
  return { ...readAnswer(exchange.received()), hasLeft };
}

/** What has come of an answer. */
export interface ReceivedParts {
  readonly headers: OutgoingHttpHeaders;
  readonly trailers: OutgoingHttpHeaders;
  readonly body: Buffer;
}

interface Exchange {
  isOver(): boolean;
  hasMessages(): boolean;
  leave(): void;
  received(): ReceivedParts;
}

function begin(requests: RequestListener, asked: Asked): Exchange {
  const { path, method, headers, body } = asked;
  if (!asked.isHttp2) return beginCompatible(requests, asked);
  const all = { ":path": path, ":method": method, ":authority": "test", ":scheme": "http", ...headers };
  const served = requests.grpc.find(all as IncomingHttpHeaders, Object.entries(all).flat());
  if (served === undefined) return beginCompatible(requests, asked);
  const stream = new FakeStream(body);
  requests.grpc.handle(served, stream as unknown as ServerHttp2Stream, all as IncomingHttpHeaders);
  return stream;
}

/** A stream of HTTP/2, as the lane of gRPC uses it. */
class FakeStream extends Duplex implements Exchange {
  headersSent = false;
  readonly session = undefined;
  readonly rstCode = 0;
  aborted = false;
  #headers: OutgoingHttpHeaders = {};
  #trailers: OutgoingHttpHeaders = {};
  #waitsForTrailers = false;
  readonly #chunks: Buffer[] = [];

  constructor(body: Buffer) {
    super();
    this.push(body);
    this.push(null);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.#chunks.push(chunk);
    done();
  }

  override _final(done: () => void): void {
    if (this.#waitsForTrailers) this.emit("wantTrailers");
    done();
  }

  respond(headers: OutgoingHttpHeaders, options: { endStream?: boolean; waitForTrailers?: boolean } = {}): void {
    this.headersSent = true;
    this.#headers = headers;
    this.#waitsForTrailers = options.waitForTrailers === true;
    if (options.endStream === true) this.end();
  }

  sendTrailers(trailers: OutgoingHttpHeaders): void {
    this.#trailers = trailers;
  }

  close(): void {
    this.destroy();
  }

  isOver(): boolean {
    return this.writableFinished || this.destroyed;
  }

  hasMessages(): boolean {
    return this.#chunks.length > 0;
  }

  leave(): void {
    this.aborted = !this.writableFinished;
    this.destroy();
  }

  received(): ReceivedParts {
    return { headers: this.#headers, trailers: this.#trailers, body: Buffer.concat(this.#chunks) };
  }
}

class FakeRequest extends Readable {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly rawHeaders: string[];
  readonly httpVersion: string;
  readonly socket: object;
  complete = false;

  constructor({ method, path, headers, body, isHttp2 }: Asked, response: FakeResponse) {
    // A request of HTTP/2 is closed with its stream, and not when it was read.
    super({ autoDestroy: !isHttp2 });
    this.method = method;
    this.url = path;
    this.headers = isHttp2 ? headers : { host: "test", ...headers };
    this.rawHeaders = Object.entries(this.headers).flat();
    this.httpVersion = isHttp2 ? "2.0" : "1.1";
    this.socket = Object.assign(new EventEmitter(), { destroy: () => response.destroy(), destroySoon: () => {} });
    if (isHttp2) Object.assign(this, { authority: "test", stream: new FakeHttp2Side(this, response) });
    this.push(body);
    this.push(null);
  }

  override _read(): void {
    this.complete = true;
  }
}

class FakeResponse extends Writable implements Exchange {
  headersSent = false;
  shouldKeepAlive = true;
  request: FakeRequest | undefined;
  #headers: OutgoingHttpHeaders = {};
  #trailers: OutgoingHttpHeaders = {};
  readonly #chunks: Buffer[] = [];

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.#chunks.push(chunk);
    done();
  }

  setHeader(name: string, value: string): void {
    this.#headers[name] = value;
  }

  getHeaders(): OutgoingHttpHeaders {
    return this.#headers;
  }

  writeHead(status: number, headers: OutgoingHttpHeaders = {}): void {
    this.headersSent = true;
    this.#headers = { ...this.#headers, ...headers, ":status": status };
  }

  addTrailers(trailers: OutgoingHttpHeaders): void {
    this.#trailers = trailers;
  }

  isOver(): boolean {
    return this.writableFinished || this.destroyed;
  }

  hasMessages(): boolean {
    return this.#chunks.length > 0;
  }

  leave(): void {
    this.destroy();
    this.request?.destroy();
  }

  received(): ReceivedParts {
    return { headers: this.#headers, trailers: this.#trailers, body: Buffer.concat(this.#chunks) };
  }
}

/** What of a stream of HTTP/2 is looked at behind Node's compatibility layer. */
class FakeHttp2Side {
  readonly rstCode = 0;
  readonly aborted = false;
  readonly #request: FakeRequest;
  readonly #response: FakeResponse;

  constructor(request: FakeRequest, response: FakeResponse) {
    this.#request = request;
    this.#response = response;
  }

  get destroyed(): boolean {
    return this.#response.destroyed;
  }

  get headersSent(): boolean {
    return this.#response.headersSent;
  }

  get readableEnded(): boolean {
    return this.#request.readableEnded;
  }

  get writableFinished(): boolean {
    return this.#response.writableFinished;
  }

  respond(headers: OutgoingHttpHeaders, { endStream = false }: { endStream?: boolean } = {}): void {
    this.#response.writeHead(Number(headers[":status"]), headers);
    if (endStream) this.#response.end();
  }

  end(body: Buffer): void {
    this.#response.end(body);
  }

  close(): void {
    this.#response.destroy();
  }
}

function beginCompatible(requests: RequestListener, asked: Asked): Exchange {
  const response = new FakeResponse();
  const request = new FakeRequest(asked, response);
  response.request = request;
  if (asked.isHttp2) Object.assign(response, { stream: (request as unknown as { stream: object }).stream });
  requests.handle(request as never, response as never);
  return response;
}
