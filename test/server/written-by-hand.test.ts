/** What docs/api.md says of requests that are written by hand, or by a client that does what no generated one does. */
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { serveFake } from "../support/served-fake.ts";

async function post(
  baseUrl: string,
  method: string,
  type: string,
  body: string | Buffer<ArrayBuffer>,
): Promise<unknown> {
  const url = `${baseUrl}/stint.v1.TaskControllerService/${method}`;
  const headers = { "content-type": `application/${type}` };
  const answer = await fetch(url, { method: "POST", headers, body });
  return type === "json" ? answer.json() : answer.status;
}

test("a read_mask is one text in JSON", async () => {
  await using served = await serveFake();
  await served.client().launchTask({ controller: "countdown", taskId: "a", labels: { env: "test" } });
  const body = '{"controller":"countdown","taskId":"a","readMask":"state,runId"}';
  const { status } = (await post(served.baseUrl, "GetTaskStatus", "json", body)) as { status: object };
  expect(Object.keys(status)).toEqual(["state", "runId"]);
});

test("of metadata and json_metadata one counts: both are refused in JSON, and otherwise the last is taken", async () => {
  await using served = await serveFake();
  const body = '{"controller":"countdown","taskId":"a","jsonMetadata":"{}","metadata":{}}';
  expect(await post(served.baseUrl, "LaunchTask", "json", body)).toMatchObject({ code: "invalid_argument" });
  const [metadata, jsonMetadata] = [
    { case: "metadata" as const, value: { from: "a Struct" } },
    { case: "jsonMetadata" as const, value: '{"from":"text"}' },
  ].map((payload) =>
    toBinary(
      LaunchTaskRequestSchema,
      create(LaunchTaskRequestSchema, { controller: "countdown", taskId: "a", payload }),
    ),
  ) as [Uint8Array, Uint8Array];
  // Messages one after the other are one message, with the fields of both.
  expect(await post(served.baseUrl, "LaunchTask", "proto", Buffer.concat([metadata, jsonMetadata]))).toBe(200);
  expect(served.controller.launches.map((launch) => launch.jsonMetadata)).toEqual(['{"from":"text"}']);
});
