/** Streams of TaskRunnerService over grpc-js. */
import { Client, Metadata, type StatusObject } from "@grpc/grpc-js";
import {
  type RunRequest,
  RunRequestSchema,
  type RunResponse,
  RunResponseSchema,
  TaskRunnerService,
} from "#gen/stint/v1/runner_pb.js";
import { createDecoder } from "../messages/message-decoder.ts";
import { createEncoder } from "../messages/message-encoder.ts";
import type { Connect } from "./connection.ts";
import { channelTo } from "./grpc-channel.ts";

const path = `/${TaskRunnerService.typeName}/${TaskRunnerService.method.run.name}`;
const encode = createEncoder(RunRequestSchema);
const decode = createDecoder(RunResponseSchema);

/** Connects to the server at HOST:PORT or https://HOST:PORT, as `channelTo` does. */
export function createGrpcConnect(target: string, ca: string | undefined): Connect {
  return ({ message, ended }) => {
    const { host, security, options } = channelTo(target, ca);
    const client = new Client(host, security, options);
    const call = client.makeBidiStreamRequest(
      path,
      (request: RunRequest) => encode(request),
      (bytes: Buffer) => decode(bytes)[0],
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
      send: (said) => void call.write({ $typeName: "stint.v1.RunRequest", message: said }),
      end: () => call.end(),
      close,
    };
  };
}
