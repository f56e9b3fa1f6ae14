import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import type { DeleteTaskRequest } from "#gen/stint/v1/controller_pb.js";
import { StatusFailure } from "../support/fake-server.ts";
import { keep, parseLines, runCommand } from "../support/run-command.ts";

describe("stint delete", () => {
  test("deletes a task, on the condition that was given alone", async () => {
    const requests: DeleteTaskRequest[] = [];
    const handlers = { deleteTask: (request: DeleteTaskRequest) => keep(requests, request, {}) };
    expect(await runCommand(["delete", "c", "t"], handlers)).toEqual({ code: 0, out: "Deleted c/t\n", err: "" });
    await runCommand(["delete", "c", "t", "--if-revision", "0"], handlers);
    expect(requests.map(({ controller, taskId, ifRevision }) => [controller, taskId, ifRevision])).toEqual([
      ["c", "t", undefined],
      ["c", "t", 0n],
    ]);
  });

  test("prints one JSON document", async () => {
    const { out } = await runCommand(["delete", "c", "t", "-o", "json"], { deleteTask: () => ({}) });
    expect(parseLines(out)).toEqual([{}]);
  });

  test.each([
    [Code.FAILED_PRECONDITION, "hint: cancel it first: stint cancel c t --wait 10s\n"],
    [Code.ABORTED, "hint: stint status c t shows the task's revision as it is now\n"],
  ])("that was refused says what to do: %d", async (refusal, hint) => {
    const { code, err } = await runCommand(["delete", "c", "t"], {
      deleteTask: () => {
        throw new StatusFailure(refusal, "no");
      },
    });
    expect({ code, err }).toEqual({ code: 1, err: `error: no (${Code[refusal]})\n${hint}` });
  });
});
