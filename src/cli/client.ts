import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, Metadata } from "@grpc/grpc-js";
import type { Clock } from "../clock.ts";
import { channelTo } from "../runner-client/grpc-channel.ts";
import { decodeRpcError, type ServiceFailure } from "./rpc-error.ts";

/** A connection to a server, made at the first call. Calls reject with RpcError. */
export interface RpcClient {
  /** Where the server is, as HOST:PORT or https://HOST:PORT. */
  readonly address: string;
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options?: CallOptions,
  ): Promise<MessageShape<O>>;
  /** Leaving the loop, or aborting the signal, ends the stream; the latter throws the signal's reason. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    options?: { readonly signal?: AbortSignal },
  ): AsyncGenerator<MessageShape<O>>;
  close(): void;
}

export interface CallOptions {
  /** Gives the call up and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Default 10,000: enough for one synced write of a server that is busy. */
  readonly timeoutMs?: number;
}

/** A client of the server at HOST:PORT or https://HOST:PORT, as `channelTo` reaches it. Never fails: a server that is not there shows at the first call. */
export function openClient(address: string, { clock, ca }: { readonly clock: Clock; readonly ca?: Buffer }): RpcClient {
  const channel = channelTo(address, ca);
  const client = new Client(channel.host, channel.security, {
    ...channel.options,
    // A server that comes back is found within 2 s. (The default waits up to 120 s.)
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2000,
    // A peer that vanished without closing the connection is noticed within 30 s.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
  });
  return {
    address,
    call: (method, request, options) => callUnary(client, method, request, { ...options, clock }),
    stream: (method, request, options) => callStream(client, method, request, options),
    close: () => client.close(),
  };
}

function callUnary<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  options: CallOptions & { readonly clock: Clock },
): Promise<MessageShape<O>> {
  const { signal, timeoutMs = 10_000, clock } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const cancel = (): void => call.cancel();
    const call = client.makeUnaryRequest(
      pathOf(method),
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes: Buffer) => fromBinary(method.output, bytes),
      create(method.input, request),
      new Metadata(),
      { deadline: clock.wall() + timeoutMs },
      (failure, response) => {
        signal?.removeEventListener("abort", cancel);
        if (response) resolve(response);
        else reject(signal?.aborted ? (signal.reason as Error) : decodeRpcError(failure as ServiceFailure));
      },
    );
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

async function* callStream<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodServerStreaming<I, O>,
  request: MessageInitShape<I>,
  options: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<MessageShape<O>> {
  const { signal } = options;
  signal?.throwIfAborted();
  const call = client.makeServerStreamRequest(
    pathOf(method),
    (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
    (bytes: Buffer) => fromBinary(method.output, bytes),
    create(method.input, request),
  );
  // A call that is cancelled reports so once more after the loop was left.
  call.on("error", () => {});
  const cancel = (): void => call.cancel();
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    for await (const message of call) yield message as MessageShape<O>;
  } catch (failure) {
    signal?.throwIfAborted();
    throw isServiceFailure(failure) ? decodeRpcError(failure) : failure;
  } finally {
    signal?.removeEventListener("abort", cancel);
    call.cancel();
  }
}

function pathOf(method: DescMethodUnary | DescMethodServerStreaming): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function isServiceFailure(error: unknown): error is ServiceFailure {
  return error instanceof Error && "code" in error && "metadata" in error;
}
