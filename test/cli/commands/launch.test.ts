import { describe, expect, test } from "vitest";
import { IfActive, IfEnded, LaunchOutcome, type LaunchTaskRequest } from "#gen/stint/v1/controller_pb.js";
import { Canceled, Pending, Running, taskStatus, watchMessage } from "../support/fake-task.ts";
import { keep, runCommand } from "../support/run-command.ts";

const launched = {
  taskId: "made-id",
  runId: "run-1",
  status: taskStatus([Pending]),
  revision: 7n,
  outcome: LaunchOutcome.LAUNCHED,
};

describe("stint launch", () => {
  test("sends all that was asked for", async () => {
    const requests: LaunchTaskRequest[] = [];
    const { code, out } = await runCommand(
      [
        "launch",
        "countdown",
        "demo",
        "-m",
        '{ "limit": 3 }',
        "-l",
        "a=1",
        "-l",
        "b=",
        "--if-active",
        "use-existing",
      ].concat(["--if-ended", "relaunch-unless-completed", "--request-id", "r1", "--if-revision", "5"]),
      { launchTask: (request) => keep(requests, request, { ...launched, taskId: "demo" }) },
    );
    expect({ code, out }).toEqual({ code: 0, out: "Launched countdown/demo (run run-1, revision 7)\n" });
    expect(requests[0]).toMatchObject({
      controller: "countdown",
      taskId: "demo",
      payload: { case: "jsonMetadata", value: '{ "limit": 3 }' },
      labels: { a: "1", b: "" },
      ifActive: IfActive.USE_EXISTING,
      ifEnded: IfEnded.RELAUNCH_UNLESS_COMPLETED,
      requestId: "r1",
      ifRevision: 5n,
    });
  });

  test("leaves everything to the server where nothing was asked for", async () => {
    const requests: LaunchTaskRequest[] = [];
    await runCommand(["launch", "countdown"], { launchTask: (request) => keep(requests, request, launched) });
    expect(requests[0]).toMatchObject({ taskId: "", payload: { case: undefined }, ifActive: 0, ifEnded: 0 });
    expect(requests[0]?.ifRevision).toBeUndefined();
  });

  test("takes the metadata from the standard input", async () => {
    const requests: LaunchTaskRequest[] = [];
    const handlers = { launchTask: (request: LaunchTaskRequest) => keep(requests, request, launched) };
    await runCommand(["launch", "countdown", "-f", "-"], handlers, { stdin: '{"a":1}\n' });
    expect(requests[0]?.payload.value).toBe('{"a":1}\n');
    expect(await runCommand(["launch", "countdown", "-f", "-"], handlers, { stdin: "[]" })).toMatchObject({
      code: 2,
      err: expect.stringContaining("the standard input: It must be a JSON object") as unknown,
    });
    expect(await runCommand(["launch", "countdown", "-f", "/no/such/file"], handlers)).toMatchObject({ code: 2 });
  });

  test.each([
    [LaunchOutcome.RESTARTED, "Restarted countdown/made-id (run run-1, revision 7)\n"],
    [LaunchOutcome.USED_EXISTING, "Used countdown/made-id as it is: Pending (run run-1, revision 7)\n"],
  ])("says what the launch did: outcome %d", async (outcome, out) => {
    const answer = await runCommand(["launch", "countdown"], { launchTask: () => ({ ...launched, outcome }) });
    expect(answer).toMatchObject({ code: 0, out });
  });

  test("watches the run that it launched, and exits as that ended", async () => {
    const answer = await runCommand(["launch", "countdown", "--watch"], {
      launchTask: () => launched,
      watchTask: (request, stream) => {
        expect(request).toMatchObject({ taskId: "made-id", runId: "run-1", sinceRevision: 0n });
        stream.send(watchMessage(taskStatus([Pending, Running, Canceled]), { revision: 9n }));
        stream.end();
      },
    });
    expect(answer).toMatchObject({ code: 3, err: "" });
    expect(answer.out).toContain("2026-11-03T12:00:02.000Z countdown/made-id Canceled\n");
  });

  test("prints JSON", async () => {
    const { out } = await runCommand(["launch", "countdown", "-o", "json"], { launchTask: () => launched });
    expect(JSON.parse(out)).toMatchObject({
      taskId: "made-id",
      runId: "run-1",
      revision: "7",
      status: { state: "Pending" },
    });
  });
});
