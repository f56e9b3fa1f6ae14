import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type Message,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { StatusSchema } from "#gen/google/rpc/status_pb.js";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";

type Methods = typeof TaskControllerService.method;
type RequestOf<K extends keyof Methods> = MessageShape<Methods[K]["input"]>;
type ReplyOf<K extends keyof Methods> = MessageInitShape<Methods[K]["output"]>;

/** What a method of the fake answers: a reply, or for a stream, what happens on it. Throw a StatusFailure to fail. */
export type FakeHandlers = {
  [K in keyof Methods]?: Methods[K]["methodKind"] extends "unary"
    ? (request: RequestOf<K>) => ReplyOf<K> | Promise<ReplyOf<K>>
    : (request: RequestOf<K>, stream: FakeStream<ReplyOf<K>>) => void | Promise<void>;
};

/** One server stream, as the handler sees it. */
export interface FakeStream<R> {
  send(reply: R): void;
  /** Ends it with OK. */
  end(): void;
  fail(failure: StatusFailure): void;
  /** Resolves when the client has left. */
  readonly cancelled: Promise<void>;
}

/** A gRPC status with google.rpc details. */
export class StatusFailure extends Error {
  readonly code: grpc.status;
  readonly details: readonly Message[];
  readonly descs: readonly DescMessage[];

  constructor(code: grpc.status, message: string, details: ReadonlyArray<readonly [DescMessage, object]> = []) {
    super(message);
    this.code = code;
    this.descs = details.map(([desc]) => desc);
    this.details = details.map(([desc, init]) => create(desc, init as never) as Message);
  }

  toServiceError(): grpc.ServiceError {
    const metadata = new grpc.Metadata();
    const packed = this.details.map((detail, index) => anyPack(this.descs[index] as DescMessage, detail as never));
    if (packed.length > 0) {
      const status = create(StatusSchema, { code: this.code, message: this.message, details: packed });
      metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, status)));
    }
    return Object.assign(new Error(this.message), { code: this.code, details: this.message, metadata });
  }
}

/** A gRPC server on a socket of this machine that answers as it is told; methods without a handler are UNIMPLEMENTED. */
export interface FakeServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Breaks every connection, and takes no more. */
  kill(): void;
}

/** Starts a fake server; port 0 is any free one. */
export async function openFakeServer(handlers: FakeHandlers, port = 0): Promise<FakeServer> {
  const server = new grpc.Server();
  const implementation: grpc.UntypedServiceImplementation = {};
  const definition: Record<string, grpc.MethodDefinition<Message, Message>> = {};
  for (const method of TaskControllerService.methods) {
    const handler = (handlers as Record<string, ((...args: never[]) => unknown) | undefined>)[method.localName];
    definition[method.localName] = definitionOf(method);
    if (handler) implementation[method.localName] = method.methodKind === "unary" ? unary(handler) : streaming(handler);
  }
  server.addService(definition, implementation);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, at) =>
      error ? reject(error) : resolve(at),
    );
  });
  return {
    address: `127.0.0.1:${bound}`,
    port: bound,
    kill: () => server.forceShutdown(),
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}

function definitionOf(method: DescMethod): grpc.MethodDefinition<Message, Message> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === "server_streaming",
    requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (message) => Buffer.from(toBinary(method.output, create(method.output, message))),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

function unary(handler: (...args: never[]) => unknown): grpc.handleUnaryCall<Message, Message> {
  return (call, callback) => {
    // In a promise, so that what the handler throws is caught too.
    Promise.resolve()
      .then(() => handler(call.request as never))
      .then(
        (reply) => callback(null, reply as Message),
        (error: unknown) => callback(toServiceError(error)),
      );
  };
}

function streaming(handler: (...args: never[]) => unknown): grpc.handleServerStreamingCall<Message, Message> {
  return (call) => {
    const cancelled = new Promise<void>((resolve) => call.on("cancelled", resolve));
    const fail = (error: unknown): void => void call.emit("error", toServiceError(error));
    const stream: FakeStream<Message> = {
      send: (reply) => void call.write(reply),
      end: () => call.end(),
      fail,
      cancelled,
    };
    Promise.resolve()
      .then(() => handler(call.request as never, stream as never))
      .catch(fail);
  };
}

/** A failure that was asked for, or, of a handler that is wrong, INTERNAL with its message. */
function toServiceError(error: unknown): grpc.ServiceError {
  const failure = error instanceof StatusFailure ? error : new StatusFailure(grpc.status.INTERNAL, String(error));
  return failure.toServiceError();
}
