/** Streams of TaskRunnerService over grpc-js. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type StatusObject } from "@grpc/grpc-js";
import {
  type RunRequest,
  RunRequestSchema,
  type RunResponse,
  RunResponseSchema,
  TaskRunnerService,
} from "#gen/stint/v1/runner_pb.js";
import type { Connect } from "./connection.ts";

const path = `/${TaskRunnerService.typeName}/${TaskRunnerService.method.run.name}`;

/**
 * Connects to the server at HOST:PORT or, over TLS, at https://HOST:PORT: its certificate must be signed by one of `ca` (PEM), or of those
 * that Node knows.
 */
export function createGrpcConnect(target: string, ca: string | undefined): Connect {
  const host = target.replace(/^https?:\/\//, "");
  const isTls = target.startsWith("https://");
  return ({ message, ended }) => {
    const roots = ca === undefined ? undefined : Buffer.from(ca);
    const client = new Client(host, isTls ? credentials.createSsl(roots) : credentials.createInsecure(), {
      // A proxy of the environment must not come between this machine and itself.
      "grpc.enable_http_proxy": /^(localhost|127\.[\d.]+|\[::1\])(:|$)/.test(host) ? 0 : 1,
      "grpc.max_receive_message_length": 32 * 1024 * 1024,
    });
    const call = client.makeBidiStreamRequest(
      path,
      (request: RunRequest) => Buffer.from(toBinary(RunRequestSchema, request)),
      (bytes: Buffer) => fromBinary(RunResponseSchema, bytes),
      new Metadata(),
    );
    let isClosed = false;
    const close = (): void => {
      isClosed = true;
      call.cancel();
      // And with it the connection, which may hang: the next stream has another.
      client.close();
    };
    call.on("data", (response: RunResponse) => {
      if (!isClosed) message(response);
    });
    // The status says the same, and comes also when there is no error.
    call.on("error", () => {});
    call.on("status", ({ code, details }: StatusObject) => {
      if (isClosed) return;
      close();
      ended({ code, message: details });
    });
    return {
      send: (said) => void call.write(create(RunRequestSchema, { message: said })),
      end: () => call.end(),
      close,
    };
  };
}
