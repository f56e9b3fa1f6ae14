import { toBinary, create, fromBinary } from "@bufbuild/protobuf";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import {
  GetServerInfoRequestSchema,
  GetServerInfoResponseSchema,
  GetTaskStatusRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import { serveFake } from "../support/served-fake.ts";

function call(client: Client, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      (message: Uint8Array) => Buffer.from(message),
      (bytes: Buffer) => fromBinary(GetServerInfoResponseSchema, bytes),
      toBinary(GetServerInfoRequestSchema, create(GetServerInfoRequestSchema)),
      (error: ServiceError | null, answer) => (error === null ? resolve(answer?.version ?? "") : reject(error)),
    );
  });
}

test("grpc-js reads answers, and the status of a method that is not there", async () => {
  await using served = await serveFake();
  const client = new Client(`127.0.0.1:${served.port}`, credentials.createInsecure());
  expect(await call(client, "/stint.v1.TaskControllerService/GetServerInfo")).toBe("0.0.0-test");
  for (const path of ["/stint.v1.TaskControllerService/WaitTasks", "/x.Y/Z"]) {
    await expect(call(client, path)).rejects.toMatchObject({ code: 12 });
  }
  client.close();
});

test("grpc-js shows the message of an error as it was written", async () => {
  await using served = await serveFake();
  const client = new Client(`127.0.0.1:${served.port}`, credentials.createInsecure());
  const request = create(GetTaskStatusRequestSchema, { controller: "a:b, c; d%3A & é\n", taskId: "t" });
  const failure = await new Promise<ServiceError | null>((resolve) => {
    client.makeUnaryRequest(
      "/stint.v1.TaskControllerService/GetTaskStatus",
      (message: Uint8Array) => Buffer.from(message),
      (bytes: Buffer) => bytes,
      toBinary(GetTaskStatusRequestSchema, request),
      (error: ServiceError | null) => resolve(error),
    );
  });
  expect(failure?.details).toContain("controller: must be 1 to 63 lower case letters, digits and - with");
  expect(failure?.details).toContain('not "a:b, c; d%3A & é\\n"');
  client.close();
});
