/**
 * The handlers of the served methods, each for gRPC, gRPC-Web and Connect; one that has one message in its request is there for the lane of gRPC, too,
 * and one that streams both ways may be implemented in batches, for gRPC.
 *
 * connect calls a message that it cannot decode INTERNAL, which is for the server's
 * own faults. For gRPC and gRPC-Web every method is therefore served as one that
 * streams (on the wire they are the same): only then do interceptors see what goes
 * wrong while the request is read. For Connect's unary calls the answer is put right.
 */
import {
  createRegistry,
  type DescMessage,
  type DescMethod,
  type DescMethodBiDiStreaming,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  type Message,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createMethodImplSpec,
  type HandlerContext,
  type Interceptor,
  type MethodImplSpec,
} from "@connectrpc/connect";
import {
  createAsyncIterable,
  createUniversalMethodHandler,
  type ProtocolHandlerFactory,
  type UniversalHandler,
  type UniversalHandlerFn,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  createHandlerFactory as createConnectFactory,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { createHandlerFactory as createGrpcFactory } from "@connectrpc/connect/protocol-grpc";
import { createHandlerFactory as createGrpcWebFactory } from "@connectrpc/connect/protocol-grpc-web";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.js";
import { onAbort } from "../async/signals.ts";
import "../messages/whole-text.ts";
import type { BatchCall } from "./batches.ts";
import { abortError, type Implementation, type StreamCall, type UnaryCall } from "./call.ts";
import type { RequestLimit } from "./errors.ts";
import { createGrpcBidi } from "./grpc-bidi.ts";
import { createGrpcStream, type GrpcStream } from "./grpc-stream.ts";
import { createGrpcUnary, type GrpcUnary } from "./grpc-unary.ts";
import { createGzip } from "./gzip.ts";
import { fromInputError } from "./input-error.ts";

/** Bytes that are no UTF-8 are refused in JSON as they are in messages: replaced, a text would be kept that nobody has sent. */
const strictText = new TextDecoder("utf-8", { fatal: true });

/** A service with what implements it. */
export interface Route {
  readonly service: DescService;
  readonly implementation: Partial<Implementation<DescService>>;
  /** For methods (by their local names) whose requests may be larger than those of others. */
  readonly requestLimits: Readonly<Record<string, RequestLimit>>;
  /** The methods (by their local names) of which many calls may come at once, and can wait. */
  readonly givingWay: readonly string[];
  /** What implements methods that stream both ways (by their local names) over gRPC, with many messages at once. */
  readonly inBatches: Readonly<Record<string, BatchCall>>;
}

/** What is said of a route beside what implements it. */
interface RouteOptions<S extends DescService> {
  readonly requestLimits?: { readonly [M in keyof S["method"]]?: RequestLimit };
  readonly givingWay?: readonly (keyof S["method"] & string)[];
  readonly inBatches?: {
    readonly [M in keyof S["method"]]?: S["method"][M] extends DescMethodBiDiStreaming<infer I, infer O>
      ? BatchCall<MessageShape<I>, MessageShape<O>>
      : never;
  };
}

/** Pairs a service with what implements it, checked against it. */
export function route<S extends DescService>(
  service: S,
  implementation: Implementation<S>,
  { requestLimits = {}, givingWay = [], inBatches = {} }: RouteOptions<S> = {},
): Route {
  return {
    service,
    implementation: implementation as Partial<Implementation<DescService>>,
    requestLimits: requestLimits as Record<string, RequestLimit>,
    givingWay,
    inBatches: inBatches as Record<string, BatchCall>,
  };
}

/** The handler of a method, and how large a message of its requests may be. */
export interface ServedMethod {
  readonly handler: UniversalHandler;
  /** The same over gRPC by hand, where it is a unary method. */
  readonly unary: GrpcUnary | undefined;
  /** The same over gRPC by hand, where it streams its answers and not its requests. */
  readonly stream: GrpcStream | undefined;
  readonly requestLimit: RequestLimit;
  /** Its calls are begun a few at a time, so that what is under way goes on in between. */
  readonly givesWay: boolean;
}

/** The methods by path, such as "/stint.v1.TaskControllerService/LaunchTask". */
export function createHandlers(
  routes: readonly Route[],
  limits: { requestMaxBytes: number; responseMaxBytes: number },
): Map<string, ServedMethod> {
  const usual: RequestLimit = { name: "request_max_bytes", value: limits.requestMaxBytes };
  const methods = new Map<string, ServedMethod>();
  for (const { service, implementation, requestLimits, givingWay, inBatches } of routes) {
    for (const method of service.methods) {
      const implement = implementation[method.localName] as Function | undefined;
      if (implement === undefined) throw new Error(`${service.typeName}.${method.name} is not implemented`);
      const bound: unknown = implement.bind(implementation);
      const forConnect = isServerStreaming(method) ? iterating(bound as StreamCall) : bound;
      const spec = createMethodImplSpec(method, forConnect as never);
      const requestLimit = requestLimits[method.localName] ?? usual;
      const protocols = createProtocols(requestLimit, limits.responseMaxBytes, inBatches[method.localName]);
      const handler = createUniversalMethodHandler(spec, protocols);
      const grpcLimits = { requestLimit, writeMaxBytes: limits.responseMaxBytes };
      const unary = isUnary(method) ? createGrpcUnary(method, bound as UnaryCall, grpcLimits) : undefined;
      const stream = isServerStreaming(method) ? createGrpcStream(method, bound as StreamCall, grpcLimits) : undefined;
      const givesWay = givingWay.includes(method.localName);
      methods.set(handler.requestPath, { handler, unary, stream, requestLimit, givesWay });
    }
  }
  return methods;
}

function isUnary(method: DescMethod): method is DescMethodUnary {
  return method.methodKind === "unary";
}

function isServerStreaming(method: DescMethod): method is DescMethodServerStreaming {
  return method.methodKind === "server_streaming";
}

/** The answers of a method as connect has them. */
function iterating(implement: StreamCall) {
  return async function* iterate(request: Message, context: HandlerContext): AsyncGenerator<object> {
    const answers = implement(request, context);
    const off = onAbort(context.signal, () => answers.end(abortError(context.signal)));
    try {
      for (let next = await answers.next(); next.done !== true; next = await answers.next()) yield next.value;
    } finally {
      off();
      answers.close();
    }
  };
}

/** What a google.protobuf.Any in an answer may hold: JSON has its fields, and nothing for a type that is not known. */
const detailTypes = createRegistry(BadRequestSchema, ErrorInfoSchema, ResourceInfoSchema, RetryInfoSchema);

function createProtocols(
  requestLimit: RequestLimit,
  writeMaxBytes: number,
  batches: BatchCall | undefined,
): ProtocolHandlerFactory[] {
  const options = {
    acceptCompression: [createGzip(requestLimit)],
    // Answers are never compressed: it would take the threads that the store syncs on.
    compressMinBytes: Number.MAX_SAFE_INTEGER,
    // The name of a value that an enum does not have would be dropped with the keys that nobody knows, and its
    // default taken: "FAIL" for IF_ACTIVE_FAIL would restart a task.
    jsonOptions: { ignoreUnknownFields: false, registry: detailTypes, textDecoder: strictText },
    readMaxBytes: requestLimit.value,
    writeMaxBytes,
    // A deadline above the maximum is clamped before a handler sees it.
    maxTimeoutMs: Number.MAX_SAFE_INTEGER,
    interceptors: [blameInputOnClient],
  };
  const grpc = createGrpcFactory(options);
  const grpcWeb = createGrpcWebFactory(options);
  const connect = createConnectFactory(options);
  const overGrpc = (spec: MethodImplSpec): UniversalHandler => {
    const handler = grpc(asStreaming(spec));
    if (batches === undefined || spec.kind !== "bidi_streaming") return handler;
    const { method } = spec;
    return inPlaceOf(
      handler,
      createGrpcBidi(method, { implement: batches, requestLimit, writeMaxBytes, otherwise: handler }),
    );
  };
  return [
    Object.assign(overGrpc, { protocolName: grpc.protocolName }),
    Object.assign((spec: MethodImplSpec) => grpcWeb(asStreaming(spec)), { protocolName: grpcWeb.protocolName }),
    Object.assign((spec: MethodImplSpec) => repairing(connect(spec)), { protocolName: connect.protocolName }),
  ];
}

function asStreaming(spec: MethodImplSpec): MethodImplSpec {
  if (spec.kind !== "unary") return spec;
  const { impl } = spec;
  async function* stream(...call: Parameters<typeof impl>) {
    yield await impl(...call);
  }
  return { ...spec, kind: "server_streaming", impl: stream } as unknown as MethodImplSpec;
}

/** Whatever fails while the messages of a request are read is the client's mistake, or its leaving. */
const blameInputOnClient: Interceptor = (next) => (request) => {
  return request.stream
    ? next({ ...request, message: readMessages(request.message, request.method.input) })
    : next(request);
};

async function* readMessages<T>(messages: AsyncIterable<T>, input: DescMessage): AsyncGenerator<T> {
  const iterator = messages[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<T>;
      try {
        next = await iterator.next();
      } catch (error) {
        throw fromInputError(error, input);
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    iterator.return?.().catch(() => {});
  }
}

/** The same handler; for a unary call, its answer to a message that cannot be decoded is INVALID_ARGUMENT, and no longer than it should be. */
function repairing(handler: UniversalHandler): UniversalHandler {
  if (handler.method.methodKind !== "unary") return handler;
  return inPlaceOf(handler, async (request) => repairAnswer(await handler(request), handler.method.input));
}

/** A handler of the same method and protocol, which does something else. */
function inPlaceOf(handler: UniversalHandler, does: UniversalHandlerFn): UniversalHandler {
  const { service, method, requestPath, supportedContentType, protocolNames, allowedMethods } = handler;
  return Object.assign(does, { service, method, requestPath, supportedContentType, protocolNames, allowedMethods });
}

async function repairAnswer(response: UniversalServerResponse, input: DescMessage): Promise<UniversalServerResponse> {
  if (response.status < 400 || response.body === undefined) return response;
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const error = errorFromJsonBytes(bytes, undefined, new ConnectError("", Code.Unknown));
  // What has details was made here; what has none may be the library's, about a message.
  const undecodable = error.rawMessage.startsWith("parse binary: ") || error.code === Code.InvalidArgument;
  const repaired = undecodable && error.details.length === 0 ? fromInputError(error, input) : undefined;
  const body = repaired === undefined ? bytes : errorToJsonBytes(repaired, {});
  const header = new Headers(response.header);
  header.set("content-length", String(body.byteLength));
  const status = repaired === undefined ? response.status : codeToHttpStatus(repaired.code);
  return { ...response, status, header, body: createAsyncIterable([body]) };
}
