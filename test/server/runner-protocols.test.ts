/** The protocols and versions of HTTP that a runner may speak. */
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { TaskRunnerService } from "#gen/stint/v1/runner_pb.js";
import { type ProtocolName, serveFake } from "../support/served-fake.ts";

describe("a runner that speaks", () => {
  /** How the stream of a client goes that says hello and a keepalive, and closes its side. */
  async function talk(protocol: ProtocolName): Promise<string[]> {
    await using served = await serveFake();
    const hello = {
      controller: "remote",
      runner: "a",
      instanceId: "0123456789abcdef",
      capacity: 1,
      protocolVersion: 1,
    };
    async function* say() {
      yield { message: { case: "hello" as const, value: hello } };
      yield { message: { case: "keepalive" as const, value: { number: 5n } } };
    }
    const heard: string[] = [];
    try {
      const answers = createClient(TaskRunnerService, served.transport(protocol)).run(say());
      for await (const { message } of answers) heard.push(String(message.case));
      return [...heard, "OK"];
    } catch (error) {
      const { code, rawMessage } = ConnectError.from(error);
      return [...heard, `${Code[code]}: ${rawMessage}`];
    }
  }

  test.each(["grpc", "grpc-web", "connect", "connect-json"] as const)("%s over HTTP/2 can be one", async (protocol) => {
    expect(await talk(protocol)).toEqual(["welcome", "keepalive", "OK"]);
  });

  test.each(["grpc-web-h1", "connect-h1"] as const)("%s is told that it needs HTTP/2", async (protocol) => {
    expect(await talk(protocol)).toEqual(["Unimplemented: Run streams both ways, which needs HTTP/2"]);
  });

  test.each(["application/json", "application/connect+json", "text/plain", undefined])(
    "HTTP/1.1 with the content type %s is told so in words",
    async (contentType) => {
      await using served = await serveFake();
      const headers = contentType === undefined ? undefined : { "content-type": contentType };
      const url = `${served.baseUrl}/stint.v1.TaskRunnerService/Run`;
      const answer = await fetch(url, { method: "POST", body: new Uint8Array(1), ...(headers && { headers }) });
      expect(await answer.text()).toContain("Run streams both ways, which needs HTTP/2");
    },
  );
});
