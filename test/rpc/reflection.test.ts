import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import {
  ServerReflection,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from "#gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionV1Alpha } from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { callError } from "../support/call-error.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";

type Asked = MessageInitShape<typeof ServerReflectionRequestSchema>["messageRequest"];

/** The answers to the questions, asked in one stream. */
async function ask(
  served: ServedFake,
  version: "v1" | "v1alpha",
  ...asked: Asked[]
): Promise<ServerReflectionResponse[]> {
  async function* requests() {
    for (const messageRequest of asked) yield { host: "here", messageRequest };
  }
  const answers: unknown[] = [];
  const stream =
    version === "v1"
      ? createClient(ServerReflection, served.transport()).serverReflectionInfo(requests())
      : createClient(ServerReflectionV1Alpha, served.transport()).serverReflectionInfo(requests() as never);
  for await (const answer of stream) answers.push(answer);
  return answers as ServerReflectionResponse[];
}

function files(answer: ServerReflectionResponse | undefined): FileDescriptorProto[] {
  const { messageResponse } = answer as ServerReflectionResponse;
  if (messageResponse.case !== "fileDescriptorResponse") throw new Error(`no files, but ${messageResponse.case}`);
  return messageResponse.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
}

const bySymbol = (value: string): Asked => ({ case: "fileContainingSymbol", value });

describe.each(["v1", "v1alpha"] as const)("reflection %s", (version) => {
  test("lists the services that are served, and no others", async () => {
    await using served = await serveFake();
    const [answer] = await ask(served, version, { case: "listServices", value: "" });
    expect(answer?.messageResponse.value).toMatchObject({
      service: [
        { name: "grpc.health.v1.Health" },
        { name: "grpc.reflection.v1.ServerReflection" },
        { name: "grpc.reflection.v1alpha.ServerReflection" },
        { name: "stint.v1.StoreService" },
        { name: "stint.v1.TaskControllerService" },
        { name: "stint.v1.TaskRunnerService" },
      ],
    });
    expect(answer).toMatchObject({ validHost: "here", originalRequest: { host: "here" } });
  });

  test.each([
    "stint.v1.TaskControllerService",
    ".stint.v1.TaskControllerService",
    "stint.v1.TaskControllerService.LaunchTask",
    "stint.v1.GetServerInfoResponse.Store",
    "stint.v1.GetServerInfoResponse.Store.kind",
    "stint.v1.LaunchTaskRequest.payload",
    "stint.v1.LaunchTaskRequest.LabelsEntry",
    "stint.v1.IfActive",
    "stint.v1.IF_ACTIVE_FAIL",
  ])("finds the file of %s, with all that it imports", async (symbol) => {
    await using served = await serveFake();
    const found = files((await ask(served, version, bySymbol(symbol)))[0]);
    expect(found[0]?.name).toBe("stint/v1/controller.proto");
    const names = found.map((file) => file.name);
    for (const file of found) expect(names).toEqual(expect.arrayContaining(file.dependency));
    expect(names).toContain("google/protobuf/struct.proto");
  });

  test("shows comments", async () => {
    await using served = await serveFake();
    const [file] = files(
      (await ask(served, version, { case: "fileByFilename", value: "stint/v1/controller.proto" }))[0],
    );
    const comments = file?.sourceCodeInfo?.location.map((location) => location.leadingComments);
    expect(comments).toContainEqual(expect.stringContaining("Launches, shows, watches, cancels and deletes tasks."));
  });

  test("sends no import twice in a stream", async () => {
    await using served = await serveFake();
    const answers = await ask(served, version, bySymbol("stint.v1.IfActive"), bySymbol("core.v1.TaskStatus"));
    expect(files(answers[1]).map((file) => file.name)).toEqual(["core/v1/core.proto"]);
  });
});

describe.each(["v1", "v1alpha"] as const)("reflection %s, beyond the service's own file,", (version) => {
  test("knows the details of errors, and well-known types", async () => {
    await using served = await serveFake();
    const answers = await ask(served, version, bySymbol("google.rpc.BadRequest"), bySymbol("google.protobuf.Any"));
    expect(answers.map((answer) => files(answer)[0]?.name)).toEqual([
      "google/rpc/error_details.proto",
      "google/protobuf/any.proto",
    ]);
  });

  test("answers what is not there in the stream, which goes on", async () => {
    await using served = await serveFake();
    const answers = await ask(
      served,
      version,
      bySymbol("stint.v1.Nope"),
      bySymbol("__proto__"),
      { case: "fileByFilename", value: "../../etc/passwd" },
      { case: "fileByFilename", value: "stint/store/v1/record.proto" },
      { case: "fileContainingExtension", value: { containingType: "core.v1.TaskStatus", extensionNumber: 50 } },
      { case: "allExtensionNumbersOfType", value: "stint.v1.Nope" },
      { case: undefined },
      { case: "allExtensionNumbersOfType", value: "core.v1.TaskStatus" },
    );
    const codes = answers.map(({ messageResponse }) =>
      messageResponse.case === "errorResponse" ? messageResponse.value.errorCode : messageResponse.case,
    );
    expect(codes).toEqual([5, 5, 5, 5, 5, 5, 3, "allExtensionNumbersResponse"]);
  });

  test("ends with UNAVAILABLE when the server drains", async () => {
    await using served = await serveFake();
    async function* requests() {
      yield create(ServerReflectionRequestSchema, { messageRequest: { case: "listServices", value: "" } });
      served.availability.enter("draining");
      await new Promise(() => {});
    }
    const client = createClient(ServerReflection, served.transport());
    expect(await callError(client.serverReflectionInfo(requests()))).toMatchObject({ code: "Unavailable" });
  });
});

test("reflection that is switched off is not there", async () => {
  await using served = await serveFake({ reflection: false });
  const asked: Asked = { case: "listServices", value: "" };
  await expect(ask(served, "v1", asked)).rejects.toMatchObject({ code: Code.Unimplemented });
  await expect(ask(served, "v1alpha", asked)).rejects.toMatchObject({ code: Code.Unimplemented });
});
