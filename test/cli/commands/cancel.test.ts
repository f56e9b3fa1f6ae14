import { describe, expect, test } from "vitest";
import { CancelStage, type CancelTaskRequest } from "#gen/stint/v1/controller_pb.js";
import { Canceled, Completed, Pending, Running, taskStatus } from "../support/fake-task.ts";
import { keep, runCommand } from "../support/run-command.ts";

describe("stint cancel", () => {
  const answer = { status: taskStatus([Pending, Running]), revision: 4n, stage: CancelStage.DELIVERED };

  test("sends the reason and the run, and does not wait unless asked to", async () => {
    const requests: CancelTaskRequest[] = [];
    const outcome = await runCommand(["cancel", "c", "t", "-r", "wrong", "--run-id", "r"], {
      cancelTask: (request) => keep(requests, request, answer),
    });
    expect(outcome).toMatchObject({
      code: 0,
      out: expect.stringContaining("c/t is delivered: its runner was told to stop") as unknown,
    });
    expect(requests[0]).toMatchObject({ reason: "wrong", runId: "r" });
    expect(requests[0]?.wait).toBeUndefined();
  });

  test("waits for longer than one call may, for the run that it has canceled", async () => {
    const requests: CancelTaskRequest[] = [];
    const outcome = await runCommand(["cancel", "c", "t", "--wait", "60s"], {
      cancelTask: (request) => {
        requests.push(request);
        if (requests.length < 3) return answer;
        return { status: taskStatus([Pending, Running, Canceled]), revision: 5n, stage: CancelStage.ENDED };
      },
    });
    expect(outcome).toMatchObject({ code: 0, out: "Canceled c/t\n" });
    expect(requests.map((request) => [request.runId, request.wait?.seconds])).toEqual([
      ["", 25n],
      ["run-1", 25n],
      ["run-1", 25n],
    ]);
  });

  test("waits until the task has ended where no time is given", async () => {
    const requests: CancelTaskRequest[] = [];
    const outcome = await runCommand(["cancel", "c", "t", "--wait", "-r", "wrong"], {
      cancelTask: (request) => {
        requests.push(request);
        if (requests.length < 5) return answer;
        return { status: taskStatus([Pending, Running, Canceled]), revision: 5n, stage: CancelStage.ENDED };
      },
    });
    expect(outcome).toMatchObject({ code: 0, out: "Canceled c/t\n" });
    expect(requests.map(({ wait, reason }) => [wait?.seconds, reason])).toEqual(Array(5).fill([25n, "wrong"]));
  });

  test("says where --wait goes when it was given something else for its time", async () => {
    const outcome = await runCommand(["cancel", "--wait", "c", "t"]);
    expect(outcome).toMatchObject({ code: 2, err: expect.stringContaining("goes to the end of the line") as unknown });
  });

  test("exits with 1 where the task has not ended in time", async () => {
    const outcome = await runCommand(["cancel", "c", "t", "--wait", "50ms"], { cancelTask: () => answer });
    expect(outcome).toMatchObject({
      code: 1,
      out: expect.stringContaining("the task is Running after 50ms") as unknown,
    });
  });

  test("says how a task had ended before", async () => {
    const ended = { status: taskStatus([Completed]), revision: 4n, stage: CancelStage.ENDED };
    expect(await runCommand(["cancel", "c", "t"], { cancelTask: () => ended })).toMatchObject({
      code: 0,
      out: "c/t has ended: Completed\n",
    });
  });
});
