import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { ControllerError, type ControllerErrorCode } from "../../src/controller/error.ts";
import { fromControllerError } from "../../src/rpc/errors.ts";
import { fromInputError } from "../../src/rpc/input-error.ts";
import { callError, readError } from "../support/call-error.ts";
import { protocolNames, serveFake } from "../support/served-fake.ts";

const task = { controller: "countdown", taskId: "a" };

describe("the table of errors", () => {
  test.each([
    ["INVALID_ARGUMENT", "InvalidArgument"],
    ["NOT_FOUND", "NotFound"],
    ["ALREADY_EXISTS", "AlreadyExists"],
    ["FAILED_PRECONDITION", "FailedPrecondition"],
    ["ABORTED", "Aborted"],
    ["OUT_OF_RANGE", "OutOfRange"],
    ["RESOURCE_EXHAUSTED", "ResourceExhausted"],
    ["UNAVAILABLE", "Unavailable"],
    ["DATA_LOSS", "DataLoss"],
  ] as [ControllerErrorCode, string][])("%s is sent as %s", (code, sent) => {
    expect(readError(fromControllerError(new ControllerError(code, "why"))).code).toBe(sent);
  });

  test.each(protocolNames)("all details can be read over %s", async (protocol) => {
    await using served = await serveFake();
    served.controller.failure = new ControllerError("OUT_OF_RANGE", "gone", {
      reason: "COMPACTED",
      metadata: { first_revision: "12" },
      resource: { type: "task", name: "countdown/a" },
      retryDelayMs: 1_500,
      violations: [{ field: "revision", description: "is gone" }],
    });
    expect(await callError(served.client(protocol).getTaskStatus(task))).toEqual({
      code: "OutOfRange",
      message: "gone",
      fields: ["revision"],
      descriptions: ["is gone"],
      reason: "COMPACTED",
      domain: "stint.v1",
      metadata: { first_revision: "12" },
      resource: "task countdown/a",
      retries: true,
    });
  });

  test("an unexpected error is INTERNAL, tells nothing, and is logged", async () => {
    await using served = await serveFake();
    served.controller.failure = new Error("the secret is 42");
    const error = await callError(served.client().getTaskStatus(task));
    expect(error).toMatchObject({ code: "Internal", message: "internal error", fields: [] });
    expect(served.logged).toContainEqual(
      expect.objectContaining({
        level: "error",
        fields: { err: served.controller.failure, rpc: "GetTaskStatus", fault: "internal_errors", count: 1 },
      }),
    );
    expect(served.faults.counts().internal_errors).toBe(1);
  });

  test("a message is cut, and half of a surrogate pair in it breaks nothing", async () => {
    await using served = await serveFake();
    served.controller.failure = new ControllerError("ABORTED", `\ud800${"é".repeat(10_000)}`);
    const { code, message } = await callError(served.client().getTaskStatus(task));
    expect(code).toBe("Aborted");
    expect(Buffer.byteLength(message)).toBeLessThanOrEqual(512);
  });

  test("what is wrong with reading a request is the client's", () => {
    const read = (error: unknown) => fromInputError(error, LaunchTaskRequestSchema).code;
    expect(read(new ConnectError("parse binary: x", Code.Internal))).toBe(Code.InvalidArgument);
    expect(read(new RangeError("x"))).toBe(Code.InvalidArgument);
    expect(read(new ConnectError("too large", Code.ResourceExhausted))).toBe(Code.ResourceExhausted);
  });
});

test("an unknown controller is NOT_FOUND, and those there are are named", async () => {
  await using served = await serveFake();
  const error = await callError(served.client().launchTask({ ...task, controller: "checksum" }));
  expect(error).toMatchObject({ code: "NotFound", resource: "controller checksum" });
  expect(error.message).toBe('there is no controller "checksum"; there are: countdown');
});

test("an unknown task is NOT_FOUND, in a watch too", async () => {
  await using served = await serveFake();
  for (const call of [served.client().getTaskStatus(task), served.client().watchTask(task)]) {
    expect(await callError(call)).toMatchObject({ code: "NotFound", resource: "task countdown/a" });
  }
});

describe("while the server cannot serve", () => {
  test("because it starts, calls are refused with UNAVAILABLE and when to try again", async () => {
    await using served = await serveFake({ starting: true });
    const refused = { code: "Unavailable", reason: "STORE_UNAVAILABLE", retries: true };
    expect(await callError(served.client().launchTask(task))).toMatchObject(refused);
    expect(await callError(served.client().watchTask(task))).toMatchObject(refused);
    served.availability.enter("serving");
    expect((await served.client().launchTask(task)).taskId).toBe("a");
  });

  test("because the store fails, calls are refused, and taken again when it is back", async () => {
    await using served = await serveFake();
    served.availability.setStoreHealthy(false);
    const refused = { code: "Unavailable", reason: "STORE_UNAVAILABLE", retries: true };
    expect(await callError(served.client().listTasks({ controller: "countdown" }))).toMatchObject(refused);
    expect((await served.client().getServerInfo({})).version).toBe("0.0.0-test");
    served.availability.setStoreHealthy(true);
    await served.client().listTasks({ controller: "countdown" });
  });
});
